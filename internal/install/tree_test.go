package install

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// nodeAt returns what stands at path in dir; "" is dir itself.
func nodeAt(t *testing.T, dir, path string) node {
	t.Helper()
	n, err := lstat(unix.AT_FDCWD, filepath.Join(dir, path))
	do(t, err)
	return n
}

// inSibling lists what the sibling of a target holds.
func inSibling(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(siblingPath(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	do(t, err)
	var found []string
	for _, e := range list {
		if e.Name() == stampsName {
			continue // Whether there are any depends on the file system.
		}
		name, _, _ := strings.Cut(e.Name(), "-")
		found = append(found, name)
	}
	return found
}

// mustApplyKeeping applies a plan that leaves drift as it is.
func mustApplyKeeping(t *testing.T, target *Target, generation uint64, f files) Result {
	t.Helper()
	p, c := plan(t, generation, f)
	p.KeepDrift = true
	r, err := target.Apply(t.Context(), p, c)
	do(t, err)
	return r
}

func TestTree_switchesTheRootAndSharesWhatStays(t *testing.T) {
	dir := newDir(t)
	do(t, os.Chmod(dir, 0o2751))
	target := mustOpen(t, optionsIn(Tree, dir))
	one := files{"d": "750/", "d/same": "640 same", "d/x": "644 1", "l": "->d/x", "y": "644 1"}
	mustApply(t, target, 1, one)
	root, same, x := nodeAt(t, dir, ""), nodeAt(t, dir, "d/same"), nodeAt(t, dir, "d/x")

	if r := mustApply(t, target, 2, one.with(files{"y": "644 2"})); r.Switched || nodeAt(t, dir, "").ino != root.ino {
		t.Errorf("one path switched the tree: %+v", r)
	}
	two := one.with(files{"y": "644 3", "d/x": "644 3"})
	if r := mustApply(t, target, 3, two); !r.Switched || r.Changed != 2 || r.Bytes != 2 {
		t.Errorf("%+v", r)
	}
	mustLook(t, dir, two)
	mustRest(t, target, 3, two)
	now := nodeAt(t, dir, "")
	if now.ino == root.ino || now.mode != root.mode || now.uid != root.uid {
		t.Errorf("the root was %+v and is %+v", root, now)
	}
	if nodeAt(t, dir, "d/same").ino != same.ino || nodeAt(t, dir, "d/x").ino == x.ino {
		t.Error("what does not change is not shared, or what changes is")
	}
	if got := inSibling(t, dir); !slices.Equal(got, []string{"old", "old", "stage"}) {
		t.Errorf("the sibling holds %q", got)
	}
	// Locked, in its new place too.
	if _, err := Open(options(dir)); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	if info := nodeAt(t, filepath.Dir(dir), diff.SiblingName("target")); info.mode != 0o700 {
		t.Errorf("the sibling's mode is %o", info.mode)
	}
}

func TestTree_anythingUnmanagedBlocksTheSwitch(t *testing.T) {
	for name, path := range map[string]string{"a file": "mine", "below": "d/mine", "a directory": "e/"} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			target := mustOpen(t, optionsIn(Tree, dir))
			mustApply(t, target, 1, files{"d": "755/", "d/x": "644 1", "y": "644 1"})
			mine := filepath.Join(dir, path)
			if strings.HasSuffix(path, "/") {
				do(t, os.Mkdir(mine, 0o755))
			} else {
				do(t, os.WriteFile(mine, nil, 0o600))
			}
			present := look(t, dir)
			_, err := apply(t, target, 2, files{"d": "755/", "d/x": "644 2", "y": "644 2"})
			var conflict *Conflict
			if !errors.As(err, &conflict) || conflict.Paths[0].Path != strings.TrimSuffix(path, "/") {
				t.Fatalf("%v", err)
			}
			mustLook(t, dir, present)
			// One path alone needs no switch.
			mustApply(t, target, 2, files{"d": "755/", "d/x": "644 2", "y": "644 1"})
			do(t, os.Remove(mine))
			mustApply(t, target, 3, files{"d": "755/", "d/x": "644 3", "y": "644 3"})
			mustLook(t, dir, files{"d": "755/", "d/x": "644 3", "y": "644 3"})
		})
	}
}

