package install

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// fixedFlags are the attributes of chattr(1) that forbid to rename and delete.
const fixedFlags = unix.STATX_ATTR_IMMUTABLE | unix.STATX_ATTR_APPEND

// fixed reports whether entries of a directory can be neither renamed nor deleted.
func fixed(dir int) bool {
	var st unix.Statx_t
	err := unix.Statx(dir, "", unix.AT_EMPTY_PATH, unix.STATX_TYPE, &st)
	return err == nil && st.Attributes&fixedFlags != 0
}

// forbidden says what keeps a path from being switched although its directory may be
// written: chattr(1), for root too, or a sticky directory. An apply that met it halfway
// could not be completed.
func forbidden(c *cursor, s step) string {
	dir, name, err := c.at(s.Path)
	if err != nil {
		return ""
	}
	var is, in unix.Statx_t
	if err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE|unix.STATX_UID, &is); err != nil {
		is = unix.Statx_t{} // It is missing.
	}
	if is.Attributes&fixedFlags != 0 {
		return "it is immutable or append-only; take that back with chattr -i -a"
	}
	if err := unix.Statx(dir, "", unix.AT_EMPTY_PATH, unix.STATX_TYPE|unix.STATX_MODE|unix.STATX_UID, &in); err != nil || s.act == attributes {
		return ""
	}
	there := is.Mask != 0
	switch me := uint32(os.Geteuid()); {
	case in.Attributes&unix.STATX_ATTR_IMMUTABLE != 0, there && in.Attributes&unix.STATX_ATTR_APPEND != 0:
		return "its directory is immutable or append-only; take that back with chattr -i -a"
	case there && me != 0 && in.Mode&unix.S_ISVTX != 0 && in.Uid != me && is.Uid != me:
		return fmt.Sprintf("its directory is sticky, so that only uid %d, who owns it, may replace it; remove it, or chmod -t the directory", is.Uid)
	}
	return ""
}
