package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// maxRaces bounds how often a path is decided again that others change meanwhile.
const maxRaces = 8

// errRaced says that a path is not what it was when its step was decided.
var errRaced = errors.New("raced")

// run takes a plan through all phases.
func (w *work) run(ctx context.Context, c Contents) error {
	t := w.t
	if err := t.makeOwn(w.pending.Meta); err != nil {
		return err
	}
	err := w.stage(ctx, c)
	t.crash("after-stage")
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = w.tryOut(ctx, nil)
	}
	if err != nil {
		w.unkeep()
		t.sweep(nil, false) // A full disk needs the room.
		return err
	}
	t.crash("before-next")
	if err := t.journal.Next(w.pending); err != nil {
		w.unkeep()
		return t.fault("write", diff.OwnName+"/journal", err)
	}
	t.crash("after-next")
	return w.complete(false)
}

// advance writes a position to the journal that changes nothing on the disk.
func (w *work) advance() error {
	if err := w.t.makeOwn(w.pending.Meta); err != nil {
		return err
	}
	if err := w.carryTrial(); err != nil {
		return err
	}
	if err := w.t.journal.Advance(w.pending); err != nil {
		return w.t.fault("write", diff.OwnName+"/journal", err)
	}
	w.tally()
	return nil
}

// complete does what the journal's next says. With recovering, it is not known how
// much of it was done before.
func (w *work) complete(recovering bool) error {
	t := w.t
	if err := w.switchAll(); err != nil {
		return err
	}
	t.crash("before-dirsync")
	if err := w.syncDirs(recovering); err != nil {
		return err
	}
	t.crash("before-at")
	if err := t.journal.At(w.suspect...); err != nil {
		return t.fault("write", diff.OwnName+"/journal", err)
	}
	t.crash("after-at")
	w.tally()
	t.swept = !recovering && w.kept == nil && w.inStage == 0 && len(w.steps) <= shelf
	t.sweep(w.kept, false)
	if w.denied != nil {
		return fmt.Errorf("%w: %w", ErrDenied, w.denied)
	}
	if len(w.suspect) > 0 {
		return fmt.Errorf("%w: %d paths, such as %q; the next apply sees to them", ErrChanged, len(w.suspect), w.suspect[0])
	}
	return nil
}

// switcher is the phase that changes what others see.
type switcher struct {
	w     *work
	at    *cursor
	stage int
	count int
	// denied is why the first path that ceases to be could not be deleted.
	denied error
}

// switchAll switches every path: directories, parents first; files and symlinks;
// deletions, deepest first, and directories that become something else, when what
// was in them is gone; last the directories' modes and owners, deepest first, since
// a directory may become read-only.
//
// RACE: between the last look at a path and the rename over it or its deletion
// (microseconds), another process's new version of a file can be lost. And what
// moves a directory elsewhere while entries are switched in it takes them along.
func (w *work) switchAll() error {
	fd, err := w.t.openStage()
	if err != nil {
		return err
	}
	defer closeFD(fd)
	s := &switcher{w: w, at: w.t.cursor(), stage: fd}
	defer s.at.close()
	for i, st := range w.steps {
		if st.New.Kind == diff.Directory && st.staged() {
			if err := s.do(i); err != nil {
				return err
			}
		}
	}
	for i, st := range w.steps {
		if st.New.HasContent() && (st.act == create || st.act == replace) {
			if err := s.do(i); err != nil {
				return err
			}
		}
	}
	for i, st := range slices.Backward(w.steps) {
		if st.Deleted() && st.acts() || st.New.HasContent() && st.act == swap {
			if err := s.do(i); err != nil {
				return err
			}
		}
	}
	return errors.Join(s.denied, s.correct())
}

// do switches the path of one step. One that is denied does not keep the others from it.
func (s *switcher) do(i int) error {
	s.w.t.o.Beat()
	st := &s.w.steps[i]
	s.count++
	s.w.t.crash(fmt.Sprintf("mid-switch %d", s.count))
	for range maxRaces {
		err := s.try(i, st)
		if err == nil {
			return nil
		}
		if errors.Is(err, unix.EPERM) {
			s.deny(st, s.w.t.fault("switch", st.Path, err))
			return nil
		}
		if !errors.Is(err, errRaced) {
			return s.w.t.fault("switch", st.Path, err)
		}
		why, err := s.redecide(st)
		if absent(err) {
			why, err = "its directory is gone", nil
		}
		if err != nil {
			return s.w.t.fault("switch", st.Path, err)
		}
		if why != "" {
			break
		}
	}
	if !st.Deleted() {
		st.act = nothing
		s.w.suspect = append(s.w.suspect, st.Path)
	}
	return nil
}

// deny notes a path that the kernel does not let be switched, which did not show before.
// The next apply sees to it. What is to be deleted it would not know of, so that this one
// is not complete until it is.
func (s *switcher) deny(st *step, err error) {
	if st.Deleted() {
		if s.denied == nil {
			s.denied = err
		}
		return
	}
	st.act = nothing
	s.w.suspect = append(s.w.suspect, st.Path)
	if s.w.denied == nil {
		s.w.denied = err
	}
}

// redecide looks again at a path that others changed, and keeps what has to be.
func (s *switcher) redecide(st *step) (why string, err error) {
	dir, name, err := s.at.at(st.Path)
	if err != nil {
		return "", err
	}
	if *st, why, err = s.w.decide(dir, name, st.Change, true); err != nil || why != "" || !st.keep {
		return why, err
	}
	return "", s.w.keepNow(dir, name, st)
}

