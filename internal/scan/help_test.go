package scan_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
)

// later is a clock to which everything on disk is safely old.
func later() time.Time { return time.Now().Add(time.Hour) }

func newScanner(t testing.TB, dir string, set ...func(*scan.Options)) *scan.Scanner {
	t.Helper()
	o := scan.Options{Dir: dir, Log: hclog.NewNullLogger()}
	for _, f := range set {
		f(&o)
	}
	s, err := scan.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func settled(o *scan.Options) { o.Now = later }

// meanwhile is a clock that acts when it is read for the nth time.
func meanwhile(n int, act func()) func(*scan.Options) {
	return func(o *scan.Options) {
		o.Now = func() time.Time {
			if n--; n == 0 {
				act()
			}
			return later()
		}
	}
}

func mustScan(t testing.TB, s *scan.Scanner, committed diff.Tree, dirs []string, paths ...string) *scan.Result {
	t.Helper()
	res, err := s.Scan(t.Context(), committed, dirs, paths...)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write makes a file with mode 0644, and the directories above it with 0755.
func write(t testing.TB, dir, path, content string) {
	t.Helper()
	full := filepath.Join(dir, path)
	must(t, os.MkdirAll(filepath.Dir(full), 0o755))
	must(t, os.WriteFile(full, []byte(content), 0o644))
}

func link(t testing.TB, dir, path, target string) {
	t.Helper()
	must(t, os.Symlink(target, filepath.Join(dir, path)))
}

func file(mode uint32, content string) diff.Entry {
	return diff.Entry{Kind: diff.File, Mode: mode, Size: int64(len(content)), Hash: diff.Sum([]byte(content))}
}

func symlink(target string) diff.Entry {
	e := file(0, target)
	e.Kind = diff.Symlink
	return e
}

func dir(mode uint32) diff.Entry { return diff.Entry{Kind: diff.Directory, Mode: mode} }

type entries map[string]diff.Entry

// tree makes a tree of entries.
func (e entries) tree(t testing.TB) diff.Tree {
	t.Helper()
	var changes []diff.Change
	for p, entry := range e {
		changes = append(changes, diff.Change{Path: p, New: entry})
	}
	tree, err := diff.Tree{}.With(changes)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func wantTree(t testing.TB, got diff.Tree, want entries) {
	t.Helper()
	for p, e := range got.All() {
		if want[p] != e {
			t.Errorf("%q is %+v, want %+v", p, e, want[p])
		}
	}
	for p, e := range want {
		if _, ok := got.Get(p); !ok {
			t.Errorf("%q is absent, want %+v", p, e)
		}
	}
}

// wantHeld compares the held paths and reasons, as "path: reason".
func wantHeld(t testing.TB, res *scan.Result, want ...string) {
	t.Helper()
	got := heldPaths(res)
	for _, h := range res.Held {
		if h.Since.IsZero() {
			t.Errorf("%q is held since never", h.Path)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("held are %q, want %q", got, want)
	}
}

func heldPaths(res *scan.Result) (got []string) {
	for _, h := range res.Held {
		got = append(got, fmt.Sprintf("%s: %v", h.Path, h.Reason))
	}
	return got
}

// asNobody runs f without privileges, on a thread of its own. As an ordinary user it
// just runs f.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread()
	seteuid := func(uid uintptr) {
		// unix.Seteuid would change all threads.
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, math.MaxUint32, uid, math.MaxUint32); e != 0 {
			panic(e)
		}
	}
	seteuid(65534)
	defer func() {
		seteuid(0)
		runtime.UnlockOSThread()
	}()
	f()
}

// openToAll makes a directory that every user may enter, unlike t.TempDir's parents.
func openToAll(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "scan-test-")
	must(t, err)
	must(t, os.Chmod(d, 0o755))
	t.Cleanup(func() { must(t, os.RemoveAll(d)) })
	return d
}

// giveToNobody makes a path, if it is there, the property of whom asNobody runs as,
// who may lease it then.
func giveToNobody(t *testing.T, dir, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Lchown(filepath.Join(dir, path), 65534, 65534); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		t.Fatal(err)
	}
}

func closeAtEnd(t *testing.T, c io.Closer) {
	t.Helper()
	t.Cleanup(func() { must(t, c.Close()) })
}
