package install

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// published is what the targets of the drift tests are at.
var published = files{
	"a": "644 one", "b": "600 two", "d": "755/", "d/e": "755/", "d/e/f": "644 deep", "d/g": "640 g",
	"empty": "755/", "l": "->a",
}

// edit is what another local user does to a target, and what is said of it.
type edit struct {
	do func(t *testing.T, dir string)
	// found are the paths that drift, each with how.
	found map[string]Deviation
	// kept is what a repair puts aside.
	kept files
	root bool // only root can do it
	busy bool // it is not repaired yet
	// outside is what stands beside the target afterwards, repaired or not.
	outside string
}

// outsideOf is a file beside the target, where edits lead out to.
func outsideOf(dir string) string { return filepath.Join(filepath.Dir(dir), "outside") }

func write(t testing.TB, path, content string) {
	t.Helper()
	do(t, os.WriteFile(path, []byte(content), 0o644))
}

// restamped writes a file and gives it its mtime back.
func restamped(t testing.TB, path, content string) {
	t.Helper()
	info, err := os.Stat(path)
	do(t, err)
	write(t, path, content)
	do(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
}

func edits() map[string]edit {
	in := func(do func(t *testing.T, at func(string) string)) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			do(t, func(path string) string { return filepath.Join(dir, path) })
		}
	}
	return map[string]edit{
		"nothing": {do: func(*testing.T, string) {}},
		"what is not managed": {do: in(func(t *testing.T, at func(string) string) {
			write(t, at("mine"), "mine")
			write(t, at("d/mine"), "mine")
			do(t, os.Mkdir(at("d/ours"), 0o700))
		})},
		"an edit": {
			do:    in(func(t *testing.T, at func(string) string) { write(t, at("a"), "edited") }),
			found: map[string]Deviation{"a": OtherBytes}, kept: files{"a": "644 edited"},
		},
		"an edit of the same size": {
			do:    in(func(t *testing.T, at func(string) string) { write(t, at("d/e/f"), "peed") }),
			found: map[string]Deviation{"d/e/f": OtherBytes}, kept: files{"d/e/f": "644 peed"},
		},
		"an edit that restores the mtime": {
			do:    in(func(t *testing.T, at func(string) string) { restamped(t, at("a"), "eno") }),
			found: map[string]Deviation{"a": OtherBytes}, kept: files{"a": "644 eno"},
		},
		"a replaced file": {
			do: in(func(t *testing.T, at func(string) string) {
				write(t, at("a.new"), "new")
				do(t, os.Rename(at("a.new"), at("a")))
			}),
			found: map[string]Deviation{"a": OtherBytes}, kept: files{"a": "644 new"},
		},
		"a deletion": {
			do:    in(func(t *testing.T, at func(string) string) { do(t, os.Remove(at("d/g"))) }),
			found: map[string]Deviation{"d/g": Missing},
		},
		"a rename": {
			do:    in(func(t *testing.T, at func(string) string) { do(t, os.Rename(at("a"), at("a.bak"))) }),
			found: map[string]Deviation{"a": Missing},
		},
		"a file's mode": {
			do:    in(func(t *testing.T, at func(string) string) { do(t, os.Chmod(at("b"), 0o666)) }),
			found: map[string]Deviation{"b": OtherMode},
		},
		"a directory's mode": {
			do:    in(func(t *testing.T, at func(string) string) { do(t, os.Chmod(at("d"), 0o777)) }),
			found: map[string]Deviation{"d": OtherMode},
		},
		"an owner": {
			do: in(func(t *testing.T, at func(string) string) {
				do(t, os.Lchown(at("a"), 12345, 12345))
				do(t, os.Lchown(at("d"), 12345, -1))
				do(t, os.Lchown(at("l"), -1, 12345))
			}),
			found: map[string]Deviation{"a": OtherOwner, "d": OtherOwner, "l": OtherOwner}, root: true,
		},
		"a symlink that leads elsewhere": {
			do: in(func(t *testing.T, at func(string) string) {
				do(t, os.Remove(at("l")))
				do(t, os.Symlink("b", at("l")))
			}),
			found: map[string]Deviation{"l": OtherBytes}, kept: files{"l": "->b"},
		},
		"a file that becomes a directory": {
			do: in(func(t *testing.T, at func(string) string) {
				do(t, os.Remove(at("a")))
				do(t, os.Mkdir(at("a"), 0o755))
			}),
			found: map[string]Deviation{"a": OtherKind},
		},
		"a file that becomes a symlink out of the tree": {
			do: func(t *testing.T, dir string) {
				write(t, outsideOf(dir), "outside")
				do(t, os.Remove(filepath.Join(dir, "a")))
				do(t, os.Symlink("../outside", filepath.Join(dir, "a")))
			},
			found: map[string]Deviation{"a": OtherKind}, kept: files{"a": "->../outside"}, outside: "outside",
		},
		"a symlink that becomes a file": {
			do: in(func(t *testing.T, at func(string) string) {
				do(t, os.Remove(at("l")))
				write(t, at("l"), "file")
			}),
			found: map[string]Deviation{"l": OtherKind}, kept: files{"l": "644 file"},
		},
		"a directory that becomes a file": {
			do: in(func(t *testing.T, at func(string) string) {
				do(t, os.RemoveAll(at("d")))
				write(t, at("d"), "file")
			}),
			found: map[string]Deviation{"d": OtherKind, "d/e": Missing, "d/e/f": Missing, "d/g": Missing},
			kept:  files{"d": "644 file"},
		},
		"a directory that becomes a symlink to its own files elsewhere": {
			do: func(t *testing.T, dir string) {
				do(t, os.Rename(filepath.Join(dir, "d"), outsideOf(dir)))
				do(t, os.Symlink("../outside", filepath.Join(dir, "d")))
			},
			found: map[string]Deviation{"d": OtherKind, "d/e": Missing, "d/e/f": Missing, "d/g": Missing},
			kept:  files{"d": "->../outside"},
		},
		"an emptied directory": {
			do: in(func(t *testing.T, at func(string) string) {
				do(t, os.RemoveAll(at("d/e")))
				do(t, os.Remove(at("d/g")))
			}),
			found: map[string]Deviation{"d/e": Missing, "d/e/f": Missing, "d/g": Missing},
		},
		"deleted directories": {
			do: in(func(t *testing.T, at func(string) string) {
				do(t, os.RemoveAll(at("d")))
				do(t, os.Remove(at("empty")))
			}),
			found: map[string]Deviation{"d": Missing, "d/e": Missing, "d/e/f": Missing, "d/g": Missing, "empty": Missing},
		},
		"a write through a hard link from outside": {
			do: func(t *testing.T, dir string) {
				do(t, os.Link(filepath.Join(dir, "a"), outsideOf(dir)))
				restamped(t, outsideOf(dir), "1ne")
			},
			found: map[string]Deviation{"a": OtherBytes}, kept: files{"a": "644 1ne"}, outside: "1ne",
		},
		"a mode set through a hard link from outside": {
			do: func(t *testing.T, dir string) {
				do(t, os.Link(filepath.Join(dir, "a"), outsideOf(dir)))
				do(t, os.Chmod(outsideOf(dir), 0o600))
			},
			found: map[string]Deviation{"a": OtherMode}, outside: "one",
		},
		"a file that is open for writing": {
			do: in(func(t *testing.T, at func(string) string) {
				f, err := os.OpenFile(at("a"), os.O_WRONLY, 0)
				do(t, err)
				t.Cleanup(func() { _ = f.Close() })
				_, err = f.WriteString("half")
				do(t, err)
			}),
			found: map[string]Deviation{"a": OtherBytes}, busy: true,
		},
		"a FIFO": {
			do: in(func(t *testing.T, at func(string) string) {
				do(t, os.Remove(at("a")))
				do(t, unix.Mkfifo(at("a"), 0o600))
			}),
			found: map[string]Deviation{"a": OtherKind},
		},
	}
}

