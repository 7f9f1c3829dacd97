package install

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// asUser skips what only an ordinary user meets.
func asUser(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Skip("root may write anywhere")
	}
}

func TestApply_ownDirectoriesThatCannotBeWrittenOrRead(t *testing.T) {
	eachMode(t, testApplyOwnDirectoriesThatCannotBeWrittenOrRead)
}

func testApplyOwnDirectoriesThatCannotBeWrittenOrRead(t *testing.T, m Mode) {
	asUser(t)
	for name, tt := range map[string]struct{ before, after files }{
		"an empty read-only one becomes a file": {
			files{"d": "555/", "x": "644 x"}, files{"d": "644 d", "x": "644 y"},
		},
		"an empty read-only one becomes a symlink": {files{"d": "555/"}, files{"d": "->x"}},
		"a read-only one becomes a file together with what is in it": {
			files{"d": "555/", "d/x": "644 x"}, files{"d": "644 d"},
		},
		"an unreadable one is written in":       {files{"d": "311/", "d/x": "644 x"}, files{"d": "311/", "d/x": "644 y"}},
		"an unreadable one becomes readable":    {files{"d": "311/", "d/x": "644 x"}, files{"d": "755/", "d/x": "644 y"}},
		"a search-only one is written in":       {files{"d": "111/", "d/x": "644 x"}, files{"d": "111/", "d/x": "644 y"}},
		"a search-only one becomes readable":    {files{"d": "111/", "d/x": "644 x"}, files{"d": "755/", "d/x": "644 y"}},
		"a search-only one goes with its files": {files{"d": "111/", "d/x": "644 x"}, files{}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			target := mustOpen(t, optionsIn(m, dir))
			mustApply(t, target, 1, tt.before)
			if _, err := apply(t, target, 2, tt.after); m == Tree && errors.As(err, new(*Conflict)) {
				// What it holds must be known. One path alone is changed in place.
				if strings.Contains(err.Error(), "cannot be read") {
					return
				}
				t.Fatal(err)
			} else if err != nil {
				t.Fatal(err)
			}
			d := filepath.Join(dir, "d")
			if info, err := os.Lstat(d); err == nil && info.IsDir() {
				e, _ := entry(tt.after["d"])
				if got := uint32(info.Mode().Perm()); got != e.Mode {
					t.Errorf("mode %o, want %o", got, e.Mode)
				}
				do(t, os.Chmod(d, 0o755))
				mustLook(t, dir, tt.after.with(files{"d": "755/"}))
				return
			}
			mustLook(t, dir, tt.after)
			mustRest(t, target, 2, tt.after)
		})
	}
}

func TestApply_saysThatADirectoryInTheWayCannotBeRead(t *testing.T) {
	asUser(t)
	for _, mode := range []string{"311/", "0/"} {
		dir := newDir(t)
		target := mustOpen(t, options(dir))
		mustApply(t, target, 1, files{"d": mode})
		_, err := apply(t, target, 2, files{"d": "644 d"})
		var conflict *Conflict
		if !errors.As(err, &conflict) || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

// The directory is still as it was when the crash came, and is opened up only in the
// course of the roll forward.
func TestOpen_makesADirectoryReadOnlyAgain(t *testing.T) {
	eachMode(t, testOpenMakesADirectoryReadOnlyAgain)
}

func testOpenMakesADirectoryReadOnlyAgain(t *testing.T, m Mode) {
	asUser(t)
	for _, mode := range []string{"555/", "111/"} {
		o := optionsIn(m, newDir(t))
		first := mustOpen(t, o)
		mustApply(t, first, 1, files{"a": mode, "a/x": "644 one"})
		do(t, first.Close())
		mustCrash(t, o, "after-next", 2, files{"a": mode, "a/x": "644 two"})
		mustOpen(t, o)
		info, err := os.Lstat(filepath.Join(o.Dir, "a"))
		do(t, err)
		if e, _ := entry(mode); uint32(info.Mode().Perm()) != e.Mode {
			t.Errorf("mode %v, want %o", info.Mode(), e.Mode)
		}
		if b, err := os.ReadFile(filepath.Join(o.Dir, "a/x")); string(b) != "two" {
			t.Errorf("%q %v", b, err)
		}
	}
}

// What was put into a read-only directory while it was being taken out is kept.
func TestOpen_keepsAReadOnlyDirectoryOfTheStage(t *testing.T) {
	eachMode(t, testOpenKeepsAReadOnlyDirectoryOfTheStage)
}

func testOpenKeepsAReadOnlyDirectoryOfTheStage(t *testing.T, m Mode) {
	asUser(t)
	o := optionsIn(m, newDir(t))
	target := mustOpen(t, o)
	mustApply(t, target, 1, files{"a": "644 a"})
	do(t, target.Close())
	files{"7": "755/", "7/mine": "644 mine"}.put(t, filepath.Join(ControlDir(o.Dir), stageName))
	do(t, os.Chmod(filepath.Join(ControlDir(o.Dir), stageName, "7"), 0o555))
	mustOpen(t, o)
	if got, err := filepath.Glob(filepath.Join(ControlDir(o.Dir), keptName, "*", "stage-7", "mine")); err != nil || len(got) != 1 {
		t.Errorf("kept %q %v", got, err)
	}
}

// A directory of another user is found out before anything is written, for both what
// its mode is to be and what it is to become.
func TestApply_directoryOfAnotherUser(t *testing.T) {
	dir := os.Getenv("CONFSYNCD_TEST_FOREIGN")
	if dir == "" {
		runAsUser(t, "CONFSYNCD_TEST_FOREIGN", func(dir string) { do(t, os.Mkdir(filepath.Join(dir, "d"), 0o755)) })
		return
	}
	for want, cause := range map[string]error{"750/": unix.EPERM, "644 d": unix.EACCES} {
		o := options(dir)
		o.ReplaceExisting = true
		target := mustOpen(t, o)
		if _, err := apply(t, target, 1, files{"d": want, "x": "644 one"}); !errors.Is(err, cause) {
			t.Errorf("%s: %v", want, err)
		}
		if target.journal != nil && target.journal.Pending() != nil {
			t.Errorf("%s: an apply that cannot be completed was begun", want)
		}
		do(t, target.Close())
		mustLook(t, dir, files{"d": "755/"})
	}
}

// An operator's sudo writes what the agent of an ordinary user reads.
func TestAccepted_ofAnotherUser(t *testing.T) {
	dir := os.Getenv("CONFSYNCD_TEST_ACCEPTED")
	if dir == "" {
		runAsUser(t, "CONFSYNCD_TEST_ACCEPTED", func(dir string) {
			defer unix.Umask(unix.Umask(0o077))
			target, err := Open(options(dir))
			do(t, err)
			mustApply(t, target, 5, files{"a": "644 x"})
			do(t, target.Close())
			do(t, Accept(dir, position(2)))
			own := filepath.Join(dir, diff.OwnName)
			list, err := os.ReadDir(own)
			do(t, err)
			do(t, os.Chown(own, nobody, nobody))
			for _, e := range list {
				if e.Name() != acceptName {
					do(t, os.Chown(filepath.Join(own, e.Name()), nobody, nobody))
				}
			}
		})
		return
	}
	target := mustOpen(t, options(dir))
	if p, err := target.Accepted(); err != nil || p == nil || p.Generation != 2 {
		t.Errorf("%+v %v", p, err)
	}
}
