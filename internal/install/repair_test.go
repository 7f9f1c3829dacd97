package install

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func paths(found []Drifted) []string {
	var list []string
	for _, d := range found {
		list = append(list, d.Path)
	}
	return list
}

// stands returns what must be there after a repair: all that was published, and what was
// never managed.
func stands(before files) files {
	want := maps.Clone(published)
	for path, spec := range before {
		if _, managed := published[path]; !managed {
			want[path] = spec
		}
	}
	return want
}

func TestRepair(t *testing.T) {
	eachEdit(t, func(t *testing.T, target *Target, e edit) {
		dir := target.o.Dir
		_, c := published.tree(t)
		found := mustDrift(t, target, nil, e.found)
		if e.busy {
			return // The agent's business.
		}
		want := stands(look(t, dir))
		r, err := target.Repair(context.Background(), paths(found), c)
		do(t, err)
		if _, fifo := e.found["a"]; fifo && look(t, dir)["a"] == "special" {
			if len(r.Blocked) != 1 || r.Blocked[0].Path != "a" || !strings.Contains(r.Blocked[0].Why, "remove it") {
				t.Errorf("blocked: %+v", r.Blocked)
			}
			return
		}
		mustLook(t, dir, want)
		mustRest(t, target, 1, published)
		if len(r.Blocked) > 0 || r.Kept != len(e.kept) || r.Corrected+r.Created+r.Changed != len(e.found) {
			t.Errorf("result %+v", r)
		}
		got := kept(t, dir)
		maps.DeleteFunc(got, func(_, spec string) bool { return strings.HasSuffix(spec, "/") })
		if !maps.Equal(got, e.kept) {
			t.Errorf("kept %q, want %q", got, e.kept)
		}
		mustDrift(t, target, nil, map[string]Deviation{})
	})
}

// What needs no contents is put right while there are none.
func TestRepair_withoutContents(t *testing.T) {
	eachEdit(t, func(t *testing.T, target *Target, e edit) {
		found := mustDrift(t, target, nil, e.found)
		rest := maps.Clone(e.found)
		var list []string
		for _, d := range found {
			if !d.NeedsContent() {
				list = append(list, d.Path)
				delete(rest, d.Path)
			}
		}
		_, err := target.Repair(context.Background(), list, noContents{})
		do(t, err)
		if len(e.found) > 0 {
			mustDrift(t, target, nil, rest)
		}
	})
}

func TestRepair_writesNothingWhereAllIsRight(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, options(dir))
	mustApply(t, target, 1, published)
	before, err := os.ReadFile(filepath.Join(dir, ".confsyncd/journal"))
	do(t, err)
	r, err := target.Repair(context.Background(), []string{"a", "d/e/f", "no such"}, noContents{})
	do(t, err)
	after, err := os.ReadFile(filepath.Join(dir, ".confsyncd/journal"))
	do(t, err)
	if string(before) != string(after) || r.Corrected != 0 {
		t.Errorf("the journal was written, or %+v", r)
	}
}

func TestRepair_passesOverWhatCannotBePutRight(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may set immutable")
	}
	dir := newDir(t)
	target := mustOpen(t, options(dir))
	mustApply(t, target, 1, published)
	write(t, filepath.Join(dir, "a"), "edited")
	write(t, filepath.Join(dir, "d/g"), "edited")
	f, err := os.Open(filepath.Join(dir, "a"))
	do(t, err)
	defer f.Close()
	const immutable = 0x10 // FS_IMMUTABLE_FL
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, immutable); err != nil {
		t.Skipf("no immutable files here: %v", err)
	}
	defer func() { _ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0) }()
	_, c := published.tree(t)
	r, err := target.Repair(context.Background(), []string{"a", "d/g"}, c)
	do(t, err)
	if len(r.Blocked) != 1 || r.Blocked[0].Path != "a" || !strings.Contains(r.Blocked[0].Why, "chattr -i") {
		t.Errorf("blocked %+v", r.Blocked)
	}
	mustLook(t, dir, published.with(files{"a": "644 edited"}))
	if target.journal.Pending() != nil {
		t.Error("an apply is left incomplete")
	}
}

func TestRepair_afterACrashIsCompleted(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, options(dir))
	mustApply(t, target, 1, published)
	write(t, filepath.Join(dir, "a"), "edited")
	_, c := published.tree(t)
	target.crash = func(point string) {
		if point == "after-next" {
			panic(crashed(point))
		}
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = target.Repair(context.Background(), []string{"a"}, c)
	}()
	do(t, target.Close())
	mustOpen(t, options(dir))
	mustLook(t, dir, published)
	if got := kept(t, dir); got["a"] != "644 edited" {
		t.Errorf("kept %q", got)
	}
}

