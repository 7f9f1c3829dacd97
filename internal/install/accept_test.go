package install

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

func rename(t *testing.T, dir, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		t.Fatal(err)
	}
}

func TestAccept_needsATarget(t *testing.T) {
	if err := Accept(newDir(t), position(1)); !errors.Is(err, journal.ErrNone) {
		t.Fatal(err)
	}
}

func TestAccept_isSeenUntilItIsTakenBack(t *testing.T) {
	eachMode(t, testAcceptIsSeenUntilItIsTakenBack)
}

func testAcceptIsSeenUntilItIsTakenBack(t *testing.T, m Mode) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	mustApply(t, target, 5, files{"a": "644 one"})
	if p, err := target.Accepted(); p != nil || err != nil {
		t.Fatalf("accepted %v (%v) without being asked to", p, err)
	}
	if err := Accept(dir, position(2)); err != nil {
		t.Fatal(err)
	}
	if p, err := target.Accepted(); err != nil || p.Generation != 2 || p.Tenant != position(2).Tenant {
		t.Fatalf("accepted %v (%v)", p, err)
	}
	if err := target.Unaccept(); err != nil {
		t.Fatal(err)
	}
	if p, err := target.Accepted(); p != nil || err != nil {
		t.Fatalf("still accepted %v (%v)", p, err)
	}
}

func TestRebase_leadsToAnotherHistoryWithoutFirstContact(t *testing.T) {
	for name, to := range map[string]diff.Position{
		"a lower generation": position(2),
		"the first of all":   position(1),
		"another tenant id":  {Tenant: diff.TenantID{9}, Generation: 1, Commit: diff.Hash{1}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			target := mustOpen(t, options(dir))
			mustApply(t, target, 5, files{"a": "644 one", "gone": "644 x"})
			files{"unmanaged": "644 mine"}.put(t, dir)
			p, c := plan(t, 1, files{"a": "644 two"})
			p.Position = to
			if _, err := target.Apply(t.Context(), p, c); err == nil {
				t.Fatal("applied without being rebased")
			}
			if err := target.Rebase(to); err != nil {
				t.Fatal(err)
			}
			if _, err := target.Apply(t.Context(), p, c); err != nil {
				t.Fatal(err)
			}
			mustLook(t, dir, files{"a": "644 two", "unmanaged": "644 mine"})
			if at := target.State().Position; at != to {
				t.Errorf("at %+v, want %+v", at, to)
			}
		})
	}
}

// What stands where the fresh journal is written makes the write fail. The journal
// then says what it said, also in what follows.
func TestRebase_thatFailsChangesNothing(t *testing.T) {
	eachMode(t, testRebaseThatFailsChangesNothing)
}

func testRebaseThatFailsChangesNothing(t *testing.T, m Mode) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	mustApply(t, target, 5, files{"a": "644 one"})
	inTheWay := filepath.Join(dir, diff.OwnName, "journal.new")
	do(t, os.Mkdir(inTheWay, 0o700))
	if err := target.Rebase(position(2)); err == nil {
		t.Fatal("rebased without being able to write")
	}
	do(t, os.Remove(inTheWay))
	mustApply(t, target, 6, files{"a": "644 two"})
	if s, _, err := ReadState(dir); err != nil || s.Position != position(6) {
		t.Errorf("%+v %v", s.Position, err)
	}
}

func TestRebase_noticesThatTheTargetIsGone(t *testing.T) {
	eachMode(t, testRebaseNoticesThatTheTargetIsGone)
}

func testRebaseNoticesThatTheTargetIsGone(t *testing.T, m Mode) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	mustApply(t, target, 5, files{"a": "644 one"})
	do(t, os.RemoveAll(dir))
	if err := target.Rebase(position(2)); !errors.Is(err, ErrGone) {
		t.Errorf("%v", err)
	}
}
