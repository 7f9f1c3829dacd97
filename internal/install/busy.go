package install

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// quiet is how long a file must have been unchanged where no lease is to be had.
const quiet = 100 * time.Millisecond

// busy reports whether the file n, which stands at name, is open for writing: then a
// read lease is refused with EAGAIN (fcntl(2), F_SETLEASE). It is given back at once,
// since whoever opens the file for writing waits for that. Where no lease is to be had
// (EACCES on files of others without CAP_LEASE, EINVAL where the file system has
// none), it reports whether the file changed within the last moment.
func busy(dir int, name string, n node, now time.Time) bool {
	f, err := openFile(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return recent(n, now)
	}
	defer func() { _ = f.Close() }()
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		// This cannot fail for a lease just taken; closing the file would end it too.
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
		return false
	}
	return errors.Is(err, unix.EAGAIN) || recent(n, now)
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