// try does one step if its path still is what it was when that was decided.
func (s *switcher) try(i int, st *step) error {
	if !st.acts() || st.act == attributes {
		return nil
	}
	dir, name, err := s.at.at(st.Path)
	if absent(err) {
		return errRaced
	}
	if err != nil {
		return err
	}
	now, err := lstat(dir, name)
	if err != nil {
		return err
	}
	if !now.same(st.found) {
		return errRaced
	}
	if st.act == swap && now.kind == diff.Directory {
		why, err := s.w.foreign(dir, name, st.Path)
		if err != nil {
			return err
		}
		if why != "" {
			return errRaced
		}
	}
	if err := openUp(dir, "."); err != nil {
		return err
	}
	if st.act == swap && now.kind == diff.Directory {
		// To move a directory elsewhere takes write permission on itself.
		if err := openUp(dir, name); err != nil {
			return err
		}
	}
	var staged node
	if st.staged() {
		if staged, err = lstat(s.stage, stagedName(i)); err != nil {
			return err
		}
	}
	switch st.act {
	case create:
		err = s.rename(i, dir, name, unix.RENAME_NOREPLACE)
	case replace:
		err = s.rename(i, dir, name, 0)
	case swap:
		err = s.rename(i, dir, name, unix.RENAME_EXCHANGE)
		if errors.Is(err, unix.EXDEV) && now.kind == diff.Directory && !mounted(dir, name) {
			if err = s.renew(i, dir, name, st); err == nil {
				err = s.rename(i, dir, name, unix.RENAME_EXCHANGE)
			}
		}
		if err == nil {
			s.at.close() // It may stand in what has just been taken out.
			err = s.takeOut(i, st)
		}
	case remove:
		err = unix.Unlinkat(dir, name, 0)
	case removeDir:
		err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	}
	if err == nil && st.staged() {
		s.w.t.noteWritten(dir, name, st, staged)
	}
	if err == nil && (st.act == create || st.act == replace) {
		s.w.inStage--
	}
	return settled(st, err)
}

// renew puts a new directory in the place of an empty one of an overlayfs's lower layer, which
// can be replaced but not exchanged (EXDEV, see overlayfs's redirect_dir).
func (s *switcher) renew(i, dir int, name string, st *step) error {
	fresh := stagedName(i) + "-renewed"
	if err := unix.Mkdirat(s.stage, fresh, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	err := unix.Fchownat(s.stage, fresh, st.found.uid, st.found.gid, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil {
		err = unix.Fchmodat(s.stage, fresh, st.found.mode, 0)
	}
	if err == nil {
		err = uninterrupted(func() error { return unix.Renameat(s.stage, fresh, dir, name) })
	}
	if err == nil {
		st.found, err = lstat(dir, name)
	}
	return err
}

func (s *switcher) rename(i, dir int, name string, flags uint) error {
	return uninterrupted(func() error { return unix.Renameat2(s.stage, stagedName(i), dir, name, flags) })
}

// settled tells the errors that say that others were at work from those that stop
// an apply.
func settled(st *step, err error) error {
	switch {
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
		if st.act == removeDir {
			st.act = leave
			return nil
		}
		return errRaced
	case errors.Is(err, unix.EISDIR), absent(err):
		return errRaced
	}
	return err
}

// takeOut removes what came out of an exchange. What it is not expected to be is
// kept.
func (s *switcher) takeOut(i int, st *step) error {
	name := stagedName(i)
	out, err := lstat(s.stage, name)
	if err != nil {
		return err
	}
	if !out.renamed(st.found) {
		return s.w.keepStaged(s.stage, name, st.Path)
	}
	if out.kind != diff.Directory {
		return unix.Unlinkat(s.stage, name, 0)
	}
	err = unix.Unlinkat(s.stage, name, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return s.w.keepStaged(s.stage, name, st.Path)
	}
	return err
}

// correct sets the modes and owners of directories in place.
func (s *switcher) correct() error {
	for _, st := range slices.Backward(s.w.steps) {
		if st.New.Kind != diff.Directory || !st.acts() {
			continue
		}
		err := s.correctDir(st)
		if absent(err) {
			s.w.suspect = append(s.w.suspect, st.Path)
			continue
		}
		if err != nil {
			return s.w.t.fault("set mode and owner of", st.Path, err)
		}
	}
	return nil
}

func (s *switcher) correctDir(st step) error {
	t := s.w.t
	fd, err := t.openDir(st.Path, unix.O_PATH)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	var is unix.Stat_t
	if err := unix.Fstat(fd, &is); err != nil || t.fits(nodeOf(&is), st.New) {
		return err
	}
	if err := unix.Fchownat(fd, "", t.o.UID, t.o.GID, unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	return chmodDir(fd, st.New.Mode)
}

// ownReadOnly reports whether n is a directory of the user that runs the agent,
// which cannot write in it.
func ownReadOnly(n node) bool {
	return n.kind == diff.Directory && os.Geteuid() != 0 && n.uid == os.Geteuid() && n.mode&0o300 != 0o300
}

// openUp lets an ordinary user write in a directory of its own, and move it; anything
// else is left as it is. Only what is taken out comes here, and managed directories
// (see access), which are steps, so that their mode is restored in the end.
func openUp(dir int, name string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	n, err := lstat(dir, name)
	if err != nil || !ownReadOnly(n) {
		return err
	}
	fd, err := openat(dir, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	return chmodDir(fd, n.mode|0o300)
}

// chmodDir sets the mode of a directory that was opened with O_PATH, through which
// fchmod(2) does not work.
func chmodDir(path int, mode uint32) error {
	fd, err := openat(path, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.EACCES) {
		// It cannot be read, and may yet be changed.
		return unix.Fchmodat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", path), mode, 0)
	}
	if err != nil {
		return err
	}
	defer closeFD(fd)
	return unix.Fchmod(fd, mode)
}