// What others changed before a switch that does not change it.
func TestTree_drift(t *testing.T) {
	before := files{"a": "644 a", "b": "644 b", "d": "755/", "d/x": "644 x", "l": "->a"}
	after := before.with(files{"a": "644 a2", "b": "644 b2"})
	for name, tt := range map[string]struct {
		meddle func(t *testing.T, dir string)
		drift  files // "" where nothing is
		kept   files
	}{
		"an edit": {
			func(t *testing.T, dir string) {
				do(t, os.WriteFile(filepath.Join(dir, "d/x"), []byte("edited"), 0o644))
			},
			files{"d/x": "644 edited"},
			files{"d": "700/", "d/x": "644 edited"},
		},
		"an edit that restores size and mtime": {
			func(t *testing.T, dir string) {
				n := nodeAt(t, dir, "d/x")
				do(t, os.WriteFile(filepath.Join(dir, "d/x"), []byte("y"), 0o644))
				do(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, "d/x"), []unix.Timespec{n.mtime, n.mtime}, 0))
			},
			files{"d/x": "644 y"},
			files{"d": "700/", "d/x": "644 y"},
		},
		"a mode": {
			func(t *testing.T, dir string) { do(t, os.Chmod(filepath.Join(dir, "d/x"), 0o600)) },
			files{"d/x": "600 x"},
			nil,
		},
		"a directory's mode": {
			func(t *testing.T, dir string) { do(t, os.Chmod(filepath.Join(dir, "d"), 0o711)) },
			files{"d": "711/"},
			nil,
		},
		"a deletion": {
			func(t *testing.T, dir string) { do(t, os.Remove(filepath.Join(dir, "d/x"))) },
			files{"d/x": ""},
			nil,
		},
		"a directory's deletion": {
			func(t *testing.T, dir string) { do(t, os.RemoveAll(filepath.Join(dir, "d"))) },
			files{"d": "", "d/x": ""},
			nil,
		},
		"a symlink elsewhere": {
			func(t *testing.T, dir string) {
				do(t, os.Remove(filepath.Join(dir, "l")))
				do(t, os.Symlink("/etc", filepath.Join(dir, "l")))
			},
			files{"l": "->/etc"},
			files{"l": "->/etc"},
		},
		"a file in a directory's place": {
			func(t *testing.T, dir string) {
				do(t, os.RemoveAll(filepath.Join(dir, "d")))
				do(t, os.WriteFile(filepath.Join(dir, "d"), []byte("mine"), 0o600))
			},
			files{"d": "600 mine", "d/x": ""},
			files{"d": "600 mine"},
		},
	} {
		for _, keep := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/keep=%v", name, keep), func(t *testing.T) {
				dir := newDir(t)
				o := optionsIn(Tree, dir)
				first := mustOpen(t, o)
				mustApply(t, first, 1, before)
				do(t, first.Close()) // So that no stamp vouches for anything.
				tt.meddle(t, dir)
				target := mustOpen(t, o)
				if keep {
					mustApplyKeeping(t, target, 2, after)
					want := after.with(tt.drift)
					for p, spec := range want {
						if spec == "" {
							delete(want, p)
						}
					}
					mustLook(t, dir, want)
					if got := kept(t, dir); len(got) > 0 {
						t.Errorf("kept %q", got)
					}
					if !strings.HasSuffix(tt.drift["d/x"], " edited") {
						return
					}
					// A copy: the old tree's file is another one.
					old, err := filepath.Glob(filepath.Join(siblingPath(dir), "old-*", "d/x"))
					do(t, err)
					if nodeAt(t, dir, "d/x").ino == nodeAt(t, old[len(old)-1], "").ino {
						t.Error("drift was linked over")
					}
					return
				}
				r := mustApply(t, target, 2, after)
				mustLook(t, dir, after)
				mustRest(t, target, 2, after)
				if got := kept(t, dir); fmt.Sprint(got) != fmt.Sprint(files{}.with(tt.kept)) || r.Changed != 2 {
					t.Errorf("kept %q, want %q; %+v", got, tt.kept, r)
				}
			})
		}
	}
}

// others changes a target at one moment of a switch. The changed path is one that the
// switch changes, one that it does not, or a new one.
func TestTree_editsAtAnyMomentAreNeverLostOrMixed(t *testing.T) {
	for name, age := range map[string]time.Duration{"by every path": 0, "by the directories' times": 2 * raceWindow} {
		t.Run(name, func(t *testing.T) { testEditsAtAnyMoment(t, age) })
	}
}

