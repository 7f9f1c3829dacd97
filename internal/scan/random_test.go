package scan_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// TestDirsScanEqualsFullScan edits at random, and tells the scanner only the
// directories and paths that a watcher would name. What it makes of them must be what a new
// scanner finds.
func TestDirsScanEqualsFullScan(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			e := editor{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), dir: t.TempDir()}
			s := newScanner(t, e.dir)
			committed := mustScan(t, s, diff.Tree{}, nil).Tree
			for round := range 60 {
				e.dirty, e.paths = []string{}, nil
				for range 1 + e.rnd.IntN(6) {
					e.edit()
				}
				res := mustScan(t, s, committed, e.dirty, e.paths...)
				fresh := mustScan(t, newScanner(t, e.dir), committed, nil)
				if res.Tree.Digest() != fresh.Tree.Digest() || fmt.Sprint(heldPaths(res)) != fmt.Sprint(heldPaths(fresh)) {
					t.Fatalf("round %d, dirs %q, paths %q: differs by %+v, held %v and %v", round, e.dirty, e.paths,
						diff.Compare(fresh.Tree, res.Tree), heldPaths(res), heldPaths(fresh))
				}
				if e.rnd.IntN(3) > 0 {
					committed = res.Tree
				}
			}
		})
	}
}

// editor edits a directory at random, and notes what it touched: what is or was no
// directory by its path, all else by its parent.
type editor struct {
	t     *testing.T
	rnd   *rand.Rand
	dir   string
	dirty []string
	paths []string
}

// path makes up a path at most three deep of few names, so that edits meet. It leads
// through no symlink: a watcher names the directory in which something happened.
func (e *editor) path() string {
	p := ""
	for range 1 + e.rnd.IntN(3) {
		if st, err := os.Lstat(filepath.Join(e.dir, p)); err != nil || !st.IsDir() {
			break
		}
		p = diff.Join(p, string('a'+rune(e.rnd.IntN(4))))
	}
	return p
}

// edit makes one edit, if it can be made where it falls.
func (e *editor) edit() {
	path, to := e.path(), e.path()
	full := filepath.Join(e.dir, path)
	st, err := os.Lstat(full)
	isLink := err == nil && st.Mode()&os.ModeSymlink != 0
	switch e.rnd.IntN(10) {
	case 0, 1, 2:
		err = os.ErrExist
		if !isLink && (st == nil || st.Mode().IsRegular()) {
			err = os.WriteFile(full, fmt.Append(nil, e.rnd.IntN(100)), 0o644)
		}
	case 3, 4:
		err = os.Mkdir(full, 0o755)
	case 5:
		err = os.RemoveAll(full)
	case 6:
		err = os.Rename(full, filepath.Join(e.dir, to))
		if err == nil {
			e.touch(to, st.IsDir())
		}
	case 7:
		err = os.Symlink(to, full)
	case 8:
		err = unix.Mkfifo(full, 0o644)
	case 9:
		if err == nil && !isLink {
			err = os.Chmod(full, st.Mode()^0o010)
		}
	}
	if err == nil {
		now, gone := os.Lstat(full)
		e.touch(path, st != nil && st.IsDir() || gone == nil && now.IsDir())
	}
}

func (e *editor) touch(path string, dir bool) {
	if !dir {
		e.paths = append(e.paths, path)
		return
	}
	if d := diff.Parent(path); !slices.Contains(e.dirty, d) {
		e.dirty = append(e.dirty, d)
	}
}

// TestRenamedOverNamesNeverVanish scans while files are replaced again and again:
// they are always there, and so must they be in every tree. The names are long, so
// that one call does not list them all; only then may listings miss some.
func TestRenamedOverNamesNeverVanish(t *testing.T) {
	const files = 1000
	name := func(i int) string { return fmt.Sprintf("%0250d", i%files) }
	for _, parent := range []string{os.TempDir(), "/dev/shm"} {
		t.Run(parent, func(t *testing.T) {
			d, err := os.MkdirTemp(parent, "scan-test-")
			if err != nil {
				t.Skip(err)
			}
			defer func() { must(t, os.RemoveAll(d)) }()
			for i := range files {
				write(t, d, name(i), "")
			}
			committed := mustScan(t, newScanner(t, d, settled), diff.Tree{}, nil).Tree
			stop, done := make(chan struct{}), make(chan error)
			go func() { done <- replace(d, name, stop) }()
			s := newScanner(t, d, settled)
			for range 50 {
				res, err := s.Scan(t.Context(), committed, []string{""})
				if err != nil {
					t.Error(err)
					break
				}
				for _, c := range diff.Compare(committed, res.Tree) {
					if c.Deleted() {
						t.Errorf("%q is gone", c.Path)
					}
				}
			}
			close(stop)
			must(t, <-done)
		})
	}
}

func replace(d string, name func(int) string, stop <-chan struct{}) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		tmp := filepath.Join(d, ".tmp")
		if err := os.WriteFile(tmp, nil, 0o644); err != nil {
			return err
		}
		if err := os.Rename(tmp, filepath.Join(d, name(i))); err != nil {
			return err
		}
	}
}
