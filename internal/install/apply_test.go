package install

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

func TestApply(t *testing.T) { eachMode(t, testApply) }

func testApply(t *testing.T, m Mode) {
	remove := func(paths ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, p := range paths {
				do(t, os.RemoveAll(filepath.Join(dir, p)))
			}
		}
	}
	put := func(f files) func(*testing.T, string) {
		return func(t *testing.T, dir string) { f.put(t, dir) }
	}
	both := func(a, b func(*testing.T, string)) func(*testing.T, string) {
		return func(t *testing.T, dir string) { a(t, dir); b(t, dir) }
	}
	fifo := func(path string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { do(t, unix.Mkfifo(filepath.Join(dir, path), 0o600)) }
	}
	tests := map[string]struct {
		before  files                     // installed first
		meddle  func(*testing.T, string)  // by others
		want    files                     // installed then
		extra   files                     // there afterwards as well
		kept    files                     // put aside
		result  Result                    // of the second apply; Bytes and Switched apart
		refuse  []string                  // conflicts, and nothing changes
		set     func(o *Options, p *Plan) // for the second apply
		foreign []string                  // conflicts in tree mode, where nothing unmanaged may lie
	}{
		"a file is created": {
			want: files{"a": "644 a"}, result: Result{Created: 1},
		},
		"a file is replaced": {
			before: files{"a": "644 a", "b": "644 b"}, want: files{"a": "600 other", "b": "644 b"}, result: Result{Changed: 1},
		},
		"a file is deleted": {
			before: files{"a": "644 a", "b": "644 b"}, want: files{"b": "644 b"}, result: Result{Deleted: 1},
		},
		"the last file is deleted": {
			before: files{"a": "644 a"}, want: files{}, result: Result{Deleted: 1},
		},
		"a file moves": {
			before: files{"a": "755/", "a/x": "644 x"}, want: files{"b": "755/", "b/x": "644 x"},
			result: Result{Created: 2, Deleted: 2},
		},
		"directories, empty ones too, are created with what is in them": {
			want:   files{"a": "755/", "a/b": "700/", "a/b/c": "2775/", "a/b/x": "644 x", "e": "1777/"},
			result: Result{Created: 5},
		},
		"directories are deleted with what is in them": {
			before: files{"a": "755/", "a/b": "755/", "a/b/c": "644 c", "a/b/e": "755/"}, want: files{},
			result: Result{Deleted: 4},
		},
		"symlinks are created, replaced and deleted": {
			before: files{"b": "->old", "c": "->/gone"}, want: files{"a": "->../outside", "b": "->new"},
			result: Result{Created: 1, Changed: 1, Deleted: 1},
		},
		"a mode alone changes": {
			before: files{"a": "644 a", "d": "755/", "d/x": "644 x"}, want: files{"a": "600 a", "d": "700/", "d/x": "644 x"},
			result: Result{Corrected: 2},
		},
		"a directory becomes a file": {
			before: files{"d": "755/", "d/a": "644 a", "d/e": "755/", "d/e/f": "644 f"}, want: files{"d": "644 d"},
			result: Result{Changed: 1, Deleted: 3},
		},
		"a file becomes a directory": {
			before: files{"d": "644 d"}, want: files{"d": "755/", "d/a": "644 a", "d/e": "755/", "d/e/f": "644 f"},
			result: Result{Changed: 1, Created: 3},
		},
		"a file becomes a symlink, and a symlink a file": {
			before: files{"a": "644 a", "b": "->a"}, want: files{"a": "->b", "b": "644 a"}, result: Result{Changed: 2},
		},
		"a directory becomes a symlink, and a symlink a directory": {
			before: files{"a": "755/", "a/x": "644 x", "b": "->a"}, want: files{"a": "->b", "b": "755/", "b/x": "644 x"},
			result: Result{Changed: 2, Created: 1, Deleted: 1},
		},
		"a directory that becomes read-only is filled first": {
			want: files{"d": "555/", "d/a": "444 a"}, result: Result{Created: 2},
		},
		"a read-only directory is written in, and read-only again": {
			before: files{"d": "555/", "d/a": "444 a", "d/b": "444 b"}, want: files{"d": "555/", "d/a": "444 c"},
			result: Result{Changed: 1, Deleted: 1},
		},
		"names may be any bytes": {
			want: files{"\xff\xfe \n*": "644 x", "d": "755/", "d/~1": "644 y", "d/..x": "->\xff"}, result: Result{Created: 4},
		},
		"unmanaged neighbours are not touched": {
			before: files{"d": "755/", "d/a": "644 a"}, meddle: put(files{"d/mine": "600 mine", "me": "->d"}),
			want: files{"d": "755/", "d/a": "644 b"}, extra: files{"d/mine": "600 mine", "me": "->d"}, result: Result{Changed: 1},
		},
		"a deleted directory stays while it holds unmanaged entries": {
			before: files{"d": "755/", "d/a": "644 a"}, meddle: put(files{"d/mine": "600 mine"}),
			want: files{}, extra: files{"d": "755/", "d/mine": "600 mine"}, result: Result{Deleted: 1, Unmanaged: []string{"d"}},
			foreign: []string{"d/mine"},
		},
		"unmanaged entries are in the way of a directory that becomes a file": {
			before: files{"d": "755/", "d/a": "644 a", "x": "644 x"}, meddle: put(files{"d/mine": "600 mine"}),
			want: files{"d": "644 d", "x": "644 y"}, refuse: []string{"d"},
		},
		"a local edit is kept, then overwritten": {
			before: files{"d": "755/", "d/a": "644 a"}, meddle: both(remove("d/a"), put(files{"d/a": "600 edited"})),
			want: files{"d": "755/", "d/a": "644 b"}, kept: files{"d": "700/", "d/a": "600 edited"}, result: Result{Changed: 1, Kept: 1},
		},
		"a local edit is kept, then deleted": {
			before: files{"a": "644 a"}, meddle: both(remove("a"), put(files{"a": "->edited"})),
			want: files{}, kept: files{"a": "->edited"}, result: Result{Deleted: 1, Kept: 1},
		},
		"a local edit to what comes anyway is not kept": {
			before: files{"a": "644 a"}, meddle: both(remove("a"), put(files{"a": "644 b"})),
			want: files{"a": "644 b"},
		},
		"a local edit of what does not change stays": {
			before: files{"a": "644 a", "b": "644 b"}, meddle: both(remove("a"), put(files{"a": "644 edited"})),
			want: files{"b": "644 c", "a": "644 a"}, extra: files{"a": "644 edited"}, result: Result{Changed: 1},
		},
		"a local mode does not count as an edit": {
			before: files{"a": "644 a"},
			meddle: func(t *testing.T, dir string) { do(t, os.Chmod(filepath.Join(dir, "a"), 0o600)) },
			want:   files{"a": "644 b"}, result: Result{Changed: 1},
		},
		"a local deletion does not matter": {
			before: files{"a": "644 a", "b": "644 b"}, meddle: remove("a", "b"), want: files{"a": "644 c"}, result: Result{Changed: 1},
		},
		"a missing directory is made again for what is written in it": {
			before: files{"d": "755/", "d/e": "750/", "d/e/a": "644 a", "d/b": "644 b"}, meddle: remove("d"),
			want:   files{"d": "755/", "d/e": "750/", "d/e/a": "644 c"},
			result: Result{Changed: 1, Corrected: 2},
		},
		"what replaced a file by a directory keeps it when the file goes": {
			before: files{"a": "644 a"}, meddle: both(remove("a"), put(files{"a": "755/", "a/mine": "644 mine"})),
			want: files{}, extra: files{"a": "755/", "a/mine": "644 mine"}, result: Result{Unmanaged: []string{"a"}},
		},
		"a filled directory in the place of a file is in the way": {
			before: files{"a": "644 a"}, meddle: both(remove("a"), put(files{"a": "755/", "a/mine": "644 mine"})),
			want: files{"a": "644 b"}, refuse: []string{"a"},
		},
		"an empty directory in the place of a file is exchanged": {
			before: files{"a": "644 a"}, meddle: both(remove("a"), put(files{"a": "755/"})),
			want: files{"a": "644 b"}, result: Result{Changed: 1},
		},
		"a FIFO is in the way": {
			before: files{"a": "644 a"}, meddle: both(remove("a"), fifo("a")),
			want: files{"a": "644 b"}, refuse: []string{"a"},
		},
		"a FIFO stays where a file goes": {
			before: files{"a": "644 a"}, meddle: both(remove("a"), fifo("a")),
			want: files{}, extra: files{"a": "special"}, result: Result{Unmanaged: []string{"a"}},
		},
		"at first contact what is equal is adopted": {
			meddle: put(files{"a": "600 a", "d": "700/", "d/b": "644 b", "l": "->a", "mine": "644 mine"}),
			want:   files{"a": "644 a", "d": "755/", "d/b": "644 b", "l": "->a", "n": "644 n"}, extra: files{"mine": "644 mine"},
			result: Result{Adopted: 4, Created: 1}, foreign: []string{"mine"},
		},
		"at first contact a tree that is there is only adopted": {
			meddle: put(files{"a": "644 a", "d": "755/", "l": "->a"}), want: files{"a": "644 a", "d": "755/", "l": "->a"},
			result: Result{Adopted: 3},
		},
		"at first contact anything that differs refuses all": {
			meddle: put(files{"a": "644 mine", "b": "->mine", "c": "755/", "d": "644 d", "e": "644 x"}),
			want:   files{"a": "644 a", "b": "->b", "c": "644 c", "d": "755/", "d/f": "644 f", "e": "644 x", "new": "644 new"},
			refuse: []string{"a", "b", "c", "d"},
		},
		"what differs at first contact is replaced and kept where that is allowed": {
			meddle: put(files{"a": "640 mine", "b": "->mine", "c": "755/", "d": "644 d", "e": "644 x"}),
			want:   files{"a": "644 a", "b": "->b", "c": "644 c", "d": "755/", "d/f": "644 f", "e": "644 x"},
			set:    func(o *Options, _ *Plan) { o.ReplaceExisting = true },
			kept:   files{"a": "640 mine", "b": "->mine", "d": "644 d"},
			result: Result{Created: 1, Changed: 4, Adopted: 1, Kept: 3},
		},
		"even then a filled directory is in the way of a file": {
			meddle: put(files{"c": "755/", "c/mine": "644 x"}), want: files{"c": "644 c"},
			set: func(o *Options, _ *Plan) { o.ReplaceExisting = true }, refuse: []string{"c"},
		},
		"later, a new path whose file exists refuses all": {
			before: files{"a": "644 a"}, meddle: put(files{"b": "644 mine"}),
			want: files{"a": "644 c", "b": "644 b"}, refuse: []string{"b"},
		},
		"later, a new path whose file exists is replaced and kept where that is allowed": {
			before: files{"a": "644 a"}, meddle: put(files{"b": "644 mine"}), want: files{"a": "644 c", "b": "644 b"},
			set:  func(o *Options, _ *Plan) { o.ReplaceExisting = true },
			kept: files{"b": "644 mine"}, result: Result{Changed: 2, Kept: 1},
		},
		"later, a new path whose file is equal is adopted": {
			before: files{"a": "644 a"}, meddle: put(files{"b": "644 b"}), want: files{"a": "644 a", "b": "644 b"},
			result: Result{Adopted: 1},
		},
		"a selection that changes leaves what it drops": {
			before: files{"a": "755/", "a/x": "644 x", "b": "644 b"}, want: files{"b": "644 c", "n": "644 n"},
			extra:  files{"a": "755/", "a/x": "644 x"},
			set:    func(_ *Options, p *Plan) { p.Meta.Selection = "other" },
			result: Result{Changed: 1, Created: 1, Left: []string{"a", "a/x"}},
		},
		"a selection that changes at one generation is taken": {
			before: files{"a": "644 a", "b": "644 b"}, want: files{"b": "644 b"}, extra: files{"a": "644 a"},
			set:    func(_ *Options, p *Plan) { p.Meta.Selection, p.Position = "other", position(1) },
			result: Result{Left: []string{"a"}},
		},
		"another tenant may not overwrite what the first one installed": {
			before: files{"a": "644 a", "b": "644 b"}, want: files{"b": "644 c"},
			set: func(_ *Options, p *Plan) {
				p.Meta.Tenant, p.Position.Tenant = "other", diff.TenantID{2}
			},
			refuse: []string{"b"},
		},
		"another tenant adopts what is equal, at a lower generation": {
			before: files{"a": "644 a", "b": "644 b"}, want: files{"b": "644 b", "c": "644 c"}, extra: files{"a": "644 a"},
			set: func(_ *Options, p *Plan) {
				p.Meta.Tenant, p.Position.Tenant, p.Position.Generation = "other", diff.TenantID{2}, 1
			},
			result: Result{Adopted: 1, Created: 1, Left: []string{"a"}},
		},
	}
	for name, tt := range tests {
		for _, walks := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/walks=%v", name, walks), func(t *testing.T) {
				dir := newDir(t)
				o := optionsIn(m, dir)
				generation := uint64(0)
				if tt.before != nil {
					generation++
					first := mustOpen(t, o)
					mustApply(t, first, generation, tt.before)
					mustLook(t, dir, tt.before)
					do(t, first.Close())
				}
				if tt.meddle != nil {
					tt.meddle(t, dir)
				}
				present := look(t, dir)
				generation++
				p, c := plan(t, generation, tt.want)
				if tt.set != nil {
					tt.set(&o, &p)
				}
				target := mustOpen(t, o)
				target.walks = walks
				state := target.State()
				preview, err := target.Check(p)
				do(t, err)
				r, err := target.Apply(t.Context(), p, c)
				refuse := tt.refuse
				if m == Tree && tt.foreign != nil {
					refuse = tt.foreign
				}
				if refuse != nil {
					mustRefuse(t, err, preview, refuse, present, target)
					if s := target.State(); s.Position != state.Position {
						t.Errorf("the journal moved to %v", s.Position)
					}
					return
				}
				do(t, err)
				want := files{}
				for path, spec := range tt.want {
					if e, _ := entry(spec); e.Kind == diff.Directory {
						spec = fmt.Sprintf("%o/", strip(e).Mode)
					}
					want[path] = spec
				}
				managed := maps.Clone(want)
				want = want.with(tt.extra)
				mustLook(t, dir, want)
				r.Bytes, r.Switched = 0, false
				if !reflect.DeepEqual(r, tt.result) {
					t.Errorf("got  %+v\nwant %+v", r, tt.result)
				}
				mustForesee(t, preview, r)
				if got := kept(t, dir); !maps.Equal(got, tt.kept) {
					t.Errorf("kept %q, want %q", got, tt.kept)
				}
				tree, _ := managed.tree(t)
				if s := target.State(); s.Position != p.Position || s.Managed.Digest() != tree.Digest() || len(s.Suspect) > 0 {
					t.Errorf("the journal: %v, %d entries, suspect %q", s.Position, s.Managed.Len(), s.Suspect)
				}
				again, err := target.Apply(t.Context(), p, nil)
				if err != nil || !reflect.DeepEqual(again, Result{Left: tt.result.Left}) {
					t.Errorf("applied again: %+v %v", again, err)
				}
			})
		}
	}
}