// The directories are of the given age when they are surveyed.
func testEditsAtAnyMoment(t *testing.T, age time.Duration) {
	before := files{"changes": "644 one", "stays": "644 stays", "goes": "644 goes"}
	after := files{"changes": "644 two", "stays": "644 stays", "comes": "644 comes"}
	edits := map[string]func(t *testing.T, dir string, open map[string]*os.File) (path, spec string){
		"what changes, in place": func(t *testing.T, _ string, open map[string]*os.File) (string, string) {
			_, err := open["changes"].WriteAt([]byte("edited"), 0)
			do(t, err)
			return "changes", "644 edited"
		},
		"what stays, in place": func(t *testing.T, _ string, open map[string]*os.File) (string, string) {
			_, err := open["stays"].WriteAt([]byte("edited"), 0)
			do(t, err)
			return "stays", "644 edited"
		},
		"what goes, in place": func(t *testing.T, _ string, open map[string]*os.File) (string, string) {
			_, err := open["goes"].WriteAt([]byte("edited"), 0)
			do(t, err)
			return "goes", "644 edited"
		},
		"what stays, by another file": func(t *testing.T, _ string, open map[string]*os.File) (string, string) {
			root := int(open["."].Fd())
			do(t, unix.Unlinkat(root, "stays", 0))
			fd, err := unix.Openat(root, "stays", unix.O_CREAT|unix.O_WRONLY|unix.O_EXCL, 0o644)
			do(t, err)
			_, err = unix.Write(fd, []byte("another"))
			do(t, errors.Join(err, unix.Close(fd)))
			return "stays", "644 another"
		},
		"a new file": func(t *testing.T, _ string, open map[string]*os.File) (string, string) {
			fd, err := unix.Openat(int(open["."].Fd()), "mine", unix.O_CREAT|unix.O_WRONLY|unix.O_EXCL, 0o644)
			do(t, err)
			_, err = unix.Write(fd, []byte("mine"))
			do(t, errors.Join(err, unix.Close(fd)))
			return "mine", "644 mine"
		},
	}
	// The edits come through descriptors that were opened before: of the old tree, once
	// it was switched out. A writer that keeps them open has its files copied; one that
	// opens them at that moment finds what is there.
	for name, edit := range edits {
		for _, when := range []string{"before-build", "mid-build", "after-stage", "before-exchange", "after-exchange", "after-sync", "after-retire", "later"} {
			for _, early := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/early=%v", name, when, early), func(t *testing.T) {
					dir := newDir(t)
					o := optionsIn(Tree, dir)
					first := mustOpen(t, o)
					mustApply(t, first, 1, before)
					do(t, first.Close())
					time.Sleep(age)
					open := map[string]*os.File{}
					root, err := os.Open(dir)
					do(t, err)
					open["."] = root
					openAll := func() {
						for path := range before {
							fd, err := unix.Openat(int(root.Fd()), path, unix.O_RDWR, 0)
							do(t, err)
							open[path] = os.NewFile(uintptr(fd), path)
						}
					}
					closeAll := func() {
						for path, f := range open {
							do(t, f.Close())
							delete(open, path)
						}
					}
					defer closeAll()
					if early {
						openAll()
					}
					path, spec := "", ""
					others := func() {
						if !early {
							openAll()
						}
						path, spec = edit(t, dir, open)
					}
					target := at(t, o, when, others)
					now := time.Now()
					target.now = func() time.Time { return now }
					_, err = apply(t, target, 2, after)
					if when == "later" {
						others()
					}
					var conflict *Conflict
					switch {
					case errors.As(err, &conflict):
						// It came before the switch: nothing was written.
						mustLook(t, dir, before.with(files{path: spec}))
						do(t, os.Remove(filepath.Join(dir, path)))
						mustApply(t, target, 2, after)
						mustLook(t, dir, after)
						return
					case errors.Is(err, ErrChanged):
						mustApply(t, target, 2, after)
					default:
						do(t, err)
					}
					if got := look(t, dir); got["stays"] == "644 edited" && slices.Contains([]string{"later", "after-retire"}, when) && !early {
						// Drift of the live tree, which shares the file. Only a look can tell.
						drift, err := target.Drift(t.Context(), Where{}, false)
						if err != nil || len(drift) != 1 || drift[0].Path != "stays" {
							t.Fatalf("%v %v", drift, err)
						}
						_, err = target.Repair(t.Context(), []string{"stays"}, contents{diff.Sum([]byte("stays")): []byte("stays")})
						do(t, err)
					}
					mustLook(t, dir, after)
					closeAll()
					// The old tree goes, but not what was edited in it.
					three := after.with(files{"changes": "644 three", "comes": "644 three"})
					now = now.Add(time.Second)
					mustApply(t, target, 3, three)
					now = now.Add(oldAge)
					for target.Tidy(time.Minute) == 0 {
					}
					mustLook(t, dir, three)
					if got := kept(t, dir); got[path] != spec {
						t.Errorf("kept %q, want %q: %q", got, path, spec)
					}
				})
			}
		}
	}
}

