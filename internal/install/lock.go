package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// makeDir makes the target's directory where it is missing but its parent is not.
func makeDir(o Options) error {
	if _, err := os.Lstat(o.Dir); !errors.Is(err, fs.ErrNotExist) {
		return nil // Whatever else is the matter, opening it says so.
	}
	parent, err := os.Open(filepath.Dir(o.Dir))
	if err != nil {
		return fmt.Errorf("make the target: %w; its parent must exist", err)
	}
	return errors.Join(makeDirIn(parent, o), parent.Close())
}

// makeDirIn makes the target's directory in its parent, and gives away none that somebody
// puts in its place by a symlink.
func makeDirIn(parent *os.File, o Options) error {
	at, name := int(parent.Fd()), filepath.Base(o.Dir)
	if err := unix.Mkdirat(at, name, 0o755); err != nil {
		return fmt.Errorf("make the target %q: %w; its parent must exist and be writable", o.Dir, err)
	}
	o.Log.Info("made the target's directory", "path", o.Dir)
	d, err := openFile(at, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("make the target %q: %w", o.Dir, err)
	}
	// The umask had a say in the mode.
	err = errors.Join(d.Chown(o.UID, o.GID), d.Chmod(0o755), d.Sync(), d.Close(), parent.Sync())
	if err != nil {
		return fmt.Errorf("make the target %q: %w", o.Dir, err)
	}
	return nil
}

// lock opens the target's directory and locks it. The lock goes with the
// descriptor, so a killed process leaves none behind.
func lock(path string) (*os.File, error) {
	d, err := os.OpenFile(path, unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, remedied(fmt.Errorf("open the target: %w", err))
	}
	err = uninterrupted(func() error { return unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(fmt.Errorf("%w: %q%s; stop it first", ErrLocked, path, holder(d)), d.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %q: %w", path, err), d.Close())
	}
	// Between open and lock another directory may have come to the path.
	if err := is(path, d); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// holder names the process that has d locked, as far as /proc/locks tells (proc_locks(5)):
// "FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE", PID being 0 or -1 outside of our namespace.
func holder(d *os.File) string {
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		return ""
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return ""
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(locks)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != file {
			continue
		}
		name, err := os.ReadFile("/proc/" + f[4] + "/comm")
		if err != nil {
			continue // It is not to be seen from here, or waits for the lock ("->").
		}
		return fmt.Sprintf(", process %s (%s)", f[4], strings.TrimSpace(string(name)))
	}
	return ""
}

// is returns an error that wraps ErrGone unless d is what path leads to.
func is(path string, d *os.File) error {
	var here, there unix.Stat_t
	err := uninterrupted(func() error { return unix.Stat(path, &there) })
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %q is missing", ErrGone, path)
	}
	if err == nil {
		err = unix.Fstat(int(d.Fd()), &here)
	}
	if err != nil {
		return remedied(fmt.Errorf("look at the target: %w", &fs.PathError{Op: "stat", Path: path, Err: err}))
	}
	if here.Dev != there.Dev || here.Ino != there.Ino {
		return fmt.Errorf("%w: %q is another directory now", ErrGone, path)
	}
	return nil
}

// identity returns an error that wraps ErrGone unless the target is what was
// opened.
func (t *Target) identity() error {
	if err := is(t.o.Dir, t.dir); err != nil {
		return err
	}
	if t.own == nil {
		return nil
	}
	if t.beside() {
		if err := t.sideIdentity(); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(t.own.Fd()), &st); err != nil {
		return t.fault("look at", diff.OwnName, err)
	}
	n, err := lstat(int(t.dir.Fd()), diff.OwnName)
	if err != nil {
		return t.fault("look at", diff.OwnName, err)
	}
	if !n.same(nodeOf(&st)) {
		return fmt.Errorf("%w: its %s is another one or missing", ErrGone, diff.OwnName)
	}
	return nil
}

func (t *Target) sideIdentity() error {
	here, err := lstat(int(t.side.Fd()), ".")
	if err != nil {
		return t.fault("look at", t.sideName(), err)
	}
	there, err := lstat(int(t.parent.Fd()), filepath.Base(siblingPath(t.path)))
	if err != nil {
		return t.fault("look at", t.sideName(), err)
	}
	if !there.same(here) {
		return fmt.Errorf("%w: %q is another one or missing", ErrGone, siblingPath(t.path))
	}
	return nil
}

// nested returns an error that wraps ErrNested if dir lies in another target.
func nested(dir string) error {
	resolved, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open the target %q: %w; make the directory that it leads to, or remove the symlink", dir, err)
	}
	if err != nil {
		return remedied(fmt.Errorf("open the target: %w", err))
	}
	for name := range strings.SplitSeq(resolved, "/") {
		if name == diff.OwnName || diff.IsSiblingName(name) {
			return fmt.Errorf("%w: %q lies in %q, which is confsyncd's own; give it a directory elsewhere", ErrNested, dir, name)
		}
	}
	for at := filepath.Dir(resolved); ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, diff.OwnName, "journal")); err == nil {
			return fmt.Errorf("%w: %q lies in %q; give it a directory of its own, or remove %q if nothing uses it",
				ErrNested, dir, at, filepath.Join(at, diff.OwnName))
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}
