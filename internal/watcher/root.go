package watcher

import "golang.org/x/sys/unix"

// rootID tells one root from another at the same path. The mount id is in it
// because a file system that was unmounted and mounted again has lost its
// watches, silently, and keeps device and inode.
type rootID struct {
	major, minor uint32
	inode, mount uint64
}

// identify follows symlinks. It returns unix.ENOENT for a missing root and
// unix.ENOTDIR for one that is no directory.
func identify(dir string) (rootID, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_TYPE|unix.STATX_INO|unix.STATX_MNT_ID, &st); err != nil {
		return rootID{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return rootID{}, unix.ENOTDIR
	}
	return rootID{major: st.Dev_major, minor: st.Dev_minor, inode: st.Ino, mount: st.Mnt_id}, nil
}
