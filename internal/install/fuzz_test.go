package install

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// What a pause or a pin is read as is what it says again when it is written.
func FuzzHold(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHold(b)
		if err != nil {
			return
		}
		_ = h.String()
		written, err := json.Marshal(h)
		if err != nil {
			t.Fatalf("%+v is read, and cannot be written: %v", h, err)
		}
		again, err := decodeHold(written)
		if err != nil || again.By != h.By || again.Reason != h.Reason || again.Generation != h.Generation || !again.Time.Equal(h.Time) {
			t.Errorf("%+v is written and read as %+v: %v", h, again, err)
		}
	})
}

func FuzzAcceptance(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodeAcceptance(b)
		if err != nil {
			return
		}
		written, err := encodeAcceptance(p)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decodeAcceptance(written); err != nil || again != p {
			t.Errorf("%+v is written and read as %+v: %v", p, again, err)
		}
	})
}

// A name that is taken for one of kept files, or of an old tree, is one component.
func FuzzKeptTime(f *testing.F) {
	f.Fuzz(func(t *testing.T, name string) {
		if _, err := time.Parse(keptTime, name); err == nil && len(name) <= diff.MaxName && diff.CheckName(name) != nil {
			t.Errorf("%q is taken for a time: %v", name, diff.CheckName(name))
		}
	})
}