func mustRefuse(t *testing.T, err error, v Preview, paths []string, present files, target *Target) {
	t.Helper()
	var conflict *Conflict
	if !errors.As(err, &conflict) {
		t.Fatalf("not refused: %v", err)
	}
	var got []string
	for _, p := range conflict.Paths {
		got = append(got, p.Path)
		if p.Why == "" || !strings.Contains(err.Error(), p.Path) {
			t.Errorf("%q is badly explained: %v", p.Path, err)
		}
	}
	if !slices.Equal(got, paths) || conflict.Total != len(paths) {
		t.Errorf("in the way: %q (%d), want %q", got, conflict.Total, paths)
	}
	if v.Conflict == nil || v.Conflict.Total != conflict.Total {
		t.Errorf("foreseen: %+v", v.Conflict)
	}
	mustLook(t, target.o.Dir, present)
	if target.State().Position.IsZero() {
		if _, err := os.Lstat(filepath.Join(target.o.Dir, diff.OwnName)); err == nil {
			t.Error("a refused first contact left something behind")
		}
	}
}

func mustForesee(t *testing.T, v Preview, r Result) {
	t.Helper()
	// A directory that will stay because of what is in it is foreseen as deleted.
	got := []int{len(v.Created), len(v.Changed), len(v.Deleted), len(v.Adopted), len(v.Corrected), len(v.Kept)}
	stay := len(v.Deleted) - r.Deleted
	want := []int{r.Created, r.Changed, r.Deleted + min(stay, len(r.Unmanaged)), r.Adopted, r.Corrected, r.Kept}
	if !slices.Equal(got, want) || !slices.Equal(v.Left, r.Left) || v.Conflict != nil {
		t.Errorf("foreseen %+v\ndone %+v", v, r)
	}
}

