package metrics

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// process is what the kernel and Go's runtime tell of this process.
type process struct {
	cpu        float64 // seconds
	resident   float64 // bytes
	files      int     // descriptors that are open
	goroutines int
}

// ownProcess asks. What cannot be had is 0.
func ownProcess() process {
	p := process{goroutines: runtime.NumGoroutine()}
	var use unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &use) == nil {
		p.cpu = (time.Duration(use.Utime.Nano()) + time.Duration(use.Stime.Nano())).Seconds()
	}
	if b, err := os.ReadFile("/proc/self/statm"); err == nil { // proc_pid_statm(5)
		if fields := bytes.Fields(b); len(fields) > 1 {
			pages, _ := strconv.ParseFloat(string(fields[1]), 64)
			p.resident = pages * float64(os.Getpagesize())
		}
	}
	if names, err := os.ReadDir("/proc/self/fd"); err == nil {
		p.files = len(names) - 1 // without the one that this took
	}
	return p
}
