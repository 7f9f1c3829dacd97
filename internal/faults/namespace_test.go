//go:build faults

package faults

import (
	"fmt"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// envMounts says that this process has mounts of its own.
const envMounts = "CONFSYNCD_FAULTS_MOUNTS"

// mountApart begins this program anew with mounts of its own, if it may: what cases mount
// is seen by nobody else, and ends with it, however it ends. It returns if that is so
// already, or cannot be had.
func mountApart() {
	if os.Getuid() != 0 || mountsApart() {
		return
	}
	runtime.LockOSThread() // What a thread unshares, it takes along through execve(2).
	defer runtime.UnlockOSThread()
	err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if err == nil {
		err = unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), envMounts+"=1"))
	}
	fmt.Fprintln(os.Stderr, "no mounts of our own:", err)
}

func mountsApart() bool { return slices.Contains(os.Environ(), envMounts+"=1") }