func TestApply_setuidAndSetgidAreNeverSet(t *testing.T) {
	eachMode(t, testApplySetuidAndSetgidAreNeverSet)
}

func testApplySetuidAndSetgidAreNeverSet(t *testing.T, m Mode) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	want := files{"a": "6755 a", "d": "3777/", "d/x": "2644 x"}
	mustApply(t, target, 1, want)
	mustLook(t, dir, files{"a": "755 a", "d": "1777/", "d/x": "644 x"})
	if r := mustApply(t, target, 2, want); !reflect.DeepEqual(r, Result{}) {
		t.Errorf("not at rest: %+v", r)
	}
}

func TestApply_manyFilesAtOnce(t *testing.T) { eachMode(t, testApplyManyFilesAtOnce) }

func testApplyManyFilesAtOnce(t *testing.T, m Mode) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	one, two := files{}, files{}
	for d := range 20 {
		one[fmt.Sprintf("d%02d", d)] = "755/"
		two[fmt.Sprintf("d%02d", d)] = "755/"
		for f := range 100 {
			path := fmt.Sprintf("d%02d/%02d", d, f)
			one[path] = "644 1 " + path
			two[path] = "640 2 " + path
		}
	}
	r := mustApply(t, target, 1, one)
	if r.Created != 2020 {
		t.Errorf("%+v", r)
	}
	mustLook(t, dir, one)
	if r := mustApply(t, target, 2, two); r.Changed != 2000 {
		t.Errorf("%+v", r)
	}
	mustLook(t, dir, two)
	if r := mustApply(t, target, 3, files{}); r.Deleted != 2020 {
		t.Errorf("%+v", r)
	}
	mustLook(t, dir, files{})
	mustRest(t, target, 3, files{})
}

