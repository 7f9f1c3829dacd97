package install

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// ControlDir returns the directory in which an operator's control files for the target
// at dir lie: the sibling, where the target is switched as a whole, else .confsyncd.
func ControlDir(dir string) string {
	own := filepath.Join(dir, diff.OwnName)
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return own
	}
	sibling := siblingPath(resolved)
	var mine, beside unix.Stat_t
	if unix.Lstat(own, &mine) != nil || unix.Lstat(sibling, &beside) != nil ||
		beside.Mode&unix.S_IFMT != unix.S_IFDIR || beside.Uid != mine.Uid {
		return own
	}
	return sibling
}

// CheckTree returns an error that wraps ErrUnswitchable, and says what to do about it,
// if the target at dir cannot be switched as a whole. It writes nothing, so that it
// cannot tell whether the file system exchanges directories. A directory that is yet
// to be made may be missing.
func CheckTree(dir string) error {
	path, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, os.ErrNotExist) {
		path, err = filepath.EvalSymlinks(filepath.Dir(dir))
		path = filepath.Join(path, filepath.Base(dir))
	}
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the directory %q, in which the target is to lie, is missing; make it", filepath.Dir(dir))
	}
	if err != nil {
		return fmt.Errorf("look at the target: %w", err)
	}
	parent, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("look at the target: %w", err)
	}
	return errors.Join(checkTree(path, int(parent.Fd())), parent.Close())
}

func checkTree(path string, parent int) error {
	sibling := siblingPath(path)
	if len(filepath.Base(sibling)) > maxName {
		return unswitchable("the name of %q is too long for a directory of that name with %d more bytes beside it; give the target a shorter name",
			path, len(diff.SiblingName("")))
	}
	here, err := lstat(parent, filepath.Base(path))
	if err != nil {
		return fmt.Errorf("look at %q: %w", path, err)
	}
	beside, err := lstat(parent, ".")
	if err != nil {
		return fmt.Errorf("look at %q: %w", filepath.Dir(path), err)
	}
	if here.kind == diff.Directory && (here.dev != beside.dev || mounted(parent, filepath.Base(path))) {
		return unswitchable("%q is a mount point; use a directory inside of it", path)
	}
	if fixed(parent) {
		return unswitchable("%q is immutable or append-only, and the tree is exchanged in it; take that back with chattr -i -a", filepath.Dir(path))
	}
	if err := unix.Faccessat(parent, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return unswitchable("%q must be writable, since the tree is exchanged in it: %w; %s",
			filepath.Dir(path), err, orElse(remedy(err), "make it writable"))
	}
	if os.Geteuid() != 0 && ownReadOnly(here) {
		return unswitchable("%q must be writable by its owner to be moved; chmod u+w it", path)
	}
	there, err := lstat(parent, filepath.Base(sibling))
	switch {
	case err != nil:
		return fmt.Errorf("look at %q: %w", sibling, err)
	case there.kind == diff.None:
	case there.kind != diff.Directory:
		return unswitchable("a %s stands at %q; move it away", there.describe(), sibling)
	case there.uid != os.Geteuid():
		return unswitchable("%q belongs to uid %d, not to uid %d who runs the agent; move it away, or make it yours with chown -R",
			sibling, there.uid, os.Geteuid())
	case there.dev != beside.dev:
		return unswitchable("%q is another file system; unmount it", sibling)
	}
	return nil
}

func unswitchable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnswitchable, fmt.Errorf(format, args...))
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func siblingPath(path string) string {
	return filepath.Join(filepath.Dir(path), diff.SiblingName(filepath.Base(path)))
}

// locate opens what the target lies in, and makes sure that it can be switched where it
// is to be.
func (t *Target) locate() (err error) {
	if t.path, err = filepath.EvalSymlinks(t.o.Dir); err != nil {
		return fmt.Errorf("open the target: %w", err)
	}
	if t.parent, err = os.OpenFile(filepath.Dir(t.path), unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
		return fmt.Errorf("open the target: %w", err)
	}
	if t.o.Mode == Tree {
		return checkTree(t.path, int(t.parent.Fd()))
	}
	return nil
}

// beside reports whether the sibling is in use.
func (t *Target) beside() bool { return t.side != nil && t.side != t.own }

// sideName returns where the stage, kept and control files lie, relative to the target.
func (t *Target) sideName() string {
	if t.beside() {
		return "../" + diff.SiblingName(filepath.Base(t.path))
	}
	return diff.OwnName
}

// openSide opens the sibling if there is one, and finds what switches have left in it.
// Its existence tells that the target was switched as a whole until now. A sibling that
// is not this user's is none.
func (t *Target) openSide() error {
	t.side, t.sideRoot = t.own, t.ownRoot
	path := siblingPath(t.path)
	side, err := openFile(int(t.parent.Fd()), filepath.Base(path), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil && t.o.Mode != Tree || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENAMETOOLONG) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %q: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(side.Fd()), &st); err != nil {
		return errors.Join(fmt.Errorf("open %q: %w", path, err), side.Close())
	}
	if int(st.Uid) != os.Geteuid() {
		// In tree mode it was refused before.
		return side.Close()
	}
	root, err := openRoot(path, &st)
	if err == nil && st.Mode&diff.ModeBits != 0o700 {
		err = side.Chmod(0o700)
	}
	if err != nil {
		return errors.Join(err, side.Close())
	}
	t.side, t.sideRoot = side, root
	return t.findOlds()
}

