package watcher

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestModel changes a tree at random while a consumer keeps a view of it and
// looks only where it is told to. In the end the view must equal the tree.
func TestModel(t *testing.T) {
	t.Parallel()
	for _, settle := range []time.Duration{0, 5 * time.Millisecond} {
		t.Run(settle.String(), func(t *testing.T) {
			t.Parallel()
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 0))
			dir := t.TempDir()
			w := start(t, Options{Dir: dir, Settle: settle, MaxDelay: 20 * time.Millisecond})
			v := view{}
			for round := range 15 {
				for range 40 {
					mutate(dir, rnd)
					select {
					case <-w.Changed():
						v.update(dir, w.Take())
					case <-time.After(time.Duration(rnd.IntN(2000)) * time.Microsecond):
					}
				}
				truth := view{}
				truth.update(dir, Dirty{All: true})
				for timeout := time.After(time.Minute); !maps.Equal(v, truth); {
					select {
					case <-w.Changed():
						v.update(dir, w.Take())
					case <-timeout:
						t.Fatalf("round %d, seed %d: view\n%v\ntree\n%v", round, seed, v, truth)
					}
				}
			}
		})
	}
}

// mutate does one thing, or fails to: names are few so that they meet.
func mutate(root string, rnd *rand.Rand) {
	name := func() string {
		p := root
		for range 1 + rnd.IntN(3) {
			p = filepath.Join(p, string("abc"[rnd.IntN(3)]))
		}
		return p
	}
	switch rnd.IntN(9) {
	case 0, 1, 2:
		_ = os.WriteFile(name(), fmt.Append(nil, rnd.Uint64()), 0o644)
	case 3, 4:
		_ = os.MkdirAll(name(), 0o755)
	case 5, 6:
		_ = os.Rename(name(), name())
	case 7:
		_ = unix.Renameat2(unix.AT_FDCWD, name(), unix.AT_FDCWD, name(), unix.RENAME_EXCHANGE)
	case 8:
		if rnd.IntN(3) == 0 {
			_ = os.RemoveAll(name())
		} else {
			_ = os.Chmod(name(), 0o700|os.FileMode(rnd.IntN(64)))
		}
	}
}

// view has the mode and content of every path.
type view map[string]string

func (v view) update(root string, d Dirty) {
	if d.All {
		clear(v)
		_ = filepath.WalkDir(root, func(p string, _ fs.DirEntry, _ error) error {
			rel, _ := filepath.Rel(root, p)
			v.look(root, rel)
			return nil
		})
		return
	}
	for _, dir := range d.Directories() {
		dir = path.Clean(dir)
		maps.DeleteFunc(v, func(p, _ string) bool { return p != "." && path.Dir(p) == dir })
		v.look(root, dir)
		entries, _ := os.ReadDir(filepath.Join(root, dir))
		for _, e := range entries {
			v.look(root, path.Join(dir, e.Name()))
		}
	}
}

func (v view) look(root, rel string) {
	fi, err := os.Lstat(filepath.Join(root, rel))
	if err != nil {
		delete(v, rel)
		return
	}
	content := []byte("/")
	if !fi.IsDir() {
		content, _ = os.ReadFile(filepath.Join(root, rel))
	}
	v[rel] = fmt.Sprintf("%v %s", fi.Mode(), content)
}
