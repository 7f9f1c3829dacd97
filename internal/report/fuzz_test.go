package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
)

// A report that is read is the same after being written and read again.
func FuzzReport(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil {
			return
		}
		written, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("%+v is read, and cannot be written: %v", r, err)
		}
		again, err := decode(written)
		if err != nil || !again.Time.Equal(r.Time) {
			t.Fatalf("%+v is written and read as %+v: %v", r, again, err)
		}
		again.Time = r.Time
		// An empty list is left out.
		if len(r.Held) == 0 {
			r.Held = nil
		}
		if len(r.Drift) == 0 {
			r.Drift = nil
		}
		if !reflect.DeepEqual(again, r) {
			t.Errorf("%+v is written and read as %+v", r, again)
		}
	})
}

func TestReadIsNotHeldUpByWhatIsNoReport(t *testing.T) {
	state := t.TempDir()
	if err := Write(state, Report{Role: Source, Dir: "/a"}); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(state, dirName, name) }
	if err := syscall.Mkfifo(in("fifo.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", in("link.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(in("dir.json"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in("large.json"), make([]byte, maxReport+1), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := Read(state)
	if err == nil || len(got) != 1 || got[0].Dir != "/a" {
		t.Errorf("got %+v, %v", got, err)
	}
}
