//go:build !lean

package main

import (
	"os"
	"syscall"
	"time"
)

// ctime returns when an inode was last changed, in any way. Nobody can set it.
func ctime(info os.FileInfo) time.Time {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.ModTime()
	}
	return time.Unix(st.Ctim.Sec, st.Ctim.Nsec)
}
