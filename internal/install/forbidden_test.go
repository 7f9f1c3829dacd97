package install

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fix makes a path immutable, or takes that back.
func fix(t *testing.T, path string, immutable bool) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may set immutable")
	}
	f, err := os.Open(path)
	do(t, err)
	defer f.Close()
	flags := 0
	if immutable {
		flags = unix.STATX_ATTR_IMMUTABLE // The same bit as FS_IMMUTABLE_FL.
		t.Cleanup(func() {
			if _, err := os.Lstat(path); err == nil {
				fix(t, path, false)
			}
		})
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags); err != nil {
		t.Skipf("no immutable files here: %v", err)
	}
}

func TestApply_immutablePathsAreInTheWay(t *testing.T) { eachMode(t, testImmutable) }

func testImmutable(t *testing.T, m Mode) {
	before := files{"a": "644 a", "d": "755/", "d/x": "644 x", "z": "644 z"}
	for name, tt := range map[string]struct {
		fixed, refused string
		after          files
	}{
		"one that changes":            {"a", "a", before.with(files{"a": "644 A"})},
		"one that goes":               {"a", "a", files{"d": "755/", "d/x": "644 x", "z": "644 Z"}},
		"a directory whose mode does": {"d", "d", before.with(files{"d": "750/"})},
		"what something lies in":      {"d", "d/x", before.with(files{"d/x": "644 X"})},
		"what something new lies in":  {"d", "d/y", before.with(files{"d/y": "644 y", "z": "644 Z"})},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			target := mustOpen(t, optionsIn(m, dir))
			mustApply(t, target, 1, before)
			fix(t, filepath.Join(dir, tt.fixed), true)
			var conflict *Conflict
			_, err := apply(t, target, 2, tt.after)
			if !errors.As(err, &conflict) || conflict.Paths[0].Path != tt.refused || !strings.Contains(conflict.Paths[0].Why, "chattr -i") || conflict.Replaceable > 0 {
				t.Fatal(err)
			}
			mustLook(t, dir, before)
			fix(t, filepath.Join(dir, tt.fixed), false)
			mustApply(t, target, 2, tt.after)
			mustRest(t, target, 2, tt.after)
		})
	}
}

// What the kernel denies only at the rename keeps no other path, and no later generation,
// from being switched.
func TestApply_deniedAtTheRename(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, options(dir))
	mustApply(t, target, 1, files{"a": "644 a", "b": "644 b"})
	target.crash = func(point string) {
		if point == "mid-switch 1" {
			fix(t, filepath.Join(dir, "a"), true)
		}
	}
	_, err := apply(t, target, 2, files{"a": "644 A", "b": "644 B"})
	if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "chattr") || !strings.Contains(err.Error(), filepath.Join(dir, "a")) {
		t.Fatal(err)
	}
	if s := target.State(); target.Interrupted() || s.Position != position(2) || len(s.Suspect) != 1 || s.Suspect[0] != "a" {
		t.Errorf("interrupted %v, suspect %q", target.Interrupted(), s.Suspect)
	}
	mustLook(t, dir, files{"a": "644 a", "b": "644 B"})
	target.crash = func(string) {}
	mustApply(t, target, 3, files{"a": "644 A", "b": "644 BB"})
	mustLook(t, dir, files{"a": "644 a", "b": "644 BB"})
	if found, err := target.Drift(t.Context(), Where{}, false); err != nil || len(found) != 1 || found[0].Path != "a" {
		t.Errorf("drift %v, %v", found, err)
	}
	fix(t, filepath.Join(dir, "a"), false)
	after := files{"a": "644 AA", "b": "644 BBB"}
	mustApply(t, target, 4, after)
	mustRest(t, target, 4, after)
}

// What cannot be deleted is not forgotten: the apply is complete when it is gone.
func TestApply_deletionDenied(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, options(dir))
	mustApply(t, target, 1, files{"a": "644 a", "b": "644 b", "c": "644 c"})
	target.crash = func(point string) {
		if point == "mid-switch 1" {
			fix(t, filepath.Join(dir, "b"), true)
		}
	}
	if _, err := apply(t, target, 2, files{"c": "644 c"}); !errors.Is(err, unix.EPERM) || !target.Interrupted() {
		t.Fatal(err)
	}
	mustLook(t, dir, files{"b": "644 b", "c": "644 c"})
	target.crash = func(string) {}
	fix(t, filepath.Join(dir, "b"), false)
	mustApply(t, target, 3, files{"c": "644 C"})
	mustLook(t, dir, files{"c": "644 C"})
}
