package install

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

func TestPauseAndResume(t *testing.T) { eachMode(t, testPauseAndResume) }

func testPauseAndResume(t *testing.T, m Mode) {
	dir := newDir(t)
	if err := Pause(dir, Hold{}); !errors.Is(err, journal.ErrNone) {
		t.Fatalf("pause of no target: %v", err)
	}
	if _, err := Resume(dir); !errors.Is(err, journal.ErrNone) {
		t.Fatalf("resume of no target: %v", err)
	}
	target := mustOpen(t, optionsIn(m, dir)) // Its lock is nothing to them.
	mustApply(t, target, 1, published)
	if h, err := target.Holds(); err != nil || h != (Holds{}) {
		t.Fatalf("holds %+v %v", h, err)
	}
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	do(t, Pause(dir, Hold{By: "ann", Time: when, Reason: "upgrade"}))
	do(t, target.Pin(&Hold{By: "bob", Time: when, Generation: 1}))
	for range 2 {
		h, err := target.Holds()
		do(t, err)
		if h.Pause.String() != "paused by ann at 2026-01-02T03:04:05Z (upgrade)" || h.Pin.String() != "pinned at generation 1 by bob at 2026-01-02T03:04:05Z" {
			t.Errorf("holds %v %v", h.Pause, h.Pin)
		}
	}
	h, err := Resume(dir)
	do(t, err)
	if h.Pause == nil || h.Pin == nil {
		t.Errorf("resumed from %+v", h)
	}
	if h, err := Resume(dir); err != nil || h != (Holds{}) {
		t.Errorf("resumed again from %+v %v", h, err)
	}
	write(t, filepath.Join(ControlDir(dir), pauseName), "{")
	if _, err := target.Holds(); err == nil || !strings.Contains(err.Error(), "confsyncd resume") {
		t.Errorf("an unreadable pause: %v", err)
	}
}

// mustBeUnheld waits until the directory of the control files is old enough to be trusted.
func mustBeUnheld(t *testing.T, target *Target) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !target.Unheld(); time.Sleep(time.Millisecond) {
		if h, err := target.Holds(); err != nil || h != (Holds{}) || time.Now().After(end) {
			t.Fatalf("holds %+v %v", h, err)
		}
	}
}

func TestUnheld(t *testing.T) {
	for name, disturb := range map[string]func(t *testing.T, target *Target){
		"a pause":        func(t *testing.T, target *Target) { do(t, Pause(target.o.Dir, Hold{By: "ann"})) },
		"a retry":        func(t *testing.T, target *Target) { do(t, Retry(target.o.Dir, Hold{By: "ann"})) },
		"a pin":          func(t *testing.T, target *Target) { do(t, target.Pin(&Hold{By: "ann", Generation: 1})) },
		"an empty pause": func(t *testing.T, target *Target) { write(t, filepath.Join(ControlDir(target.o.Dir), pauseName), "") },
		"another target at the path": func(t *testing.T, target *Target) {
			do(t, os.Rename(target.o.Dir, target.o.Dir+".away"))
			do(t, os.Mkdir(target.o.Dir, 0o755))
		},
		"a target without its own directory": func(t *testing.T, target *Target) {
			do(t, os.Rename(ControlDir(target.o.Dir), target.o.Dir+"/moved"))
		},
		"a long time": func(_ *testing.T, target *Target) {
			target.now = func() time.Time { return time.Now().Add(unheldFor + time.Second) }
		},
	} {
		t.Run("ends with "+name, func(t *testing.T) {
			target := mustOpen(t, options(filepath.Join(newDir(t), "target")))
			mustApply(t, target, 1, published)
			if target.Unheld() {
				t.Error("is known before it was asked for")
			}
			mustBeUnheld(t, target)
			disturb(t, target)
			if target.Unheld() {
				t.Error("still counts as held by nothing")
			}
		})
	}
}

func TestUnheld_endsWithNoApply(t *testing.T) {
	target := mustOpen(t, options(newDir(t)))
	mustApply(t, target, 1, published)
	mustBeUnheld(t, target)
	seen := target.unheld.seen
	target.now = func() time.Time { return seen } // However long the apply takes.
	mustApply(t, target, 2, files{"a": "644 another"})
	if !target.Unheld() {
		t.Error("an apply of its own takes another look")
	}
}

func TestForget(t *testing.T) { eachMode(t, testForget) }

func testForget(t *testing.T, m Mode) {
	dir := newDir(t)
	if _, err := Forget(dir); !errors.Is(err, journal.ErrNone) {
		t.Fatalf("forget of no target: %v", err)
	}
	target := mustOpen(t, optionsIn(m, dir))
	mustApply(t, target, 1, published)
	if _, err := Forget(dir); !errors.Is(err, ErrLocked) {
		t.Fatalf("forget beside an agent: %v", err)
	}
	do(t, target.Close())
	f, err := Forget(dir)
	do(t, err)
	if f != (Forgotten{Managed: len(published), Generation: 1}) {
		t.Errorf("forgotten %+v", f)
	}
	if beside, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(beside) != 1 {
		t.Errorf("beside the target lies %v, %v", beside, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, ".confsyncd")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf(".confsyncd is still there: %v", err)
	}
	mustLook(t, dir, published)
}