// makeSide makes the sibling where the target is switched as a whole, moves there what
// lay in .confsyncd, and finds out whether the file system exchanges directories.
func (t *Target) makeSide() error {
	if t.beside() || t.o.Mode != Tree {
		return nil
	}
	path := siblingPath(t.path)
	parent, name := int(t.parent.Fd()), filepath.Base(path)
	if err := unix.Mkdirat(parent, name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make %q: %w", path, err)
	}
	if err := t.openSide(); err != nil {
		return err
	}
	if !t.beside() {
		return fmt.Errorf("%w: %q vanished", ErrGone, path)
	}
	if err := t.probe(); err != nil {
		// Otherwise it would tell that the target is in tree mode.
		_ = unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
		err = errors.Join(err, t.sideRoot.Close(), t.side.Close())
		t.side, t.sideRoot = t.own, t.ownRoot
		return err
	}
	return t.syncParent()
}

// probes are the names of the directories that probe makes in the sibling.
func probes() [2]string { return [2]string{"probe-a", "probe-b"} }

// probe exchanges two directories.
func (t *Target) probe() error {
	side := int(t.side.Fd())
	pair := probes()
	var err error
	for _, name := range pair {
		if made := unix.Mkdirat(side, name, 0o700); made != nil && !errors.Is(made, unix.EEXIST) {
			err = made
		}
	}
	if err == nil {
		err = unix.Renameat2(side, pair[0], side, pair[1], unix.RENAME_EXCHANGE)
	}
	for _, name := range pair {
		_ = unix.Unlinkat(side, name, unix.AT_REMOVEDIR)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return unswitchable(`the file system of %q cannot exchange directories (%w); use mode = "files"`, t.path, err)
	}
	if err != nil {
		return t.fault("make", t.sideName(), err)
	}
	return nil
}

// syncParent makes durable what was done in the directory that the target lies in.
func (t *Target) syncParent() error {
	fd, err := openat(int(t.parent.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.EACCES) {
		return syncfs(int(t.dir.Fd())) // It may be written, yet not be read.
	}
	if err != nil {
		return err
	}
	defer closeFD(fd)
	return fsync(fd)
}

// convert brings what lies in .confsyncd, or in the sibling, to where the mode wants it.
// What was begun in the other mode has been completed before. A crash on the way leaves
// the rest to the next Open.
func (t *Target) convert() error {
	switch {
	case t.o.Mode == Tree:
		// An older one may have left things behind in .confsyncd.
		if err := t.makeSide(); err != nil {
			return err
		}
		return t.moveAll(t.own, t.side, func(name string) bool { return !ofJournal(name) })
	case t.beside():
		return t.dissolve()
	}
	return nil
}

// ofJournal reports whether the journal, or what was set aside of one, has that name.
func ofJournal(name string) bool { return strings.HasPrefix(name, "journal") }

// dissolve moves what is to stay from the sibling to .confsyncd, and removes it.
func (t *Target) dissolve() error {
	t.crash("before-dissolve")
	t.dropOlds()
	sibling := filepath.Base(siblingPath(t.path))
	if err := t.moveAll(t.side, t.own, func(string) bool { return true }); err != nil {
		return err
	}
	t.crash("mid-dissolve")
	if err := unix.Unlinkat(int(t.parent.Fd()), sibling, unix.AT_REMOVEDIR); err != nil {
		return t.fault("remove", t.sideName(), err)
	}
	if err := t.syncParent(); err != nil {
		return t.fault("make durable", "", err)
	}
	err := errors.Join(t.sideRoot.Close(), t.side.Close())
	t.side, t.sideRoot = t.own, t.ownRoot
	return err
}

// moveAll moves entries from one directory to another, durably. Kept files are merged
// with those that are there; a stage is emptied.
func (t *Target) moveAll(from, to *os.File, moves func(name string) bool) error {
	list, err := names(int(from.Fd()))
	if err != nil {
		return t.fault("open", diff.OwnName, err)
	}
	// What the stage still holds may have to be kept, before that is moved.
	slices.SortFunc(list, func(a, b string) int { return strings.Compare(b, a) })
	moved := false
	for _, name := range list {
		if !moves(name) {
			continue
		}
		switch name {
		case stageName:
			err = t.dropStage(int(from.Fd()))
		case keptName:
			moved = true
			err = mergeInto(int(from.Fd()), int(to.Fd()), name)
		default:
			moved = true
			err = unix.Renameat(int(from.Fd()), name, int(to.Fd()), name)
		}
		if err != nil {
			return t.fault("move", diff.OwnName+"/"+name, err)
		}
	}
	if !moved {
		return nil
	}
	return errors.Join(fsync(int(to.Fd())), fsync(int(from.Fd())))
}

// dropStage removes an emptied stage.
func (t *Target) dropStage(dir int) error {
	fd, err := openat(dir, stageName, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	err = t.sweepStage(fd)
	closeFD(fd)
	if err != nil {
		return err
	}
	return unix.Unlinkat(dir, stageName, unix.AT_REMOVEDIR)
}

// mergeInto moves a directory, or, where there is one of that name, what lies in it.
func mergeInto(from, to int, name string) error {
	err := unix.Renameat2(from, name, to, name, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	a, err := openat(from, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer closeFD(a)
	b, err := openat(to, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer closeFD(b)
	list, err := names(a)
	if err != nil {
		return err
	}
	for _, child := range list {
		if err := unix.Renameat2(a, child, b, child, unix.RENAME_NOREPLACE); err != nil {
			return err
		}
	}
	if err := fsync(b); err != nil {
		return err
	}
	return unix.Unlinkat(from, name, unix.AT_REMOVEDIR)
}