// What is equal is not written: neither an inode nor a time changes.
func TestApply_againWritesNothing(t *testing.T) { eachMode(t, testApplyAgainWritesNothing) }

func testApplyAgainWritesNothing(t *testing.T, m Mode) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	want := files{"a": "644 a", "d": "755/", "d/x": "644 x", "l": "->a"}
	mustApply(t, target, 1, want)
	stats := func() map[string]node {
		nodes := map[string]node{}
		for _, p := range []string{"", "a", "d", "d/x", "l", diff.OwnName, diff.OwnName + "/journal", diff.OwnName + "/stage"} {
			n, err := lstat(unix.AT_FDCWD, filepath.Join(dir, p))
			do(t, err)
			nodes[p] = n
		}
		return nodes
	}
	before := stats()
	mustApply(t, target, 1, want)
	if after := stats(); !maps.Equal(before, after) {
		t.Errorf("before %+v\nafter  %+v", before, after)
	}
	mustApply(t, target, 2, want)
	after := stats()
	journal := diff.OwnName + "/journal"
	if after[journal] == before[journal] {
		t.Error("the journal did not take the new position")
	}
	delete(before, journal)
	delete(after, journal)
	if !maps.Equal(before, after) {
		t.Errorf("before %+v\nafter  %+v", before, after)
	}
}

