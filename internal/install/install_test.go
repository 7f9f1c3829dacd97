package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// files describes what stands below a directory: by path a mode and what a file
// holds ("644 text"), a directory's mode ("755/"), or a symlink's target ("->to").
type files map[string]string

var meta = journal.Meta{Tenant: "prod", Prefix: "/confsyncd", Selection: "**"}

func position(generation uint64) diff.Position {
	return diff.Position{Tenant: diff.TenantID{1}, Generation: generation, Commit: diff.Sum(fmt.Append(nil, generation))}
}

func entry(spec string) (diff.Entry, []byte) {
	if to, ok := strings.CutPrefix(spec, "->"); ok {
		return diff.Entry{Kind: diff.Symlink, Size: int64(len(to)), Hash: diff.Sum([]byte(to))}, []byte(to)
	}
	var mode uint32
	if m, ok := strings.CutSuffix(spec, "/"); ok {
		if _, err := fmt.Sscanf(m, "%o", &mode); err != nil {
			panic(spec)
		}
		return diff.Entry{Kind: diff.Directory, Mode: mode}, nil
	}
	m, text, _ := strings.Cut(spec, " ")
	if _, err := fmt.Sscanf(m, "%o", &mode); err != nil {
		panic(spec)
	}
	return diff.Entry{Kind: diff.File, Mode: mode, Size: int64(len(text)), Hash: diff.Sum([]byte(text))}, []byte(text)
}

// contents provides what files hold.
type contents map[diff.Hash][]byte

func (c contents) Fetch(_ context.Context, want []diff.Entry, _ func(diff.Hash) []byte, put func(diff.Entry, []byte) error) error {
	for _, e := range want {
		b, ok := c[e.Hash]
		if !ok {
			return fmt.Errorf("no content %v", e.Hash)
		}
		if err := put(e, b); err != nil {
			return err
		}
	}
	return nil
}

func (f files) tree(t testing.TB) (diff.Tree, contents) {
	t.Helper()
	var changes []diff.Change
	c := contents{}
	for path, spec := range f {
		e, b := entry(spec)
		changes = append(changes, diff.Change{Path: path, New: e})
		if e.HasContent() {
			c[e.Hash] = b
		}
	}
	tree, err := diff.Tree{}.With(changes)
	if err != nil {
		t.Fatal(err)
	}
	return tree, c
}

// put makes files below dir, whatever is there.
func (f files) put(t testing.TB, dir string) {
	t.Helper()
	paths := slices.SortedFunc(maps.Keys(f), diff.ComparePaths)
	for _, path := range paths {
		e, b := entry(f[path])
		full := filepath.Join(dir, path)
		var err error
		switch e.Kind {
		case diff.Directory:
			err = os.Mkdir(full, 0o700)
		case diff.Symlink:
			err = os.Symlink(string(b), full)
		default:
			err = os.WriteFile(full, b, 0o600)
		}
		if err == nil && e.Kind != diff.Symlink {
			err = os.Chmod(full, fs.FileMode(e.Mode))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// look returns what stands below dir, without confsyncd's own.
func look(t testing.TB, dir string) files {
	t.Helper()
	f := files{}
	err := filepath.WalkDir(dir, func(full string, d fs.DirEntry, err error) error {
		if err != nil || full == dir {
			return err
		}
		if d.Name() == diff.OwnName {
			return fs.SkipDir
		}
		path, err := filepath.Rel(dir, full)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(full, &st); err != nil {
			return err
		}
		n := nodeOf(&st)
		switch n.kind {
		case diff.Directory:
			f[path] = fmt.Sprintf("%o/", n.mode)
		case diff.Symlink:
			to, err := os.Readlink(full)
			f[path] = "->" + to
			return err
		case diff.File:
			b, err := os.ReadFile(full)
			f[path] = fmt.Sprintf("%o %s", n.mode, b)
			return err
		default:
			f[path] = "special"
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f files) with(more files) files {
	f = maps.Clone(f)
	maps.Copy(f, more)
	return f
}

func options(dir string) Options {
	return optionsIn(Files, dir)
}

func optionsIn(m Mode, dir string) Options {
	return Options{Dir: dir, Mode: m, UID: -1, GID: -1, Log: hclog.NewNullLogger()}
}

// eachMode runs a test in both modes.
func eachMode(t *testing.T, test func(t *testing.T, m Mode)) {
	t.Helper()
	for _, m := range []Mode{Files, Tree} {
		t.Run(string(m), func(t *testing.T) { test(t, m) })
	}
}

func mustOpen(t testing.TB, o Options) *Target {
	t.Helper()
	target, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	return target
}

func plan(t testing.TB, generation uint64, f files) (Plan, contents) {
	t.Helper()
	tree, c := f.tree(t)
	return Plan{Position: position(generation), Want: tree, All: tree, Meta: meta}, c
}

func apply(t testing.TB, target *Target, generation uint64, f files) (Result, error) {
	t.Helper()
	p, c := plan(t, generation, f)
	return target.Apply(context.Background(), p, c)
}

func mustApply(t testing.TB, target *Target, generation uint64, f files) Result {
	t.Helper()
	r, err := apply(t, target, generation, f)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustLook(t testing.TB, dir string, want files) {
	t.Helper()
	got := look(t, dir)
	if maps.Equal(got, want) {
		return
	}
	for _, p := range slices.SortedFunc(maps.Keys(got.with(want)), diff.ComparePaths) {
		if got[p] != want[p] {
			t.Errorf("%q is %.60q, want %.60q", p, got[p], want[p])
		}
	}
}

// mustRest makes sure that the journal says what is wanted, and nothing is staged.
func mustRest(t testing.TB, target *Target, generation uint64, want files) {
	t.Helper()
	s := target.State()
	tree, _ := want.tree(t)
	if s.Position != position(generation) || s.Managed.Digest() != tree.Digest() || len(s.Suspect) > 0 {
		t.Errorf("the journal is at %d with %d entries and %q suspect, want %d with %d",
			s.Position.Generation, s.Managed.Len(), s.Suspect, generation, tree.Len())
	}
	disk, pending, err := ReadState(target.o.Dir)
	if err != nil || pending != nil || disk.Position != s.Position || disk.Managed.Digest() != s.Managed.Digest() {
		t.Errorf("the journal on the disk says %+v %+v %v", disk.Position, pending, err)
	}
	staged, err := os.ReadDir(filepath.Join(ControlDir(target.o.Dir), stageName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(staged) > 0 {
		t.Errorf("left in the stage: %v %v", staged, err)
	}
}

// kept returns the kept files by path, of all applies.
func kept(t testing.TB, dir string) files {
	t.Helper()
	root := filepath.Join(ControlDir(dir), keptName)
	f := files{}
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		return f
	}
	for path, spec := range look(t, root) {
		if _, below, ok := strings.Cut(path, "/"); ok {
			f[below] = spec
		}
	}
	return f
}

func newDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "target")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// An ordinary user cannot empty read-only directories.
		_ = filepath.WalkDir(filepath.Dir(dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				err = os.Chmod(path, 0o700)
			}
			return err
		})
	})
	return dir
}

func do(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