func TestTree_crashesKeepWhatWasEdited(t *testing.T) {
	before := files{"a": "644 a", "b": "644 b", "c": "644 c"}
	after := files{"a": "644 a2", "b": "644 b2", "c": "644 c"}
	for _, point := range []string{"before-build", "mid-build", "after-stage", "before-exchange", "after-exchange", "after-sync", "after-retire"} {
		t.Run(point, func(t *testing.T) {
			dir := newDir(t)
			o := optionsIn(Tree, dir)
			first := mustOpen(t, o)
			mustApply(t, first, 1, before)
			do(t, first.Close())
			a, err := os.OpenFile(filepath.Join(dir, "a"), os.O_RDWR, 0)
			do(t, err)
			mustCrash(t, o, point, 2, after)
			_, err = a.WriteAt([]byte("edited"), 0)
			do(t, errors.Join(err, a.Close()))
			target := mustOpen(t, o)
			mustApply(t, target, 2, after)
			mustLook(t, dir, after)
			now := time.Now().Add(time.Hour)
			target.now = func() time.Time { return now }
			mustApply(t, target, 3, after.with(files{"b": "644 b3", "c": "644 c3"}))
			if again := target.Tidy(time.Minute); again >= 0 {
				t.Errorf("tidy again in %v", again)
			}
			if got := kept(t, dir); got["a"] != "644 edited" {
				t.Errorf("kept %q", got)
			}
			if got := inSibling(t, dir); !slices.Equal(got, []string{"kept", "old", "stage"}) {
				t.Errorf("the sibling holds %q", got)
			}
		})
	}
}

func TestTidy_leavesTheNewestAndWhatIsYoung(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(Tree, dir))
	now := time.Now()
	target.now = func() time.Time { return now }
	olds := func() int {
		n := 0
		for _, name := range inSibling(t, dir) {
			if name == "old" {
				n++
			}
		}
		return n
	}
	tree := func(g uint64) files {
		f := files{}
		for i := range 300 {
			f[fmt.Sprint(i)] = "644 x"
		}
		f["a"], f["b"] = fmt.Sprintf("644 %d", g), fmt.Sprintf("644 %d", g)
		return f
	}
	for g := uint64(1); g <= 4; g++ {
		mustApply(t, target, g, tree(g))
		now = now.Add(time.Second)
	}
	if olds() != 4 || target.Tidy(time.Minute) != oldAge-4*time.Second {
		t.Errorf("%d old trees, again in %v", olds(), target.Tidy(time.Minute))
	}
	now = now.Add(oldAge - 3*time.Second)
	pieces := 0
	for target.Tidy(time.Microsecond) == 0 {
		pieces++
	}
	if olds() != 2 || pieces < 3 {
		t.Errorf("%d old trees after %d pieces", olds(), pieces)
	}
	now = now.Add(time.Hour)
	if again := target.Tidy(time.Minute); again >= 0 || olds() != 1 {
		t.Errorf("%d old trees, again in %v", olds(), again)
	}
	mustLook(t, dir, tree(4))
	if got := kept(t, dir); len(got) > 0 {
		t.Errorf("kept %q", got)
	}
	// Nor does another process's Open.
	mustApply(t, target, 5, tree(5))
	do(t, target.Close())
	mustOpen(t, optionsIn(Tree, dir))
	if olds() != 2 {
		t.Errorf("%d old trees after Open", olds())
	}
}