func TestApply_whateverTheUmask(t *testing.T) { eachMode(t, testApplyWhateverTheUmask) }

func testApplyWhateverTheUmask(t *testing.T, m Mode) {
	for _, mask := range []int{0, 0o077, 0o277} {
		t.Run(fmt.Sprintf("%o", mask), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "missing")
			old := unix.Umask(mask)
			defer unix.Umask(old)
			target := mustOpen(t, optionsIn(m, dir))
			want := files{"a": "666 a", "d": "777/", "d/e": "750/", "d/e/x": "644 x", "l": "->a"}
			mustApply(t, target, 1, want)
			mustLook(t, dir, want)
			var st unix.Stat_t
			do(t, unix.Stat(dir, &st))
			if st.Mode&diff.ModeBits != 0o755 {
				t.Errorf("the target's own mode is %o", st.Mode&diff.ModeBits)
			}
		})
	}
}

func TestApply_asRootSetsTheOwner(t *testing.T) { eachMode(t, testApplyAsRootSetsTheOwner) }

func testApplyAsRootSetsTheOwner(t *testing.T, m Mode) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	dir := newDir(t)
	want := files{"a": "6644 a", "d": "755/", "d/x": "600 x", "l": "->a"}
	check := func(uid, gid int) {
		t.Helper()
		for p := range want {
			n, err := lstat(unix.AT_FDCWD, filepath.Join(dir, p))
			do(t, err)
			if n.uid != uid || n.gid != gid || n.mode&0o6000 != 0 {
				t.Errorf("%s belongs to %d:%d, mode %o", p, n.uid, n.gid, n.mode)
			}
		}
	}
	o := optionsIn(m, dir)
	mine := mustOpen(t, o)
	mustApply(t, mine, 1, want)
	check(0, 0)
	do(t, mine.Close())

	o.UID, o.GID = 4321, 1234
	theirs := mustOpen(t, o)
	r := mustApply(t, theirs, 1, want)
	check(4321, 1234)
	if r.Corrected != 4 || r.Changed != 0 {
		t.Errorf("%+v", r)
	}
	if s := theirs.State(); s.Meta.UID != 4321 || s.Meta.GID != 1234 {
		t.Errorf("%+v", s.Meta)
	}
	if r := mustApply(t, theirs, 1, want); !reflect.DeepEqual(r, Result{}) {
		t.Errorf("not at rest: %+v", r)
	}
	want["n"] = "644 n"
	mustApply(t, theirs, 2, want)
	check(4321, 1234)
	do(t, os.Chown(filepath.Join(dir, "a"), 1, 1))
	want["a"] = "644 b"
	mustApply(t, theirs, 3, want)
	check(4321, 1234)
}

