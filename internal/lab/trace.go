package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Trace stops a program at the calls that matter to those who come after it: what changes
// files, makes them durable, locks, or opens them for writing, and what is written to
// sockets. One counter goes over all threads, where strace's "when" has one for each.
type Trace struct {
	// Counts tells which calls count.
	Counts func(Call) bool

	mu    sync.Mutex // guards what follows
	calls int
	at    int
	do    func(pid int, c Call)
	hit   *Call
}

// Call is a system call that a traced program is about to make.
type Call struct {
	Name string
	Path string // of the file; where a rename leads to; "socket:[…]"
}

func (c Call) String() string { return c.Name + " " + c.Path }

// Arm counts from 0 again, and has do called when the program is about to make the n-th
// call, the first being 1. The thread that makes it stands still meanwhile.
func (tr *Trace) Arm(n int, do func(pid int, c Call)) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.calls, tr.at, tr.do, tr.hit = 0, n, do, nil
}

// Calls returns how many calls were counted.
func (tr *Trace) Calls() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.calls
}

// Disarm lets all calls pass from now on, and returns the one that was armed for; nil if
// it was not made.
func (tr *Trace) Disarm() *Call {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.at = 0
	return tr.hit
}

// Hit reports whether the call that was armed for has been made.
func (tr *Trace) Hit() bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.hit != nil
}

// count counts a call.
func (tr *Trace) count(pid int, c Call) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if !tr.Counts(c) {
		return
	}
	if tr.calls++; tr.calls == tr.at {
		tr.hit = &c
		tr.do(pid, c)
	}
}

// Below reports whether a file lies in one of the directories, or is one of them.
func (c Call) Below(dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return c.Path == dir || strings.HasPrefix(c.Path, dir+"/") })
}

// Socket reports whether something is sent.
func (c Call) Socket() bool { return strings.HasPrefix(c.Path, "socket:") }

// StartTraced is Start for a program that is traced with ptrace(2). It has ended when the
// process that traces it has.
func StartTraced(tr *Trace, log string, env []string, program string, args ...string) (*Process, error) {
	p := &Process{Cmd: exec.Command(program, args...), Log: log, Ended: make(chan struct{})}
	// Its own process group tells it from what else the thread started.
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		// Only the thread that started it may trace it. It must not end with this goroutine:
		// that would end what else it started (PR_SET_PDEATHSIG in prctl(2)).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.launch(env)
		started <- err
		if err != nil {
			return
		}
		p.Err = tr.follow(p.Cmd.Process.Pid)
		close(p.Ended)
	}()
	return p, <-started
}

// follow traces until the process ends, and returns how it did.
func (tr *Trace) follow(pid int) error {
	known := make(map[int]bool) // threads
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-pid, &ws, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for %d: %w", pid, err)
		}
		if !ws.Stopped() {
			if tid == pid {
				return endOf(ws)
			}
			continue
		}
		deliver := 0
		switch sig := ws.StopSignal(); {
		case !known[tid]:
			// A thread, or the process itself after execve(2), stops when it begins.
			known[tid] = true
			if tid == pid {
				err = unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL)
			}
		case sig == unix.SIGTRAP|0x80:
			if c, ok := callOf(tid); ok {
				tr.count(pid, c)
			}
		case sig == unix.SIGTRAP: // A thread was made.
		default:
			deliver = int(sig)
		}
		if err == nil {
			err = unix.PtraceSyscall(tid, deliver)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // ESRCH: killed meanwhile.
			return fmt.Errorf("trace %d: %w", pid, err)
		}
	}
}

// endOf is the error that exec.Cmd would have.
func endOf(ws unix.WaitStatus) error {
	switch {
	case ws.Signaled():
		return fmt.Errorf("signal: %v", ws.Signal())
	case ws.ExitStatus() != 0:
		return fmt.Errorf("exit status %d", ws.ExitStatus())
	}
	return nil
}

