package publisher

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// Whatever lies among the bases, only a content that has its name's hash is used.
func FuzzBases(f *testing.F) {
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		if diff.CheckName(name) != nil {
			return
		}
		state := t.TempDir()
		if err := os.Mkdir(filepath.Join(state, basesName), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(state, basesName, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		b := openBases(t, state, 16*basesBlock)
		if err := b.load(); err != nil {
			t.Fatal(err)
		}
		sum := diff.Sum(content)
		if got := b.get(sum); got != nil && (name != fileOf(sum) || string(got) != string(content)) {
			t.Errorf("%d bytes are read from %q", len(got), name)
		}
		for h := range b.index {
			if got := b.get(h); got != nil && diff.Sum(got) != h {
				t.Errorf("%q is used as %v", got, h)
			}
			if err := b.drop(h); err != nil {
				t.Error(err)
			}
		}
		if b.bytes != 0 {
			t.Errorf("%d bytes are counted, and nothing is left", b.bytes)
		}
	})
}