func TestApply_setsTheOwnerThatChangesWithTheSelection(t *testing.T) {
	eachMode(t, testApplySetsTheOwnerThatChangesWithTheSelection)
}

func testApplySetsTheOwnerThatChangesWithTheSelection(t *testing.T, m Mode) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	o := optionsIn(m, newDir(t))
	first := mustOpen(t, o)
	f := files{"a": "644 one", "b": "644 two"}
	mustApply(t, first, 1, f)
	do(t, first.Close())
	o.UID, o.GID = 12, 12
	target := mustOpen(t, o)
	p, c := plan(t, 1, f)
	p.Meta.Selection = "other"
	_, err := target.Apply(t.Context(), p, c)
	do(t, err)
	for path := range f {
		var st unix.Stat_t
		do(t, unix.Lstat(filepath.Join(o.Dir, path), &st))
		if st.Uid != 12 || st.Gid != 12 {
			t.Errorf("%s belongs to %d:%d", path, st.Uid, st.Gid)
		}
	}
}

func TestApply_refusesOtherPositions(t *testing.T) { eachMode(t, testApplyRefusesOtherPositions) }

func testApplyRefusesOtherPositions(t *testing.T, m Mode) {
	foreign := position(9)
	foreign.Tenant = diff.TenantID{2}
	fork := position(2)
	fork.Commit = diff.Hash{1}
	for name, tt := range map[string]struct {
		position diff.Position
		want     error
	}{
		"an older generation":                  {position(1), ErrOlder},
		"another commit of the generation":     {fork, ErrOlder},
		"no position":                          {diff.Position{}, ErrOlder},
		"another tenant id under the old name": {foreign, ErrForeignTenant},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			target := mustOpen(t, optionsIn(m, dir))
			mustApply(t, target, 2, files{"a": "644 a"})
			p, c := plan(t, 3, files{"a": "644 b"})
			p.Position = tt.position
			if _, err := target.Apply(t.Context(), p, c); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			mustLook(t, dir, files{"a": "644 a"})
			mustRest(t, target, 2, files{"a": "644 a"})
		})
	}
}