// watched returns the name of a call that counts, in which of its arguments it has its
// file's descriptor, and in which, if any, the path relative to that, else -1.
func watched(nr uint64) (name string, fd, path int) {
	switch nr {
	case unix.SYS_OPENAT:
		return "openat", 0, 1
	case unix.SYS_OPENAT2:
		return "openat2", 0, 1
	case unix.SYS_MKDIRAT:
		return "mkdirat", 0, 1
	case unix.SYS_UNLINKAT:
		return "unlinkat", 0, 1
	case unix.SYS_SYMLINKAT:
		return "symlinkat", 1, 2
	case unix.SYS_LINKAT:
		return "linkat", 2, 3
	case unix.SYS_RENAMEAT:
		return "renameat", 2, 3
	case unix.SYS_RENAMEAT2:
		return "renameat2", 2, 3
	case unix.SYS_FCHMODAT:
		return "fchmodat", 0, 1
	case unix.SYS_FCHOWNAT:
		return "fchownat", 0, 1
	case unix.SYS_UTIMENSAT:
		return "utimensat", 0, 1
	case unix.SYS_WRITE:
		return "write", 0, -1
	case unix.SYS_PWRITE64:
		return "pwrite64", 0, -1
	case unix.SYS_WRITEV:
		return "writev", 0, -1
	case unix.SYS_FTRUNCATE:
		return "ftruncate", 0, -1
	case unix.SYS_FSYNC:
		return "fsync", 0, -1
	case unix.SYS_FDATASYNC:
		return "fdatasync", 0, -1
	case unix.SYS_SYNCFS:
		return "syncfs", 0, -1
	case unix.SYS_FCHMOD:
		return "fchmod", 0, -1
	case unix.SYS_FCHOWN:
		return "fchown", 0, -1
	case unix.SYS_FLOCK:
		return "flock", 0, -1
	case unix.SYS_FALLOCATE:
		return "fallocate", 0, -1
	case unix.SYS_COPY_FILE_RANGE:
		return "copy_file_range", 2, -1
	case unix.SYS_SENDFILE:
		return "sendfile", 0, -1
	}
	return "", 0, -1
}

// syscallInfo is struct ptrace_syscall_info of ptrace(2), at the entry of a call.
type syscallInfo struct {
	op   uint8
	_    [3]uint8
	arch uint32
	_    [2]uint64 // instruction and stack pointer
	nr   uint64
	args [6]uint64
	_    [16]byte
}

// callOf returns the call that a thread is about to make, if it is one that counts.
func callOf(tid int) (c Call, ok bool) {
	var info syscallInfo
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 || info.op != unix.PTRACE_SYSCALL_INFO_ENTRY {
		return c, false
	}
	name, fd, path := watched(info.nr)
	if name == "" || name == "openat" && !writes(info.args[2]) || name == "openat2" && !writes(word(tid, info.args[2])) {
		return c, false
	}
	at := fmt.Sprintf("/proc/%d/cwd", tid)
	if dir := int32(info.args[fd]); dir != unix.AT_FDCWD {
		at = fmt.Sprintf("/proc/%d/fd/%d", tid, dir)
	}
	c.Name = name
	c.Path, _ = os.Readlink(at) // What has none counts nowhere.
	if path < 0 {
		return c, true
	}
	switch p := text(tid, info.args[path]); {
	case filepath.IsAbs(p):
		c.Path = p
	case p != "":
		c.Path = filepath.Join(c.Path, p)
	}
	return c, true
}

// writes reports whether a file is opened with these flags for more than reading it.
func writes(flags uint64) bool {
	return flags&unix.O_PATH == 0 && flags&(unix.O_WRONLY|unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC) != 0
}

// word reads a number from a stopped thread's memory.
func word(tid int, at uint64) uint64 {
	var b [8]byte
	n := remote(tid, at, b[:])
	if n < len(b) {
		return 0
	}
	return *(*uint64)(unsafe.Pointer(&b))
}

// text reads a path from a stopped thread's memory.
func text(tid int, at uint64) string {
	if at == 0 {
		return ""
	}
	b := make([]byte, 0, unix.PathMax)
	for len(b) < cap(b) {
		// What lies on the next page may not be there.
		piece := b[len(b):min(cap(b), len(b)+256-int((at+uint64(len(b)))%256))]
		n := remote(tid, at+uint64(len(b)), piece)
		if end := bytes.IndexByte(piece[:n], 0); end >= 0 {
			return string(b[:len(b)+end])
		}
		if n == 0 {
			return ""
		}
		b = b[:len(b)+n]
	}
	return ""
}

func remote(tid int, at uint64, to []byte) int {
	local := []unix.Iovec{{Base: &to[0], Len: uint64(len(to))}}
	n, err := unix.ProcessVMReadv(tid, local, []unix.RemoteIovec{{Base: uintptr(at), Len: len(to)}}, 0)
	if err != nil {
		return 0
	}
	return n
}