// eachEdit opens a target, has its files looked at so that all are known, lets each edit
// be made, and goes on from there.
func eachEdit(t *testing.T, then func(t *testing.T, target *Target, e edit)) {
	eachMode(t, func(t *testing.T, m Mode) { eachEditIn(t, m, then) })
}

func eachEditIn(t *testing.T, m Mode, then func(t *testing.T, target *Target, e edit)) {
	for _, name := range slices.Sorted(maps.Keys(edits())) {
		e := edits()[name]
		t.Run(name, func(t *testing.T) {
			if e.root && os.Geteuid() != 0 {
				t.Skip("only root may give files away")
			}
			dir := newDir(t)
			o := optionsIn(m, dir)
			o.UID, o.GID = os.Geteuid(), os.Getegid()
			target := mustOpen(t, o)
			mustApply(t, target, 1, published)
			target.now = func() time.Time { return time.Now().Add(time.Second) } // All is old enough to be known.
			mustDrift(t, target, nil, map[string]Deviation{})
			target.now = time.Now
			e.do(t, dir)
			then(t, target, e)
			if e.outside != "" {
				if b, err := os.ReadFile(outsideOf(dir)); err != nil || string(b) != e.outside {
					t.Errorf("the file outside holds %q (%v), want %q", b, err, e.outside)
				}
			}
		})
	}
}

func mustDrift(t *testing.T, target *Target, dirs []string, want map[string]Deviation) []Drifted {
	t.Helper()
	found, err := target.Drift(context.Background(), Where{Dirs: dirs}, false)
	do(t, err)
	mustBe(t, found, want)
	return found
}

