package install

import (
	"os"
	"path/filepath"
	"testing"
)

// All that is managed belongs to another user, and so it stays through switches, changes
// of one path, repairs, and a change of the owner.
func TestApply_ownedByAnother(t *testing.T) { eachMode(t, testApplyOwnedByAnother) }

func testApplyOwnedByAnother(t *testing.T, m Mode) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	dir := filepath.Join(newDir(t), "target")
	o := optionsIn(m, dir)
	o.UID, o.GID = nobody, nobody
	target := mustOpen(t, o)
	mustBelong := func(want files, uid int) {
		t.Helper()
		mustLook(t, dir, want)
		for path := range want {
			if n := nodeAt(t, dir, path); n.uid != uid || n.gid != uid {
				t.Errorf("%q belongs to %d:%d, not to %d", path, n.uid, n.gid, uid)
			}
		}
		if n := nodeAt(t, dir, ""); n.uid != nobody {
			t.Errorf("the target belongs to %d", n.uid)
		}
		for _, own := range []string{".confsyncd", ".confsyncd/journal"} {
			if n := nodeAt(t, dir, own); n.uid != 0 {
				t.Errorf("%s belongs to %d", own, n.uid)
			}
		}
	}
	state := files{"a": "644 a", "b": "->a", "d": "750/", "d/x": "600 x", "d/y": "640 y", "e": "755/"}
	mustApply(t, target, 1, state)
	mustBelong(state, nobody)
	state = state.with(files{"a": "644 A", "d/x": "600 X", "n": "755/", "n/z": "644 z"})
	mustApply(t, target, 2, state)
	mustBelong(state, nobody)
	state = state.with(files{"d/y": "640 Y"})
	mustApply(t, target, 3, state)
	mustBelong(state, nobody)

	for _, path := range []string{"a", "d", "d/x", "b"} {
		do(t, os.Lchown(filepath.Join(dir, path), 0, 0))
	}
	found, err := target.Drift(t.Context(), Where{}, false)
	if err != nil || len(found) != 4 || found[0].What != OtherOwner {
		t.Fatalf("drift %v, %v", found, err)
	}
	_, c := state.tree(t)
	_, err = target.Repair(t.Context(), []string{"a", "b", "d", "d/x"}, c)
	do(t, err)
	mustBelong(state, nobody)
	// A switch finds it too.
	for _, path := range []string{"d", "d/x"} {
		do(t, os.Lchown(filepath.Join(dir, path), 0, 0))
	}
	if m == Tree {
		state = state.with(files{"a": "644 aa", "n/z": "644 zz"})
		mustApply(t, target, 4, state)
		mustBelong(state, nobody)
	}
	do(t, target.Close())

	o.UID, o.GID = nobody-1, nobody-1
	target = mustOpen(t, o)
	state = state.with(files{"a": "644 aaa", "n/z": "644 zzz"})
	mustApply(t, target, 5, state)
	mustBelong(state, nobody-1)
	mustRest(t, target, 5, state)
}