func TestForget_leavesKeptFiles(t *testing.T) { eachMode(t, testForgetLeavesKeptFiles) }

func testForgetLeavesKeptFiles(t *testing.T, m Mode) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	mustApply(t, target, 1, published)
	write(t, filepath.Join(dir, "a"), "edited")
	mustApply(t, target, 2, published.with(files{"a": "644 other"}))
	do(t, Pause(dir, Hold{}))
	do(t, target.Close())
	own := ControlDir(dir)
	f, err := Forget(dir)
	do(t, err)
	if f.Kept != filepath.Join(own, keptName) || len(look(t, f.Kept)) != 2 {
		t.Errorf("forgotten %+v, kept %q", f, look(t, f.Kept))
	}
	if _, err := os.Lstat(filepath.Join(dir, ".confsyncd", "journal")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the journal is still there: %v", err)
	}
	left, err := os.ReadDir(own)
	if err != nil || len(left) != 1 || left[0].Name() != keptName {
		t.Errorf("left in .confsyncd: %v %v", left, err)
	}
}

func TestPeek_changesNothingBesideAnAgent(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, options(dir))
	mustApply(t, target, 1, published)
	do(t, target.Close())
	after := published.with(files{"b": "644 two"})
	mustCrash(t, options(dir), "after-next", 2, after)
	before, err := os.ReadFile(filepath.Join(dir, ".confsyncd/journal"))
	do(t, err)

	peek, err := Peek(options(dir))
	do(t, err)
	defer peek.Close()
	p, c := plan(t, 2, after.with(files{"a": "644 new"}))
	v, err := peek.Check(p)
	do(t, err)
	if len(v.Changed) != 1 || v.Changed[0] != "a" || len(v.Corrected) != 1 || v.Corrected[0] != "b" {
		t.Errorf("preview %+v", v)
	}
	if _, err := peek.Apply(t.Context(), p, c); err == nil {
		t.Error("applied")
	}
	now, err := os.ReadFile(filepath.Join(dir, ".confsyncd/journal"))
	do(t, err)
	if string(before) != string(now) {
		t.Error("the journal was written")
	}
	mustLook(t, dir, published)
	mustOpen(t, options(dir)) // It holds no lock, and left what was interrupted.
	mustLook(t, dir, after)
}

// Who owns the target may put a symlink in the place of .confsyncd: what that leads to is
// never touched.
func TestControl_followsNoSymlink(t *testing.T) {
	for name, act := range map[string]func(dir string) error{
		"forget": func(dir string) error { _, err := Forget(dir); return err },
		"pause":  func(dir string) error { return Pause(dir, Hold{By: "bob"}) },
		"resume": func(dir string) error { _, err := Resume(dir); return err },
		"accept": func(dir string) error { return Accept(dir, position(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, other := newDir(t), newDir(t)
			target := mustOpen(t, options(other))
			mustApply(t, target, 1, published)
			do(t, target.Pin(&Hold{By: "bob", Generation: 1}))
			do(t, target.Close())
			own := filepath.Join(other, diff.OwnName)
			before := look(t, own)
			do(t, os.Symlink(own, filepath.Join(dir, diff.OwnName)))
			if err := act(dir); err == nil {
				t.Error("no error")
			}
			if now := look(t, own); !maps.Equal(before, now) {
				t.Errorf("%q, before %q", now, before)
			}
		})
	}
}

func TestHolds_ofADirectoryThatWasReplaced(t *testing.T) { eachMode(t, testHoldsReplaced) }

func testHoldsReplaced(t *testing.T, m Mode) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	mustApply(t, target, 1, published)
	control := ControlDir(dir)
	away := filepath.Join(t.TempDir(), "away")
	do(t, os.CopyFS(away, os.DirFS(control)))
	do(t, os.RemoveAll(control))
	if h, err := target.Holds(); err != nil || h != (Holds{}) {
		t.Errorf("without one: %+v %v", h, err)
	}
	do(t, os.CopyFS(control, os.DirFS(away)))
	do(t, os.Chmod(control, 0o700))
	do(t, Pause(dir, Hold{By: "ann"}))
	if h, err := target.Holds(); err != nil || h.Pause == nil || h.Pause.By != "ann" {
		t.Errorf("in another one: %+v %v", h, err)
	}
	if _, err := Resume(dir); err != nil {
		t.Fatal(err)
	}
	if h, err := target.Holds(); err != nil || h != (Holds{}) {
		t.Errorf("resumed: %+v %v", h, err)
	}
	// One that is somebody else's is none, wherever it leads.
	do(t, os.RemoveAll(control))
	write(t, filepath.Join(away, pauseName), "{")
	do(t, os.Symlink(away, control))
	if h, err := target.Holds(); err != nil || h != (Holds{}) {
		t.Errorf("by a symlink: %+v %v", h, err)
	}
}