func mustBe(t *testing.T, found []Drifted, want map[string]Deviation) {
	t.Helper()
	got := map[string]Deviation{}
	for _, d := range found {
		got[d.Path] = d.What
		if d.Why == "" {
			t.Errorf("%q: no reason", d.Path)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("found %v, want %v", found, want)
	}
}

func TestDrift(t *testing.T) {
	eachEdit(t, func(t *testing.T, target *Target, e edit) {
		found := mustDrift(t, target, nil, e.found)
		if e.busy != slices.ContainsFunc(found, func(d Drifted) bool { return d.Busy }) {
			t.Errorf("busy: %v", found)
		}
		var dirs []string // as a watch would tell
		for path := range e.found {
			if parent := filepath.Dir(path); parent != "." {
				dirs = append(dirs, parent)
			}
		}
		mustDrift(t, target, append(dirs, ""), e.found)
		found, state, err := Verify(context.Background(), target.o.Dir, nil)
		do(t, err)
		mustBe(t, found, e.found)
		if state.Position != position(1) {
			t.Errorf("verified at %+v", state.Position)
		}
	})
}

func TestDrift_looksInTheGivenDirectoriesAlone(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, options(dir))
	mustApply(t, target, 1, published)
	write(t, filepath.Join(dir, "a"), "edited")
	write(t, filepath.Join(dir, "d/e/f"), "edited")
	mustDrift(t, target, []string{"d"}, map[string]Deviation{})
	mustDrift(t, target, []string{"d/e", "d/e", "no such"}, map[string]Deviation{"d/e/f": OtherBytes})
	mustDrift(t, target, []string{""}, map[string]Deviation{"a": OtherBytes})
}

func TestDrift_looksAtTheGivenPathsAlone(t *testing.T) {
	for name, e := range map[string]struct {
		edit  func(dir string) error
		paths []string
		found map[string]Deviation
	}{
		"the edited":               {nil, []string{"d/e/f"}, map[string]Deviation{"d/e/f": OtherBytes}},
		"the edited, in the root":  {nil, []string{"a", "a"}, map[string]Deviation{"a": OtherBytes}},
		"beside the edited":        {nil, []string{"d/e", "d/l"}, map[string]Deviation{}},
		"not managed":              {nil, []string{"d/e/other"}, map[string]Deviation{"d/e/f": OtherBytes}}, // All of its directory.
		"in no managed directory":  {nil, []string{"no/such"}, map[string]Deviation{}},
		"in a directory that went": {func(dir string) error { return os.RemoveAll(dir + "/d/e") }, []string{"d/e/f"}, map[string]Deviation{"d/e": Missing, "d/e/f": Missing}},
		"in one with another mode": {func(dir string) error { return os.Chmod(dir+"/d/e", 0o700) }, []string{"d/e/f"}, map[string]Deviation{"d/e": OtherMode, "d/e/f": OtherBytes}},
		"managed, gone":            {func(dir string) error { return os.Remove(dir + "/a") }, []string{"a"}, map[string]Deviation{"a": Missing}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			target := mustOpen(t, options(dir))
			mustApply(t, target, 1, published)
			write(t, filepath.Join(dir, "a"), "edited")
			write(t, filepath.Join(dir, "d/e/f"), "edited")
			if e.edit != nil {
				do(t, e.edit(dir))
			}
			found, err := target.Drift(t.Context(), Where{Paths: e.paths}, false)
			do(t, err)
			mustBe(t, found, e.found)
		})
	}
}

func TestDrift_readsContentsThatItKnowsOnlyWhenDeep(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, options(dir))
	mustApply(t, target, 1, published)
	target.now = func() time.Time { return time.Now().Add(time.Second) }
	mustDrift(t, target, nil, map[string]Deviation{})
	// As if it had been changed without a trace.
	s := target.stamps.known["a"]
	s.hash[0]++
	target.stamps.known["a"] = s
	mustDrift(t, target, nil, map[string]Deviation{"a": OtherBytes})
	found, err := target.Drift(context.Background(), Where{}, true)
	do(t, err)
	mustBe(t, found, map[string]Deviation{})
	mustDrift(t, target, nil, map[string]Deviation{})
}

func TestVerify_takesWhatAnInterruptedApplyLeft(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, options(dir))
	mustApply(t, target, 1, published)
	do(t, target.Close())
	after := published.with(files{"a": "600 two words", "b": "644 two"})
	delete(after, "empty")
	mustCrash(t, options(dir), "mid-switch 2", 2, after)
	told := map[string]int64{}
	found, _, err := Verify(context.Background(), dir, func(path string, bytes int64) { told[path] = bytes })
	do(t, err)
	mustBe(t, found, map[string]Deviation{})
	if len(told) != len(published) {
		t.Errorf("told of %d paths, want %d", len(told), len(published))
	}
	write(t, filepath.Join(dir, "d/g"), "edited")
	write(t, filepath.Join(dir, "b"), "edited")
	found, _, err = Verify(context.Background(), dir, nil)
	do(t, err)
	mustBe(t, found, map[string]Deviation{"d/g": OtherBytes, "b": OtherBytes})
}
