package scan

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

func (s *Scanner) rootID() RootID { return RootID{s.root.dev, s.root.ino} }

func (s *Scanner) openRoot() (int, RootID, error) { return openDirectory(s.options.Dir) }

// openDirectory opens a root, which may be a symlink: it is the operator's word.
func openDirectory(dir string) (int, RootID, error) {
	var fd int
	err := uninterrupted(func() (err error) {
		fd, err = unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, RootID{}, rootError(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		shut(fd)
		return -1, RootID{}, rootError(err)
	}
	return fd, RootID{st.Dev, st.Ino}, nil
}

// statRoot tells what stands at the root's path now.
func (s *Scanner) statRoot() (RootID, error) {
	var st unix.Stat_t
	if err := uninterrupted(func() error { return unix.Stat(s.options.Dir, &st) }); err != nil {
		return RootID{}, rootError(err)
	}
	return RootID{st.Dev, st.Ino}, nil
}

func rootError(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("%w: %w", ErrRootMissing, err)
	}
	return err
}

// Busy returns the first of Options.BusyFiles that exists in the root, and how long
// ago it was made or changed.
func (s *Scanner) Busy() (path string, age time.Duration, busy bool) {
	for _, path := range s.options.BusyFiles {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(s.options.Dir, path), &st); err == nil {
			// The change time, because nobody can set it.
			return path, max(0, s.now().Sub(time.Unix(0, st.Ctim.Nano()))), true
		}
	}
	return "", 0, false
}

// Trace tells whether a directory is as it was.
type Trace struct {
	dev, ino uint64
	ctime    int64
}

// Traces returns what the directories are at in which BusyFiles may come and go. If they
// are the same before and after, none came and went between; if they are not, something
// else may have changed there too.
//
// RACE: on kernels before 6.13, which stamp with the clock of the last tick, a busy file
// that comes and goes within the tick of an earlier change goes unnoticed. Worst case: half
// of what was done under it in these milliseconds is published first.
func (s *Scanner) Traces() []Trace {
	traces := make([]Trace, len(s.options.BusyFiles))
	for i, path := range s.options.BusyFiles {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(s.options.Dir, diff.Parent(path)), &st); err == nil {
			traces[i] = Trace{st.Dev, st.Ino, st.Ctim.Nano()}
		}
	}
	return traces
}
