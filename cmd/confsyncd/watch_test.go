//go:build !lean

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
)

// viewer is a person who looks at a program on a terminal.
type viewer struct {
	*testing.T
	cmd           *exec.Cmd
	master, slave *os.File
	read          chan struct{} // closed once all that was drawn is in seen

	mu   sync.Mutex // guards what follows
	seen bytes.Buffer
}

// view starts confsyncd on a terminal of that size. What it does not need is not in its
// environment.
func view(t *testing.T, rows, columns uint16, env []string, args ...string) *viewer {
	t.Helper()
	v := &viewer{T: t, read: make(chan struct{})}
	var err error
	if v.master, v.slave, err = openTerminal(); err != nil {
		t.Skip("no pseudo-terminal here:", err)
	}
	v.resize(rows, columns)
	v.cmd = exec.Command("confsyncd", args...)
	v.cmd.Env = append([]string{"TERM=xterm", "PATH=" + os.Getenv("PATH"), "GOCOVERDIR=" + os.Getenv("GOCOVERDIR")}, env...)
	v.cmd.Stdout, v.cmd.Stderr = v.slave, v.slave
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go v.look()
	t.Cleanup(v.leave)
	return v
}

// look reads what is drawn.
func (v *viewer) look() {
	defer close(v.read)
	b := make([]byte, 4096)
	for {
		n, err := v.master.Read(b) // EIO, once the other end is closed
		v.mu.Lock()
		v.seen.Write(b[:n])
		v.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// leave ends the program, if it has not, and closes the terminal.
func (v *viewer) leave() {
	if v.cmd.ProcessState == nil {
		_ = v.cmd.Process.Kill()
		_ = v.cmd.Wait()
	}
	_ = v.slave.Close()
	<-v.read
	_ = v.master.Close()
}

func (v *viewer) resize(rows, columns uint16) {
	v.Helper()
	if err := unix.IoctlSetWinsize(int(v.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		v.Fatal(err)
	}
}

// drawn returns all that was drawn so far.
func (v *viewer) drawn() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.seen.String()
}

// until waits until something is drawn after the given number of bytes, and returns how many there are
// then.
func (v *viewer) until(from int, what string) int {
	v.Helper()
	want := regexp.MustCompile(what)
	for end := time.Now().Add(testPatience); ; time.Sleep(10 * time.Millisecond) {
		all := v.drawn()
		if want.MatchString(all[from:]) {
			return len(all)
		}
		if time.Now().After(end) {
			v.Fatalf("never drawn: %s; but\n%q", what, all[from:])
		}
	}
}

// end interrupts the program, and demands that it exits with that code.
func (v *viewer) end(code int) {
	v.Helper()
	if err := v.cmd.Process.Signal(syscall.SIGINT); err != nil {
		v.Fatal(err)
	}
	v.ends(code)
}

// ends demands that the program exits with that code.
func (v *viewer) ends(code int) {
	v.Helper()
	var exit *exec.ExitError
	if err := v.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		v.Fatal(err)
	}
	if got := v.cmd.ProcessState.ExitCode(); got != code {
		v.Fatalf("exit code %d, want %d\n%q", got, code, v.drawn())
	}
}

// watched is an etcd with a commit, and the environment of those who look at it.
func watched(t *testing.T) (env []string, push func()) {
	t.Helper()
	dir := t.TempDir()
	env = []string{
		"CONFSYNCD_ENDPOINTS=" + devetcdtest.Start(t), "CONFSYNCD_TENANT=prod", "CONFSYNCD_CONFIG=", "HOME=" + dir,
		"CONFSYNCD_STATE_DIR=" + filepath.Join(dir, "state"),
	}
	source, n := filepath.Join(dir, "source"), 0
	if err := os.Mkdir(source, 0o755); err != nil {
		t.Fatal(err)
	}
	push = func() {
		t.Helper()
		n++
		if err := os.WriteFile(filepath.Join(source, "motd"), bytes.Repeat([]byte("CONTENT\n"), n), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("confsyncd", "push", "--dir", source, "-m", "a message that is longer than a narrow terminal is wide")
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	push()
	return env, push
}

func TestStatusIsWatchedOnATerminal(t *testing.T) {
	env, push := watched(t)
	v := view(t, 40, 100, env, "status", "--watch")
	// ECMA-48: all is erased once, then each status is drawn over the last.
	at := v.until(0, `^\x1b\[2J\x1b\[H[^\x1b]*\(interrupt to end\)\x1b\[K\r\n(?s:.*)head       generation 1, (?s:.*)narrow terminal is wide\x1b\[K(?s:.*)\x1b\[J$`)
	push()
	at = v.until(at, `\x1b\[H[^\x1b]*\(interrupt to end\)(?s:.*)head       generation 2, (?s:.*)\x1b\[J$`)
	if n := strings.Count(v.drawn(), "\x1b[2J"); n != 1 {
		t.Errorf("the screen was erased %d times", n)
	}

	// What no longer fits is cut, in both directions, so that the terminal neither wraps nor scrolls.
	const rows, columns = 6, 30
	v.resize(rows, columns)
	if err := v.cmd.Process.Signal(unix.SIGWINCH); err != nil { // as the kernel does to whom the terminal controls
		t.Fatal(err)
	}
	at = v.until(at, `\x1b\[H[^\x1b]*\x1b\[K(?s:.*)…\x1b\[J$`)
	all := v.drawn()
	last := all[strings.LastIndex(all[:at], "\x1b[H"):at]
	lines := strings.Split(regexp.MustCompile(`\x1b\[[0-9]*[HJK]|\r`).ReplaceAllString(last, ""), "\n")
	if len(lines) > rows {
		t.Errorf("%d lines on a terminal of %d", len(lines), rows)
	}
	for _, line := range lines {
		if n := len([]rune(line)); n > columns {
			t.Errorf("a line of %d characters on a terminal of %d: %q", n, columns, line)
		}
	}
	v.end(exitDone)
	v.until(0, `…\x1b\[J\r\n$`) // The prompt begins a line.
}

func TestWaitShowsABar(t *testing.T) {
	env, _ := watched(t)
	v := view(t, 40, 100, env, "wait", "--timeout", "10m")
	v.until(0, `hosts with what is published +0% .*\(0/1\)`)
	v.resize(40, 30)
	v.end(exitError)
	v.until(0, `\x1b\[2K\rconfsyncd: [^\r]*\r\n$`) // The bar is gone.
}
