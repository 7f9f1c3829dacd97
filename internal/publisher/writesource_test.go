//go:build !lean

package publisher_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confsyncd/confsyncd/internal/publisher"
)

// files returns what the directory holds besides confsyncd's own, by path: "/" is a directory.
func (p *place) files() map[string]string {
	p.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(p.options.Dir, func(name string, d os.DirEntry, err error) error {
		path, _ := filepath.Rel(p.options.Dir, name)
		switch {
		case err != nil || path == ".":
			return err
		case path == ".confsyncd":
			return filepath.SkipDir
		case d.IsDir():
			found[path] = "/"
		case d.Type()&os.ModeSymlink != 0:
			found[path], err = os.Readlink(name)
		default:
			var b []byte
			b, err = os.ReadFile(name)
			found[path] = string(b)
		}
		return err
	})
	if err != nil {
		p.Fatal(err)
	}
	return found
}

func TestWriteSource(t *testing.T) {
	p, stop := newRolledBack(t)
	would, err := publisher.WriteSource(t.Context(), p.options, true)
	if err != nil || len(would.Changes) != 4 || would.Generation != 3 {
		t.Fatalf("a dry run: %+v, %v", would, err)
	}
	if r := p.state("beside"); r.ApartTotal != 4 {
		t.Errorf("a dry run has changed something: %+v", r)
	}
	done, err := publisher.WriteSource(t.Context(), p.options, false)
	if err != nil || len(done.Changes) != 4 || done.Bytes != 3+3+6 {
		t.Fatalf("%+v, %v", done, err)
	}
	p.state("live")
	if got, want := fmt.Sprint(p.files()), fmt.Sprint(map[string]string{"a": "a 1", "b": "b 1", "gone": "gone 1"}); got != want {
		t.Errorf("the directory has %s, want %s", got, want)
	}
	for path, content := range map[string]string{"a": "a 2", "b": "b 2", "new": "new 2"} {
		if b, err := os.ReadFile(filepath.Join(done.Kept, path)); string(b) != content {
			t.Errorf("kept as %s: %q, %v", path, b, err)
		}
	}
	if v, _ := p.head(); v.Position().Generation != 3 {
		t.Errorf("the head is at %d", v.Position().Generation)
	}
	p.write("a", "a 2")
	p.await(map[string]string{"a": "a 2", "b": "b 1", "gone": "gone 1"})
	stop()
	if again, err := publisher.WriteSource(t.Context(), p.options, false); err != nil || len(again.Changes) != 0 || again.Kept != "" {
		t.Errorf("a second time: %+v, %v", again, err)
	}
}

// All kinds of entries come and go, with their modes.
func TestWriteSourceChangesKinds(t *testing.T) {
	p := newPlace(t)
	at := func(path string) string { return filepath.Join(p.options.Dir, path) }
	p.write("file", "same")
	p.write("dir/deep/x", "x")
	p.write("dir/y", "y")
	p.write("becomes", "a file")
	must(t, os.Symlink("file", at("link")))
	must(t, os.Chmod(at("dir/y"), 0o600))
	must(t, os.Mkdir(at("empty"), 0o700))
	p.mustPush()
	want := fmt.Sprint(p.files())
	p.remove("dir")
	p.remove("link")
	p.remove("empty")
	p.remove("becomes")
	p.write("dir", "now a file")
	p.write("becomes/a/directory", "x")
	must(t, os.Chmod(at("file"), 0o600))
	must(t, os.Symlink("elsewhere", at("link")))
	p.mustPush()
	p.write("becomes/untracked~", "ignored")
	p.options.Ignore = []string{"*~"}
	p.mustRollback(1)
	before := fmt.Sprint(p.files())
	if _, err := publisher.WriteSource(t.Context(), p.options, false); !errors.Is(err, publisher.ErrRefused) {
		t.Errorf("an ignored file in the way: %v", err)
	}
	if after := fmt.Sprint(p.files()); after != before {
		t.Errorf("%s became %s", before, after)
	}
	p.remove("becomes/untracked~")
	if _, err := publisher.WriteSource(t.Context(), p.options, false); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.files()); got != want {
		t.Errorf("the directory has %s, want %s", got, want)
	}
	for path, mode := range map[string]os.FileMode{"file": 0o644, "dir/y": 0o600, "empty": 0o700} {
		if info, err := os.Stat(at(path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s is %v, %v", path, info.Mode(), err)
		}
	}
	if c := p.mustPush(); c != nil {
		t.Errorf("a push found %d changes", len(c.Changes))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWriteSourceIsRefused(t *testing.T) {
	p, stop := newRolledBack(t)
	stop()
	refused := func(name, says string, o publisher.Options) {
		t.Helper()
		before := fmt.Sprint(p.files())
		_, err := publisher.WriteSource(t.Context(), o, false)
		if !errors.Is(err, publisher.ErrRefused) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
		if after := fmt.Sprint(p.files()); after != before {
			t.Errorf("%s: %s became %s", name, before, after)
		}
	}
	p.write("b", "b 3, not published")
	refused("an edit", `1 paths in `+p.options.Dir+` were edited since they were published: "b"`, p.options)
	p.write("b", "b 2")
	p.write("gone", "another")
	refused("a new file in the way", `"gone"`, p.options)
	p.remove("gone")
	hold := filepath.Join(p.options.Dir, ".confsyncd-hold")
	must(t, os.WriteFile(hold, nil, 0o644))
	refused("a busy file", ".confsyncd-hold", p.options)
	must(t, os.Remove(hold))
	o := p.options
	o.StateDir = t.TempDir()
	refused("a directory of which nothing is known", "--state-dir", o)
	p.write("bystander", "not published")
	if _, err := publisher.WriteSource(t.Context(), p.options, false); err != nil {
		t.Fatal(err)
	}
	if got := p.files(); got["bystander"] != "not published" || got["a"] != "a 1" {
		t.Errorf("the directory has %v", got)
	}
}

// What is to become another kind is there until it does, also where that fails: a publisher
// would commit that it is gone.
func TestWriteSourceThatFailsLeavesWhatItHasNotReplaced(t *testing.T) {
	p := newPlace(t)
	at := func(path string) string { return filepath.Join(p.options.Dir, path) }
	p.write("a", "a file, and ignored later")
	p.write("z link", "a file")
	p.write("z dir", "a file")
	must(t, os.Mkdir(at("z file"), 0o700))
	p.mustPush()
	for _, path := range []string{"a", "z link", "z dir", "z file"} {
		p.remove(path)
	}
	must(t, os.Symlink("elsewhere", at("z link")))
	p.write("z dir/x", "x")
	p.write("z file", "a file")
	p.mustPush()
	p.mustRollback(1)
	p.options.Ignore = []string{"a"}
	p.write("a", "in the way")
	if _, err := publisher.WriteSource(t.Context(), p.options, false); err == nil {
		t.Fatal("something in the way was overwritten")
	}
	for path, kind := range map[string]os.FileMode{"z link": os.ModeSymlink, "z dir": os.ModeDir, "z file": 0} {
		if info, err := os.Lstat(at(path)); err != nil || info.Mode().Type() != kind {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}