func TestTree_whatTheSelectionLeftBehindComesAlong(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(Tree, dir))
	mustApply(t, target, 1, files{"a": "755/", "a/x": "644 x", "a/e": "750/", "a/e/f": "600 f", "b": "644 b", "c": "644 c"})
	p, c := plan(t, 2, files{"b": "644 b2", "c": "644 c2"})
	p.Meta.Selection = "other"
	_, err := target.Apply(t.Context(), p, c)
	do(t, err)
	left := files{"a": "755/", "a/x": "644 x", "a/e": "750/", "a/e/f": "600 f"}
	mustLook(t, dir, left.with(files{"b": "644 b2", "c": "644 c2"}))
	do(t, os.WriteFile(filepath.Join(dir, "a/x"), []byte("now mine"), 0o644))
	p, c = plan(t, 3, files{"b": "644 b3", "c": "644 c3"})
	p.Meta.Selection = "other"
	r, err := target.Apply(t.Context(), p, c)
	if err != nil || len(r.Left) != 4 || !r.Switched {
		t.Errorf("%+v %v", r, err)
	}
	mustLook(t, dir, left.with(files{"a/x": "644 now mine", "b": "644 b3", "c": "644 c3"}))
	if _, err := target.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustLook(t, dir, files{"b": "644 b3", "c": "644 c3"})
}

func TestConvert_movesWhatConfsyncdKeeps(t *testing.T) {
	dir := newDir(t)
	first := mustOpen(t, options(dir))
	mustApply(t, first, 1, files{"a": "644 a", "b": "644 b"})
	do(t, os.WriteFile(filepath.Join(dir, "a"), []byte("edited"), 0o644))
	mustApply(t, first, 2, files{"a": "644 a2", "b": "644 b"})
	do(t, first.Close())
	do(t, Accept(dir, position(1)))

	for i, m := range []Mode{Tree, Files, Tree} {
		target := mustOpen(t, optionsIn(m, dir))
		if got := ControlDir(dir); got != target.full(target.sideName()) || (got == siblingPath(dir)) != (m == Tree) {
			t.Errorf("%s: control files lie in %q", m, got)
		}
		if p, err := target.Accepted(); err != nil || p == nil {
			t.Errorf("%s: accepted %v %v", m, p, err)
		}
		if got := kept(t, dir); got["a"] != "644 edited" {
			t.Errorf("%s: kept %q", m, got)
		}
		g := uint64(3 + i)
		want := files{"a": fmt.Sprintf("644 %d", g), "b": fmt.Sprintf("644 %d", g)}
		if r := mustApply(t, target, g, want); r.Switched != (m == Tree) {
			t.Errorf("%+v", r)
		}
		mustLook(t, dir, want)
		mustRest(t, target, g, want)
		do(t, target.Close())
		own, err := os.ReadDir(filepath.Join(dir, diff.OwnName))
		do(t, err)
		if m == Tree && (len(own) != 1 || own[0].Name() != "journal") {
			t.Errorf("left in .confsyncd: %v", own)
		}
		if got := inSibling(t, dir); (got != nil) != (m == Tree) {
			t.Errorf("%s: the sibling holds %q", m, got)
		}
	}
}

// The mode changes while an apply is pending, or the change of mode is interrupted.
func TestConvert_afterACrash(t *testing.T) {
	one, two := files{"a": "644 1", "b": "644 1"}, files{"a": "644 2", "b": "644 2"}
	for _, point := range []string{"after-next", "mid-switch 2", "before-dissolve", "mid-dissolve", "after-exchange", "before-exchange"} {
		for _, from := range []Mode{Files, Tree} {
			to := map[Mode]Mode{Files: Tree, Tree: Files}[from]
			t.Run(fmt.Sprintf("%s/from %s", point, from), func(t *testing.T) {
				dir := newDir(t)
				first := mustOpen(t, optionsIn(from, dir))
				mustApply(t, first, 1, one)
				do(t, os.WriteFile(filepath.Join(dir, "a"), []byte("edited"), 0o644))
				mustApply(t, first, 2, one.with(files{"a": "644 x"}))
				do(t, first.Close())
				crashingWhen(t, optionsIn(from, dir), func(at string) bool { return at == point }, 3, two)
				crashingWhen(t, optionsIn(to, dir), func(at string) bool { return at == point }, 4, one)
				target := mustOpen(t, optionsIn(to, dir))
				mustApply(t, target, 5, two)
				mustLook(t, dir, two)
				mustRest(t, target, 5, two)
				if got := kept(t, dir); got["a"] != "644 edited" {
					t.Errorf("kept %q", got)
				}
				if got := inSibling(t, dir); (got != nil) != (to == Tree) {
					t.Errorf("the sibling holds %q", got)
				}
			})
		}
	}
}

