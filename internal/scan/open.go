package scan

import (
	"errors"

	"golang.org/x/sys/unix"
)

// errMoved says that what stands at a name is no longer what it just was.
var errMoved = errors.New("replaced while it was looked at")

// openat is openat(2) with O_NOFOLLOW: it returns errMoved or an *obstacle.
func openat(dir int, name string, flags int) (int, error) {
	var fd int
	err := uninterrupted(func() (err error) {
		fd, err = unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, refusal(err)
	}
	return fd, nil
}

// uninterrupted repeats a call that a signal ended: the Go runtime sends itself some.
func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// openDir opens the directory at name for listing and tells what it is.
func openDir(dir int, name string) (int, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return -1, st, err
	}
	if err := unix.Fstat(fd, &st); err != nil {
		shut(fd)
		return -1, st, refusal(err)
	}
	return fd, st, nil
}

// mountOf tells one mount from another while both are there (statx(2), since Linux 5.8); before
// that, one device from another.
func mountOf(fd int, dev uint64) uint64 {
	var x unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &x)
	if err != nil || x.Mask&unix.STATX_MNT_ID == 0 {
		return dev
	}
	return x.Mnt_id
}

// lstat is lstat(2) of a name in a directory.
func lstat(dir int, name string, st *unix.Stat_t) error {
	for { // This is asked of every name: uninterrupted would have st on the heap each time.
		if err := unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// refusal sorts the errors of an open or a read.
func refusal(err error) error {
	for _, moved := range [...]unix.Errno{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ENXIO} {
		if errors.Is(err, moved) {
			return errMoved
		}
	}
	if errors.Is(err, unix.EAGAIN) { // Somebody holds a write lease, and O_NONBLOCK does not wait for it.
		return &obstacle{Writing, err}
	}
	return &obstacle{Unreadable, err}
}

// shut closes a descriptor that was only read, where nothing can be lost.
func shut(fd int) { _ = unix.Close(fd) }