func TestApply_contentsThatAreWrong(t *testing.T) { eachMode(t, testApplyContentsThatAreWrong) }

func testApplyContentsThatAreWrong(t *testing.T, m Mode) {
	for name, c := range map[string]Contents{
		"missing": fetch(func(context.Context, []diff.Entry, func(diff.Hash) []byte, func(diff.Entry, []byte) error) error {
			return nil
		}),
		"other": fetch(func(_ context.Context, want []diff.Entry, _ func(diff.Hash) []byte, put func(diff.Entry, []byte) error) error {
			return put(want[0], []byte("c"))
		}),
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			target := mustOpen(t, optionsIn(m, dir))
			mustApply(t, target, 1, files{"a": "644 a"})
			p, good := plan(t, 2, files{"a": "644 b"})
			if _, err := target.Apply(t.Context(), p, c); err == nil {
				t.Error("taken")
			}
			mustLook(t, dir, files{"a": "644 a"})
			mustRest(t, target, 1, files{"a": "644 a"})
			if _, err := target.Apply(t.Context(), p, good); err != nil {
				t.Error(err)
			}
			mustLook(t, dir, files{"a": "644 b"})
			mustRest(t, target, 2, files{"a": "644 b"})
		})
	}
}

type fetch func(context.Context, []diff.Entry, func(diff.Hash) []byte, func(diff.Entry, []byte) error) error

func (f fetch) Fetch(ctx context.Context, want []diff.Entry, have func(diff.Hash) []byte, put func(diff.Entry, []byte) error) error {
	return f(ctx, want, have, put)
}

func TestApply_readOnlyDirectoryOfAnotherUser(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write anywhere")
	}
	dir := newDir(t)
	do(t, os.Chmod(dir, 0o555))
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
	target := mustOpen(t, options(dir))
	_, err := apply(t, target, 1, files{"a": "644 a"})
	if !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
}