func TestTree_whereItIsNotPossible(t *testing.T) {
	mustRefuseTree := func(t *testing.T, dir, because string) {
		t.Helper()
		for _, err := range []error{CheckTree(dir), func() error { _, err := Open(optionsIn(Tree, dir)); return err }()} {
			if !errors.Is(err, ErrUnswitchable) || !strings.Contains(err.Error(), because) {
				t.Errorf("%v", err)
			}
		}
		mustOpen(t, options(dir)) // In the other mode it is.
	}
	t.Run("a mount point", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("only root may mount")
		}
		for kind, source := range map[string]string{"tmpfs": "tmpfs", "": t.TempDir()} {
			dir := newDir(t)
			flags := uintptr(0)
			if kind == "" {
				flags = unix.MS_BIND
			}
			if err := unix.Mount(source, dir, kind, flags, ""); err != nil {
				t.Skipf("mount: %v", err)
			}
			t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			mustRefuseTree(t, dir, "mount point")
		}
	})
	t.Run("a parent that cannot be written", func(t *testing.T) {
		asUser(t)
		dir := newDir(t)
		do(t, os.Chmod(filepath.Dir(dir), 0o555))
		t.Cleanup(func() { do(t, os.Chmod(filepath.Dir(dir), 0o755)) })
		mustRefuseTree(t, dir, filepath.Dir(dir))
	})
	t.Run("a read-only file system", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("only root may mount")
		}
		dir := newDir(t)
		parent := filepath.Dir(dir)
		if err := unix.Mount(parent, parent, "", unix.MS_BIND, ""); err != nil {
			t.Skipf("mount: %v", err)
		}
		t.Cleanup(func() { do(t, unix.Unmount(parent, unix.MNT_DETACH)) })
		do(t, unix.Mount("", parent, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		if err := CheckTree(dir); !errors.Is(err, ErrUnswitchable) || !strings.Contains(err.Error(), "ReadWritePaths") {
			t.Errorf("%v", err)
		}
	})
	t.Run("a sibling of another user", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("only root may give files away")
		}
		dir := newDir(t)
		do(t, os.Mkdir(siblingPath(dir), 0o700))
		do(t, os.Chown(siblingPath(dir), nobody, nobody))
		mustRefuseTree(t, dir, siblingPath(dir))
		if ControlDir(dir) != filepath.Join(dir, diff.OwnName) {
			t.Error("control files are looked for in it")
		}
	})
	t.Run("a file in the sibling's place", func(t *testing.T) {
		dir := newDir(t)
		do(t, os.WriteFile(siblingPath(dir), nil, 0o600))
		mustRefuseTree(t, dir, siblingPath(dir))
	})
	t.Run("a name that is too long", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), strings.Repeat("n", maxName-5))
		do(t, os.Mkdir(dir, 0o755))
		mustRefuseTree(t, dir, "shorter name")
	})
}

func TestTree_ofASymlinkIsTheDirectoryThatItLeadsTo(t *testing.T) {
	dir := newDir(t)
	link := filepath.Join(t.TempDir(), "link")
	do(t, os.Symlink(dir, link))
	target := mustOpen(t, optionsIn(Tree, link))
	mustApply(t, target, 1, files{"a": "644 1", "b": "644 1"})
	mustApply(t, target, 2, files{"a": "644 2", "b": "644 2"})
	if n := nodeAt(t, link, ""); n.kind != diff.Symlink {
		t.Errorf("the symlink became a %v", n.kind)
	}
	mustLook(t, dir, files{"a": "644 2", "b": "644 2"})
	if ControlDir(link) != siblingPath(dir) {
		t.Errorf("control files lie in %q", ControlDir(link))
	}
	// The symlink is led elsewhere.
	do(t, os.Remove(link))
	do(t, os.Symlink(newDir(t), link))
	if _, err := apply(t, target, 3, files{"a": "644 3", "b": "644 3"}); !errors.Is(err, ErrGone) {
		t.Errorf("%v", err)
	}
}

