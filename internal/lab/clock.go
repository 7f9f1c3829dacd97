package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Clock is the clock of one process, or of several, which need not be this machine's: it
// can be set while they run. Only programs that BuildClocked made look at it.
type Clock struct {
	name string
	mem  []byte // mapped by the processes too
}

// envClock names the file of a process's Clock.
const envClock = "LAB_CLOCK"

// NewClock returns a clock that is right. It ends with the test.
func NewClock(t testing.TB) *Clock {
	t.Helper()
	c := &Clock{name: filepath.Join(t.TempDir(), "clock")}
	f, err := os.OpenFile(c.name, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		defer f.Close()
		err = f.Truncate(16)
	}
	if err == nil {
		c.mem, err = unix.Mmap(int(f.Fd()), 0, 16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(c.mem); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Env is what a process has to have in its environment.
func (c *Clock) Env() []string { return []string{envClock + "=" + c.name} }

// Set makes the time of day differ by that much from this machine's, as setting the
// clock does: what measures durations does not notice.
func (c *Clock) Set(off time.Duration) { atomic.StoreInt64(c.at(0), int64(off)) }

// Sleep lets that much time pass at once, for the time of day and for all timers. The
// processes should be stopped meanwhile: the kernel does not know that it has to wake them.
func (c *Clock) Sleep(d time.Duration) {
	atomic.AddInt64(c.at(0), int64(d))
	atomic.AddInt64(c.at(8), int64(d))
}

func (c *Clock) at(i int) *int64 { return (*int64)(unsafe.Pointer(&c.mem[i])) }

// clockPatch is what BuildClocked changes in Go's own runtime: file, text, and what takes
// its place.
var clockPatch = []struct{ file, old, new string }{ //nolint:gochecknoglobals // A table.
	{"runtime/time_nofake.go", "\treturn nanotime1()\n", "\treturn nanotime1() + labOffset(1)\n"},
	{
		"runtime/time.go", "\treturn time_now()\n", `	sec, nsec, mono = time_now()
	wall := int64(nsec) + labOffset(0)%1e9
	sec += labOffset(0) / 1e9
	if wall < 0 {
		wall, sec = wall+1e9, sec-1
	} else if wall >= 1e9 {
		wall, sec = wall-1e9, sec+1
	}
	return sec, int32(wall), mono + labOffset(1)
`,
	},
}

const (
	// clockRuntime is added to package runtime.
	clockRuntime = `package runtime

import "unsafe"

// labClock points to mapped memory: what is to be added to the time of day, and to the
// monotonic clock, in nanoseconds.
var labClock unsafe.Pointer

//go:nosplit
func labOffset(i uintptr) int64 {
	if labClock == nil {
		return 0
	}
	return *(*int64)(add(labClock, 8*i))
}

//go:linkname setLabClock
func setLabClock(p unsafe.Pointer) { labClock = p }
`
	// clockOS is added to package os.
	clockOS = `package os

import (
	"syscall"
	"unsafe"
)

//go:linkname setLabClock runtime.setLabClock
func setLabClock(p unsafe.Pointer)

func init() {
	name, ok := syscall.Getenv("` + envClock + `")
	if !ok {
		return
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	b, err := syscall.Mmap(fd, 0, 16, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	setLabClock(unsafe.Pointer(&b[0]))
}
`
)

// BuildClocked builds a program whose processes go by a Clock, if they are given one: a
// static Go binary asks the kernel's vDSO for the time, where nothing can be put in
// between, so Go's runtime is built with another answer. It needs the go command, and
// fails where the runtime is not as it knows it. pkg is as for go build in the directory
// module, "" for this one.
//
// What the kernel stamps files with stays this machine's time.
func BuildClocked(dir, module, pkg string) (program string, err error) {
	if runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("the clock of a process is known for amd64 only, this is %s", runtime.GOARCH)
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	src := filepath.Join(strings.TrimSpace(string(out)), "src")
	files := map[string]string{"runtime/lab_clock.go": clockRuntime, "os/lab_clock.go": clockOS}
	for _, p := range clockPatch {
		b, err := os.ReadFile(filepath.Join(src, p.file))
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(b), p.old); n != 1 {
			return "", fmt.Errorf("this Go has %q in %s %d times", strings.TrimSpace(p.old), p.file, n)
		}
		files[p.file] = strings.Replace(string(b), p.old, p.new, 1)
	}
	replace := make(map[string]string)
	for file, text := range files {
		ours := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(ours, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(src, file)] = ours
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return "", err
	}
	program = filepath.Join(dir, "clocked")
	build := exec.Command("go", "build", "-overlay", list, "-o", program, pkg)
	build.Dir = module
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return program, nil
}
