package install

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// Names in .confsyncd, or in the sibling of a target that is switched as a whole.
const (
	stageName = "stage"
	keptName  = "kept"
)

// openOwn opens .confsyncd if it is there. It must be a real directory of the user
// that runs the agent: one that another user planted could hold a forged journal.
func (t *Target) openOwn() error {
	path := filepath.Join(t.o.Dir, diff.OwnName)
	own, err := openFile(int(t.dir.Fd()), diff.OwnName, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if absent(err) {
		return fmt.Errorf("open %q: it is no directory; move it away", path)
	}
	if err != nil {
		return t.fault("open", diff.OwnName, err)
	}
	if err := t.adoptOwn(own); err != nil {
		return errors.Join(err, own.Close())
	}
	return nil
}

func (t *Target) adoptOwn(own *os.File) error {
	path := filepath.Join(t.o.Dir, diff.OwnName)
	var st unix.Stat_t
	if err := unix.Fstat(int(own.Fd()), &st); err != nil {
		return fmt.Errorf("open %q: %w", path, err)
	}
	if int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("open %q: it belongs to uid %d, not to uid %d who runs the agent; "+
			"run the agent as that user, or make it yours with chown -R", path, st.Uid, os.Geteuid())
	}
	if st.Mode&diff.ModeBits != 0o700 {
		if err := own.Chmod(0o700); err != nil {
			return fmt.Errorf("open %q: %w", path, err)
		}
	}
	root, err := openRoot(path, &st)
	if err != nil {
		return err
	}
	t.own, t.ownRoot = own, root
	return nil
}

// openRealRoot opens the directory at path as a root. Its last component is no symlink,
// which whoever may write beside it could have planted. Errors: ENOENT; ENOTDIR or ELOOP
// if no directory is there.
func openRealRoot(path string) (root *os.Root, err error) {
	for range maxRaces {
		if root, err = openRealRootOnce(path); !errors.Is(err, ErrGone) {
			break // Else an agent is switching the whole tree.
		}
	}
	return root, err
}

func openRealRootOnce(path string) (*os.Root, error) {
	d, err := openFile(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", path, err)
	}
	defer func() { _ = d.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		return nil, fmt.Errorf("open %q: %w", path, err)
	}
	return openRoot(path, &st)
}

// openRoot opens path as a root, and makes sure that it is the directory st.
func openRoot(path string, st *unix.Stat_t) (*os.Root, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", path, err)
	}
	d, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %q: %w", path, err), root.Close())
	}
	var is unix.Stat_t
	err = errors.Join(unix.Fstat(int(d.Fd()), &is), d.Close())
	if err == nil && (is.Dev != st.Dev || is.Ino != st.Ino) {
		err = fmt.Errorf("%w: %q is another directory now", ErrGone, path)
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// makeOwn makes .confsyncd, the journal, and in tree mode the sibling, where they are
// missing.
func (t *Target) makeOwn(m journal.Meta) error {
	if t.own == nil {
		err := unix.Mkdirat(int(t.dir.Fd()), diff.OwnName, 0o700)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return t.fault("make", diff.OwnName, err)
		}
		if err := t.openOwn(); err != nil {
			return err
		}
		if t.own == nil {
			return fmt.Errorf("%w: its %s vanished", ErrGone, diff.OwnName)
		}
	}
	if t.side == nil {
		if err := t.openSide(); err != nil {
			return err
		}
	}
	if err := t.makeSide(); err != nil {
		return err
	}
	if t.journal != nil {
		return nil
	}
	// Even if it was there: who made it may have died before this.
	if err := fsync(int(t.dir.Fd())); err != nil {
		return t.fault("make durable", "", err)
	}
	j, err := journal.Create(t.ownRoot, journal.State{Meta: m})
	if err != nil {
		return t.fault("write", diff.OwnName+"/journal", err)
	}
	t.journal = j
	return nil
}

// openSub opens a directory of that name in dir, whose path is for messages, and
// makes it if it is missing.
func (t *Target) openSub(dir int, name, path string) (int, error) {
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == nil {
		return fd, nil
	}
	if !errors.Is(err, unix.ENOENT) {
		return -1, t.fault("open", path, err)
	}
	made := unix.Mkdirat(dir, name, 0o700)
	if made != nil && !errors.Is(made, unix.EEXIST) {
		return -1, t.fault("make", path, made)
	}
	if fd, err = openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return -1, t.fault("open", path, err)
	}
	if made != nil {
		return fd, nil // Somebody else's, who says what its mode is.
	}
	if err := unix.Fchmod(fd, 0o700); err != nil { // Whatever the umask.
		closeFD(fd)
		return -1, t.fault("make", path, err)
	}
	return fd, nil
}
