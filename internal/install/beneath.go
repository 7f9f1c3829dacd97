package install

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

const resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// maxResolve bounds how often a path is resolved again after EAGAIN, which
// openat2(2) gives when a rename races with it.
const maxResolve = 64

// uninterrupted repeats a system call that a signal interrupts.
func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// openat opens one component. It never follows a symlink.
func openat(dir int, name string, flags int, mode uint32) (fd int, err error) {
	err = uninterrupted(func() error {
		fd, err = unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		return err
	})
	return fd, err
}

// openFile is openat with a file for its result.
func openFile(dir int, name string, flags int, mode uint32) (*os.File, error) {
	fd, err := openat(dir, name, flags, mode)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openDir opens the directory at path in the target; "" is the target itself.
// Errors: ENOENT, ENOTDIR or ELOOP if no directory is there, EXDEV if it lies on
// another file system.
func (t *Target) openDir(path string, flags int) (int, error) {
	return t.openBelow(int(t.dir.Fd()), path, flags)
}

// openBelow is openDir below any directory.
func (t *Target) openBelow(root int, path string, flags int) (int, error) {
	if path == "" {
		path = "."
	}
	flags |= unix.O_DIRECTORY | unix.O_CLOEXEC
	if !t.walks {
		how := unix.OpenHow{Flags: uint64(flags), Resolve: resolve}
		for range maxResolve {
			fd, err := unix.Openat2(root, path, &how)
			switch {
			case err == nil:
				return fd, nil
			case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
				continue
			case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
				// Missing before Linux 5.6, and forbidden by some seccomp filters.
				return t.walkDir(root, path, flags)
			}
			return -1, err
		}
	}
	return t.walkDir(root, path, flags)
}

// walkDir is openBelow without openat2: one component at a time.
func (t *Target) walkDir(root int, path string, flags int) (int, error) {
	at, err := openat(root, ".", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	for name := range strings.SplitSeq(path, "/") {
		next, err := openat(at, name, unix.O_PATH|unix.O_DIRECTORY, 0)
		closeFD(at)
		if err != nil {
			return -1, err
		}
		at = next
		var st unix.Stat_t
		if err := unix.Fstat(at, &st); err != nil || st.Dev != t.dev {
			closeFD(at)
			return -1, errors.Join(err, unix.EXDEV)
		}
	}
	defer closeFD(at)
	return openat(at, ".", flags, 0)
}

// absent reports whether err says that there is no directory at a path.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// closeFD closes a descriptor through which nothing was written.
func closeFD(fd int) { _ = unix.Close(fd) }

// cursor holds the parent that was opened last: paths in order share theirs.
type cursor struct {
	t    *Target
	root int
	path string
	fd   int // -1: none
	// plans says that what is missing stays so while the cursor is used: it is not
	// looked for again for each path that would lie in it.
	plans   bool
	missing string // the parent that was missing last, if why is set
	why     error
}

func (t *Target) cursor() *cursor { return t.cursorIn(int(t.dir.Fd())) }

// cursorIn returns a cursor below any directory.
func (t *Target) cursorIn(root int) *cursor { return &cursor{t: t, root: root, fd: -1} }

// at returns a descriptor (O_PATH) of the directory that path lies in, which is
// good until the next call, and path's last component. Errors are openDir's.
func (c *cursor) at(path string) (dir int, name string, err error) {
	parent := diff.Parent(path)
	if c.why != nil && c.missing == parent {
		return -1, "", c.why
	}
	if c.fd < 0 || c.path != parent {
		c.close()
		if c.fd, err = c.t.openBelow(c.root, parent, unix.O_PATH); err != nil {
			c.fd = -1
			if c.plans && absent(err) {
				c.missing, c.why = parent, err
			}
			return -1, "", err
		}
		c.path = parent
	}
	return c.fd, diff.Base(path), nil
}

// close forgets the parent. The cursor can be used again.
func (c *cursor) close() {
	if c.fd >= 0 {
		closeFD(c.fd)
	}
	c.fd = -1
}

// names lists a directory.
func names(dir int) ([]string, error) {
	f, err := openFile(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	list, err := f.Readdirnames(-1)
	return list, errors.Join(err, f.Close())
}
