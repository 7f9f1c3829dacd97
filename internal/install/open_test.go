package install

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

func TestOpen_locks(t *testing.T) { eachMode(t, testOpenLocks) }

func testOpenLocks(t *testing.T, m Mode) {
	dir := newDir(t)
	first := mustOpen(t, optionsIn(m, dir))
	if _, err := Open(optionsIn(m, dir)); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	do(t, os.Symlink(dir, link))
	if _, err := Open(optionsIn(m, link)); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice, through a symlink: %v", err)
	}
	do(t, first.Close())
	mustOpen(t, optionsIn(m, link))
}

func TestOpen_makesTheLastComponentOnly(t *testing.T) {
	eachMode(t, testOpenMakesTheLastComponentOnly)
}

func testOpenMakesTheLastComponentOnly(t *testing.T, m Mode) {
	parent := t.TempDir()
	mustOpen(t, optionsIn(m, filepath.Join(parent, "new")))
	if _, err := Open(optionsIn(m, filepath.Join(parent, "no", "new"))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := Open(optionsIn(m, "relative")); err == nil {
		t.Error("a relative path was taken")
	}
	do(t, os.WriteFile(filepath.Join(parent, "file"), nil, 0o600))
	if _, err := Open(optionsIn(m, filepath.Join(parent, "file"))); err == nil {
		t.Error("a file was taken")
	}
}

func TestOpen_refusesWhatIsOurOwn(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(Tree, dir))
	mustApply(t, target, 1, files{"a": "644 a", "b": "644 b"})
	for _, own := range []string{filepath.Join(dir, diff.OwnName), siblingPath(dir), filepath.Join(siblingPath(dir), stageName)} {
		if _, err := Open(options(own)); !errors.Is(err, ErrNested) {
			t.Errorf("%s: %v", own, err)
		}
	}
}

func TestOpen_refusesNestedTargets(t *testing.T) {
	outer := newDir(t)
	inner := filepath.Join(outer, "d", "inner")
	out := mustOpen(t, options(outer))
	mustApply(t, out, 1, files{"d": "755/", "d/inner": "755/"})
	if _, err := Open(options(inner)); !errors.Is(err, ErrNested) {
		t.Errorf("a target in a target: %v", err)
	}
	do(t, os.Mkdir(filepath.Join(inner, diff.OwnName), 0o700))
	for name, f := range map[string]files{
		"a file in it":         {"d": "755/", "d/inner": "755/", "d/inner/x": "644 x"},
		"a directory below it": {"d": "755/", "d/inner": "755/", "d/inner/e": "755/", "d/inner/e/x": "644 x"},
	} {
		if _, err := apply(t, out, 2, f); !errors.Is(err, ErrNested) {
			t.Errorf("%s: %v", name, err)
		}
	}
	mustApply(t, out, 2, files{"d": "755/", "d/inner": "755/", "x": "644 x"})
}

func TestApply_noticesThatTheTargetIsGone(t *testing.T) {
	eachMode(t, testApplyNoticesThatTheTargetIsGone)
}