// Others put another directory in the target's place, or take the sibling away.
func TestTree_noticesThatItIsGone(t *testing.T) {
	for name, others := range map[string]func(t *testing.T, dir string){
		"another directory": func(t *testing.T, dir string) {
			do(t, os.Rename(dir, dir+".moved"))
			files{"theirs": "644 theirs"}.put(t, func() string { do(t, os.Mkdir(dir, 0o755)); return dir }())
		},
		"no sibling": func(t *testing.T, dir string) { do(t, os.RemoveAll(siblingPath(dir))) },
	} {
		for _, when := range []string{"", "before-exchange"} {
			t.Run(name+"/"+when, func(t *testing.T) {
				dir := newDir(t)
				o := optionsIn(Tree, dir)
				first := mustOpen(t, o)
				mustApply(t, first, 1, files{"a": "644 1", "b": "644 1"})
				do(t, first.Close())
				target := at(t, o, when, func() { others(t, dir) })
				if when == "" {
					others(t, dir)
				}
				if _, err := apply(t, target, 2, files{"a": "644 2", "b": "644 2"}); err == nil {
					t.Fatal("applied")
				} else if when == "" && !errors.Is(err, ErrGone) {
					t.Error(err)
				}
				if name == "another directory" {
					mustLook(t, dir, files{"theirs": "644 theirs"})
					mustLook(t, dir+".moved", files{"a": "644 1", "b": "644 1"})
				} else {
					mustLook(t, dir, files{"a": "644 1", "b": "644 1"})
				}
			})
		}
	}
}

func TestTree_takesJournalsAlongThatWereSetAside(t *testing.T) {
	dir := newDir(t)
	o := optionsIn(Tree, dir)
	first := mustOpen(t, o)
	mustApply(t, first, 1, files{"a": "644 1", "b": "644 1"})
	do(t, first.Close())
	do(t, os.Truncate(filepath.Join(dir, diff.OwnName, "journal"), 30))
	target := mustOpen(t, o)
	mustApply(t, target, 1, files{"a": "644 1", "b": "644 1"})
	mustApply(t, target, 2, files{"a": "644 2", "b": "644 2"})
	if aside, err := filepath.Glob(filepath.Join(dir, diff.OwnName, "journal.damaged-*")); err != nil || len(aside) != 1 {
		t.Errorf("%q %v", aside, err)
	}
}

// As an ordinary user: read-only directories are built open, and removed.
func TestTree_readOnlyDirectories(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(Tree, dir))
	tree := func(g int) files {
		return files{"d": "555/", "d/e": "500/", "d/e/x": fmt.Sprintf("444 %d", g), "d/y": fmt.Sprintf("400 %d", g), "s": "555/", "s/same": "444 same"}
	}
	for g := 1; g <= 3; g++ {
		mustApply(t, target, uint64(g), tree(g))
		mustLook(t, dir, tree(g))
		mustRest(t, target, uint64(g), tree(g))
	}
	target.now = func() time.Time { return time.Now().Add(time.Hour) }
	if again := target.Tidy(time.Minute); again >= 0 {
		t.Errorf("again in %v", again)
	}
	if got := inSibling(t, dir); !slices.Equal(got, []string{"old", "stage"}) {
		t.Errorf("the sibling holds %q", got)
	}
}

func TestTidy_ofWhatWasSwitchedOutInTheFuture(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(Tree, dir))
	now := time.Now().AddDate(10, 0, 0) // Its clock is wrong.
	target.now = func() time.Time { return now }
	for g := uint64(1); g <= 3; g++ {
		mustApply(t, target, g, files{"a": fmt.Sprintf("644 %d", g), "b": fmt.Sprintf("644 %d", g)})
	}
	do(t, target.Close())
	target = mustOpen(t, optionsIn(Tree, dir))
	now = time.Now().Add(oldAge)
	target.now = func() time.Time { return now }
	if again := target.Tidy(time.Minute); again >= 0 {
		t.Errorf("again in %v", again)
	}
	if got := inSibling(t, dir); !slices.Equal(got, []string{"old", "stage"}) {
		t.Errorf("the sibling holds %q", got)
	}
}
