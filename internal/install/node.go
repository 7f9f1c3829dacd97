package install

import (
	"crypto/sha256"
	"errors"
	"io"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// special is the kind of what no tree holds: FIFOs, sockets and devices.
const special diff.Kind = 0xff

// node is what stands at a path. The zero node is nothing.
type node struct {
	kind         diff.Kind
	mode         uint32
	uid, gid     int
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

// same reports whether n is m, unchanged. Of directories it says only that they
// are the same one: what happens in it changes its times.
func (n node) same(m node) bool {
	if n.kind == diff.Directory && m.kind == diff.Directory {
		return n.dev == m.dev && n.ino == m.ino
	}
	return n == m
}

// renamed reports whether n is m after a rename, which changes the ctime.
func (n node) renamed(m node) bool {
	n.ctime = m.ctime
	return n.same(m)
}

func (n node) describe() string {
	if n.kind == special {
		return "FIFO, socket or device"
	}
	return n.kind.String()
}

// lstat returns what stands at name in dir.
func lstat(dir int, name string) (node, error) {
	var st unix.Stat_t
	err := uninterrupted(func() error { return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if errors.Is(err, unix.ENOENT) {
		return node{}, nil
	}
	if err != nil {
		return node{}, err
	}
	return nodeOf(&st), nil
}

func nodeOf(st *unix.Stat_t) node {
	n := node{
		kind: special, mode: st.Mode & diff.ModeBits, uid: int(st.Uid), gid: int(st.Gid),
		dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		n.kind = diff.File
	case unix.S_IFDIR:
		n.kind = diff.Directory
	case unix.S_IFLNK:
		n.kind = diff.Symlink
	}
	return n
}

// read returns what stands at name in dir as an entry. Its hash is zero if its size
// tells it from all of like, or if it could not be read or changed meanwhile: then
// it differs from every entry.
func read(dir int, name string, n node, like ...diff.Entry) (diff.Entry, error) {
	e := diff.Entry{Kind: n.kind, Mode: n.mode}
	if n.kind != diff.File && n.kind != diff.Symlink {
		return e, nil
	}
	e.Size = n.size
	if !slices.ContainsFunc(like, func(l diff.Entry) bool { return l.Kind == n.kind && l.Size == n.size }) {
		return e, nil
	}
	var err error
	if n.kind == diff.Symlink {
		e.Mode = 0
		e.Hash, err = hashLink(dir, name)
	} else {
		e.Hash, err = hashFile(dir, name, n)
	}
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || absent(err) {
		err = nil
	}
	return e, err
}

func hashLink(dir int, name string) (diff.Hash, error) {
	b, err := readLink(dir, name)
	if err != nil {
		return diff.Hash{}, err
	}
	return diff.Sum(b), nil
}

func readLink(dir int, name string) ([]byte, error) {
	b := make([]byte, diff.MaxPath+1)
	n, err := unix.Readlinkat(dir, name, b)
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}

// hashFile returns the hash of the file n, or zero if that is not what is there.
func hashFile(dir int, name string, n node) (diff.Hash, error) {
	h := sha256.New()
	if stable, err := readFile(dir, name, n, h); !stable {
		return diff.Hash{}, err
	}
	return diff.Hash(h.Sum(nil)), nil
}

// readFile copies the file n to w. It reports whether n stood there unchanged
// before and after.
func readFile(dir int, name string, n node, w io.Writer) (stable bool, err error) {
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer closeFD(fd)
	is := func() bool {
		var st unix.Stat_t
		return unix.Fstat(fd, &st) == nil && nodeOf(&st) == n
	}
	if !is() {
		return false, nil
	}
	buf := make([]byte, min(n.size, 32<<10))
	for left := n.size; left > 0; {
		var got int
		err := uninterrupted(func() (err error) {
			got, err = unix.Read(fd, buf[:min(left, int64(len(buf)))])
			return err
		})
		if err != nil || got == 0 {
			return false, err
		}
		if _, err := w.Write(buf[:got]); err != nil {
			return false, err
		}
		left -= int64(got)
	}
	return is(), nil // Had it grown, it would not be.
}

// mounted reports whether something is mounted on name itself. Kernels before 5.8
// do not tell.
func mounted(dir int, name string) bool {
	var st unix.Statx_t
	err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE, &st)
	return err == nil && st.Attributes_mask&st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// fits reports whether mode and owner of n are those of e in this target.
func (t *Target) fits(n node, e diff.Entry) bool {
	return (e.Kind == diff.Symlink || n.mode == e.Mode) &&
		(t.o.UID < 0 || n.uid == t.o.UID) && (t.o.GID < 0 || n.gid == t.o.GID)
}