func testApplyNoticesThatTheTargetIsGone(t *testing.T, m Mode) {
	for name, others := range map[string]func(t *testing.T, dir string){
		"removed": func(t *testing.T, dir string) { do(t, os.RemoveAll(dir)) },
		"replaced": func(t *testing.T, dir string) {
			do(t, os.Rename(dir, dir+".old"))
			do(t, os.Mkdir(dir, 0o755))
		},
		"without its .confsyncd": func(t *testing.T, dir string) { do(t, os.RemoveAll(filepath.Join(dir, diff.OwnName))) },
		"with another .confsyncd": func(t *testing.T, dir string) {
			do(t, os.RemoveAll(filepath.Join(dir, diff.OwnName)))
			do(t, os.Mkdir(filepath.Join(dir, diff.OwnName), 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			target := mustOpen(t, optionsIn(m, dir))
			mustApply(t, target, 1, files{"a": "644 a"})
			others(t, dir)
			if _, err := apply(t, target, 2, files{"a": "644 b"}); !errors.Is(err, ErrGone) {
				t.Errorf("%v", err)
			}
			if _, err := os.Lstat(dir + ".old/a"); err == nil {
				mustLook(t, dir, files{})
				mustLook(t, dir+".old", files{"a": "644 a"})
			}
			// Opened again it is met as if for the first time.
			do(t, target.Close())
			target = mustOpen(t, optionsIn(m, dir))
			if !target.State().Position.IsZero() {
				t.Errorf("%+v", target.State())
			}
			mustApply(t, target, 2, files{"a": "644 a"})
			mustLook(t, dir, files{"a": "644 a"})
		})
	}
}

func TestApply_refusesASymlinkedParent(t *testing.T) { eachMode(t, testApplyRefusesASymlinkedParent) }

func testApplyRefusesASymlinkedParent(t *testing.T, m Mode) {
	for _, walks := range []bool{false, true} {
		dir, outside := newDir(t), newDir(t)
		target := mustOpen(t, optionsIn(m, dir))
		target.walks = walks
		mustApply(t, target, 1, files{"d": "755/", "d/e": "755/", "d/e/x": "644 x", "d/e/y": "644 y"})
		do(t, os.Rename(filepath.Join(dir, "d"), filepath.Join(outside, "d")))
		do(t, os.Symlink(filepath.Join(outside, "d"), filepath.Join(dir, "d")))
		_, err := apply(t, target, 2, files{"d": "755/", "d/e": "700/", "d/e/x": "644 z", "d/n": "644 n"})
		var conflict *Conflict
		if !errors.As(err, &conflict) || conflict.Paths[0].Path != "d" {
			t.Errorf("%v", err)
		}
		mustLook(t, outside, files{"d": "755/", "d/e": "755/", "d/e/x": "644 x", "d/e/y": "644 y"})
		do(t, os.Remove(filepath.Join(dir, "d")))
		mustApply(t, target, 2, files{"d": "755/", "d/e": "700/", "d/e/x": "644 z", "d/n": "644 n"})
		mustLook(t, dir, files{"d": "755/", "d/e": "700/", "d/e/x": "644 z", "d/n": "644 n"})
	}
}

func TestApply_refusesAnotherFileSystem(t *testing.T) {
	eachMode(t, testApplyRefusesAnotherFileSystem)
}

func testApplyRefusesAnotherFileSystem(t *testing.T, m Mode) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	before := files{"d": "755/", "d/x": "644 x", "f": "644 f"}
	mustApply(t, target, 1, before)
	source := filepath.Join(t.TempDir(), "f")
	do(t, os.WriteFile(source, []byte("f"), 0o644))
	for name, tt := range map[string]struct {
		from, on, kind string
		flags          uintptr
		want           files
	}{
		"on a parent":           {"tmpfs", "d", "tmpfs", 0, files{"d": "755/", "d/x": "644 y", "f": "644 f"}},
		"on the directory":      {"tmpfs", "d", "tmpfs", 0, files{"d": "700/", "d/x": "644 x", "f": "644 f"}},
		"on the file":           {source, "f", "", unix.MS_BIND, files{"d": "755/", "d/x": "644 x", "f": "644 g"}},
		"on a parent, the same": {filepath.Dir(source), "d", "", unix.MS_BIND, files{"d": "755/", "d/x": "644 y", "f": "644 f"}},
	} {
		t.Run(name, func(t *testing.T) {
			on := filepath.Join(dir, tt.on)
			if err := unix.Mount(tt.from, on, tt.kind, tt.flags, ""); err != nil {
				t.Skipf("mount: %v", err)
			}
			_, err := apply(t, target, 2, tt.want)
			do(t, unix.Unmount(on, 0))
			if !errors.Is(err, ErrOtherFileSystem) {
				t.Errorf("%v", err)
			}
			mustLook(t, dir, before)
			mustRest(t, target, 1, before)
		})
	}
}

func TestOpen_setsADamagedJournalAside(t *testing.T) { eachMode(t, testOpenSetsADamagedJournalAside) }

func testOpenSetsADamagedJournalAside(t *testing.T, m Mode) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	mustApply(t, target, 1, files{"a": "644 a", "b": "644 b"})
	do(t, target.Close())
	path := filepath.Join(dir, diff.OwnName, "journal")
	b, err := os.ReadFile(path)
	do(t, err)
	b[20] ^= 1
	do(t, os.WriteFile(path, b, 0o600))
	if _, _, err := ReadState(dir); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("%v", err)
	}
	target = mustOpen(t, optionsIn(m, dir))
	if !target.State().Position.IsZero() {
		t.Errorf("%+v", target.State())
	}
	aside, err := filepath.Glob(path + ".damaged-*")
	if err != nil || len(aside) != 1 {
		t.Errorf("set aside: %q %v", aside, err)
	}
	if r := mustApply(t, target, 1, files{"a": "644 a", "b": "644 b"}); r.Adopted != 2 {
		t.Errorf("%+v", r)
	}
	mustRest(t, target, 1, files{"a": "644 a", "b": "644 b"})
}

func TestOpen_refusesANewerJournal(t *testing.T) { eachMode(t, testOpenRefusesANewerJournal) }

