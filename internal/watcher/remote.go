package watcher

import (
	"os"

	"golang.org/x/sys/unix"
)

// remote names the file systems whose files may be changed where this kernel does not
// see it: inotify(7) reports what goes through this kernel only. The numbers are those
// of statfs(2) and linux/magic.h.
func remote(fsType uint32) string {
	switch fsType {
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "SMB"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.FUSE_SUPER_MAGIC: // virtiofs too
		return "FUSE"
	case unix.CEPH_SUPER_MAGIC:
		return "Ceph"
	case unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC:
		return "AFS"
	case unix.CODA_SUPER_MAGIC:
		return "Coda"
	case unix.OCFS2_SUPER_MAGIC:
		return "OCFS2"
	case gfs2Magic:
		return "GFS2"
	case lustreMagic:
		return "Lustre"
	case vboxMagic:
		return "a VirtualBox folder"
	}
	return ""
}

// Remote reports whether other hosts may change what lies in dir where this kernel does
// not see it at once. It reports true, too, if dir cannot be looked at.
func Remote(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return true
	}
	defer f.Close() //nolint:errcheck // Nothing was written.
	return remote(fsType(f)) != ""
}

// Numbers that the kernel's headers do not export.
const (
	gfs2Magic   = 0x01161970
	lustreMagic = 0x0bd00bd0
	vboxMagic   = 0x786f4256
)

// fsType returns the type of the file system that f lies on, 0 if it does not say.
func fsType(f *os.File) uint32 {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0
	}
	return uint32(st.Type) //nolint:gosec // The numbers have 32 bits; how they are signed differs by architecture.
}