// The events of an apply cost a look each, and no reading.
func TestApply_notesWhatItWrote(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, options(dir))
	target.crash = func(point string) {
		if point == "before-next" {
			time.Sleep(2 * raceWindow) // as a disk does
		}
	}
	mustApply(t, target, 1, published)
	if _, ok := target.stamps.known["a"]; !ok || len(target.stamps.known) != 5 {
		t.Errorf("noted %v", target.stamps.known)
	}
	mustDrift(t, target, nil, map[string]Deviation{})
	write(t, filepath.Join(dir, "a"), "eno")
	mustDrift(t, target, nil, map[string]Deviation{"a": OtherBytes})
}

func TestApply_goesBackOnlyWhenAsked(t *testing.T) { eachMode(t, testApplyGoesBackOnlyWhenAsked) }

func testApplyGoesBackOnlyWhenAsked(t *testing.T, m Mode) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	mustApply(t, target, 1, published)
	mustApply(t, target, 2, published.with(files{"a": "644 newer"}))
	p, c := plan(t, 1, published)
	if _, err := target.Apply(t.Context(), p, c); err == nil {
		t.Fatal("went back unasked")
	}
	p.Back = true
	_, err := target.Apply(t.Context(), p, c)
	do(t, err)
	mustLook(t, dir, published)
	mustRest(t, target, 1, published)
	mustApply(t, target, 3, published.with(files{"a": "644 newest"}))
}

// reselect applies the published files but for those in d, by another selection.
func reselect(t *testing.T, target *Target) {
	t.Helper()
	rest := maps.Clone(published)
	maps.DeleteFunc(rest, func(path, _ string) bool { return path == "d" || strings.HasPrefix(path, "d/") })
	p, c := plan(t, 2, rest)
	p.Meta.Selection = "another"
	_, err := target.Apply(t.Context(), p, c)
	do(t, err)
	if got := target.State().Left; !slices.Equal(got, []string{"d", "d/e", "d/e/f", "d/g"}) {
		t.Fatalf("left %q", got)
	}
}

func TestPrune(t *testing.T) { eachMode(t, testPrune) }

func testPrune(t *testing.T, m Mode) {
	for name, tt := range map[string]struct {
		edit      func(t *testing.T, dir string)
		kept      files
		stays     files
		unmanaged []string
	}{
		"what is as it was left": {kept: files{"d/e/f": "644 deep", "d/g": "640 g"}},
		"what was edited since": {
			edit: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "d/g"), "edited") },
			kept: files{"d/e/f": "644 deep", "d/g": "640 edited"},
		},
		"what is gone already": {edit: func(t *testing.T, dir string) { do(t, os.RemoveAll(filepath.Join(dir, "d"))) }},
		"a directory that holds what is not managed": {
			edit:  func(t *testing.T, dir string) { write(t, filepath.Join(dir, "d/e/mine"), "mine") },
			kept:  files{"d/e/f": "644 deep", "d/g": "640 g"},
			stays: files{"d": "755/", "d/e": "755/", "d/e/mine": "644 mine"}, unmanaged: []string{"d", "d/e"},
		},
		"a directory in a file's place": {
			edit: func(t *testing.T, dir string) {
				do(t, os.Remove(filepath.Join(dir, "d/g")))
				files{"g": "755/", "g/mine": "644 mine"}.put(t, filepath.Join(dir, "d"))
			},
			kept:  files{"d/e/f": "644 deep"},
			stays: files{"d": "755/", "d/g": "755/", "d/g/mine": "644 mine"}, unmanaged: []string{"d", "d/g"},
		},
	} {
		for _, crash := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", after a crash"}[crash], func(t *testing.T) {
				dir := newDir(t)
				target := mustOpen(t, optionsIn(m, dir))
				mustApply(t, target, 1, published)
				reselect(t, target)
				if tt.edit != nil {
					tt.edit(t, dir)
				}
				if crash {
					target.crash = func(point string) {
						if point == "after-next" {
							panic(crashed(point))
						}
					}
					func() {
						defer func() { _ = recover() }()
						_, _ = target.Prune(t.Context())
					}()
					do(t, target.Close())
					target = mustOpen(t, optionsIn(m, dir))
				} else {
					r, err := target.Prune(t.Context())
					do(t, err)
					if !slices.Equal(r.Unmanaged, tt.unmanaged) || r.Kept != len(tt.kept) {
						t.Errorf("result %+v", r)
					}
				}
				want := maps.Clone(published)
				maps.DeleteFunc(want, func(path, _ string) bool { return path == "d" || strings.HasPrefix(path, "d/") })
				mustLook(t, dir, want.with(tt.stays))
				mustRest(t, target, 2, want)
				got := kept(t, dir)
				maps.DeleteFunc(got, func(_, spec string) bool { return strings.HasSuffix(spec, "/") })
				if !maps.Equal(got, tt.kept) {
					t.Errorf("kept %q, want %q", got, tt.kept)
				}
				if left := target.State().Left; len(left) > 0 {
					t.Errorf("still left behind: %q", left)
				}
			})
		}
	}
}