func testOpenRefusesANewerJournal(t *testing.T, m Mode) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	mustApply(t, target, 1, files{"a": "644 a"})
	do(t, target.Close())
	path := filepath.Join(dir, diff.OwnName, "journal")
	b, err := os.ReadFile(path)
	do(t, err)
	binary.BigEndian.PutUint16(b[6:], 99)
	do(t, os.WriteFile(path, b, 0o600))
	if _, err := Open(optionsIn(m, dir)); !errors.Is(err, journal.ErrNewer) {
		t.Errorf("%v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(b) {
		t.Errorf("the journal was changed: %v", err)
	}
}

func TestOpen_refusesAPlantedDirectoryOfItsOwn(t *testing.T) {
	eachMode(t, testOpenRefusesAPlantedDirectoryOfItsOwn)
}

func testOpenRefusesAPlantedDirectoryOfItsOwn(t *testing.T, m Mode) {
	dir, outside := newDir(t), newDir(t)
	own := filepath.Join(dir, diff.OwnName)
	do(t, os.Symlink(outside, own))
	if _, err := Open(optionsIn(m, dir)); err == nil || !strings.Contains(err.Error(), own) {
		t.Errorf("a symlink: %v", err)
	}
	do(t, os.Remove(own))
	if os.Geteuid() != 0 {
		return
	}
	do(t, os.Mkdir(own, 0o700))
	do(t, os.Chown(own, 4321, 4321))
	if _, err := Open(optionsIn(m, dir)); err == nil || !strings.Contains(err.Error(), "4321") {
		t.Errorf("another user's: %v", err)
	}
}

func TestKept_areDroppedWhenOldOrTooMany(t *testing.T) {
	eachMode(t, testKeptAreDroppedWhenOldOrTooMany)
}

func testKeptAreDroppedWhenOldOrTooMany(t *testing.T, m Mode) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	target.now = func() time.Time { return now }
	edit := func(text string) {
		path := filepath.Join(dir, "a")
		do(t, os.Remove(path))
		do(t, os.WriteFile(path, nil, 0o600))
		do(t, os.Truncate(path, keptSize*2/5)) // Sparse.
		do(t, os.WriteFile(filepath.Join(dir, "note"), []byte(text), 0o600))
	}
	applies := func() int {
		list, err := os.ReadDir(filepath.Join(ControlDir(dir), keptName))
		do(t, err)
		return len(list)
	}
	specs := []string{"644 0", "644 1", "644 2", "644 3", "644 4", "644 5"}
	mustApply(t, target, 1, files{"a": specs[0]})
	for i, want := range []int{1, 2, 2} {
		edit("x")
		now = now.Add(time.Hour)
		r := mustApply(t, target, uint64(i+2), files{"a": specs[i+1]})
		if got := applies(); got != want || r.Kept != 1 {
			t.Errorf("after %d: %d kept, want %d; %+v", i, got, want, r)
		}
	}
	now = now.Add(keptAge - time.Minute)
	mustApply(t, target, 5, files{"a": specs[4]})
	if got := applies(); got != 1 {
		t.Errorf("after 30 days: %d kept", got)
	}
	// What the apply in hand keeps stays, however large it is.
	path := filepath.Join(dir, "a")
	do(t, os.Remove(path))
	do(t, os.WriteFile(path, nil, 0o600))
	do(t, os.Truncate(path, keptSize+1))
	mustApply(t, target, 6, files{"a": specs[5]})
	if got := applies(); got != 1 {
		t.Errorf("a large one: %d kept", got)
	}
	if list, err := filepath.Glob(filepath.Join(ControlDir(dir), keptName, "*", "a")); err != nil || len(list) != 1 {
		t.Errorf("%q %v", list, err)
	} else if info, err := os.Stat(list[0]); err != nil || info.Size() != keptSize+1 {
		t.Errorf("%v %v", info, err)
	}
}

func TestReadState_needsNoLock(t *testing.T) { eachMode(t, testReadStateNeedsNoLock) }

func testReadStateNeedsNoLock(t *testing.T, m Mode) {
	dir := newDir(t)
	if _, _, err := ReadState(dir); !errors.Is(err, journal.ErrNone) {
		t.Errorf("%v", err)
	}
	target := mustOpen(t, optionsIn(m, dir))
	mustApply(t, target, 7, files{"a": "644 a"})
	s, pending, err := ReadState(dir)
	if err != nil || pending != nil || s.Position != position(7) || s.Meta.Tenant != meta.Tenant {
		t.Errorf("%+v %+v %v", s, pending, err)
	}
}
