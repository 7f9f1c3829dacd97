package install

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// quiet is how long a file must have been unchanged where no lease is to be had.
const quiet = 100 * time.Millisecond

// lease returns nil if nobody has the file open for writing, and EAGAIN if somebody has:
// then a read lease is refused (fcntl(2), F_SETLEASE). Whoever opens the file for writing
// waits until it is given back, by closing the file, which is to be done at once. Other
// errors say that no lease is to be had: EACCES on files of others without CAP_LEASE,
// EINVAL where the file system has none.
func lease(fd uintptr) error {
	_, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
	return err
}

// busy reports whether the file n, which stands at name, is open for writing, or, where
// no lease is to be had, whether it changed within the last moment.
func busy(dir int, name string, n node, now time.Time) bool {
	f, err := openFile(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return recent(n, now)
	}
	defer func() { _ = f.Close() }()
	err = lease(f.Fd())
	return errors.Is(err, unix.EAGAIN) || err != nil && recent(n, now)
}

// recent reports whether n changed within the last moment, going by its own times.
func recent(n node, now time.Time) bool {
	age := now.UnixNano() - max(n.mtime.Nano(), n.ctime.Nano())
	return age >= 0 && age < int64(quiet)
}

// ownUnreadable reports whether n belongs to the ordinary user that runs this, who may
// nevertheless not read it.
func ownUnreadable(n node) bool {
	return os.Geteuid() != 0 && n.uid == os.Geteuid() && n.mode&0o400 == 0
}
