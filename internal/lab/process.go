package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Process is a running program.
type Process struct {
	Cmd   *exec.Cmd
	Log   string        // file that its output is appended to
	Ended chan struct{} // closed by the goroutine that waits for it
	Err   error         // how it ended; readable once ended is closed
}

// Start starts a program whose output is appended to the file log.
func Start(log string, env []string, program string, args ...string) (*Process, error) {
	p := &Process{Cmd: exec.Command(program, args...), Log: log, Ended: make(chan struct{})}
	// A test that is killed leaves nothing behind.
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.launch(env); err != nil {
		return nil, err
	}
	go func() {
		p.Err = p.Cmd.Wait()
		close(p.Ended)
	}()
	return p, nil
}

// launch starts the program, and waits for nothing.
func (p *Process) launch(env []string) error {
	f, err := os.OpenFile(p.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	p.Cmd.Env = append(Environment(), env...)
	p.Cmd.Stdout, p.Cmd.Stderr = f, f
	return errors.Join(p.Cmd.Start(), f.Close())
}

// Environment is ours without what etcd and confsyncd read their options from.
func Environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CONFSYNCD_") && !strings.HasPrefix(e, "ETCD") {
			env = append(env, e)
		}
	}
	return env
}

// Kill ends the program as a power cut would, but for the kernel's memory. That it had
// ended by itself before is an error.
func (p *Process) Kill() error {
	select {
	case <-p.Ended:
		return errors.Join(fmt.Errorf("ended by itself, see %s", Tail(p.Log)), p.Err)
	default:
	}
	err := p.Cmd.Process.Kill()
	<-p.Ended
	return err
}

// Stop ends the program as systemd would.
func (p *Process) Stop() error {
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.Ended:
	case <-time.After(15 * time.Second):
		return errors.Join(fmt.Errorf("still running 15 s after SIGTERM, see %s", Tail(p.Log)), p.Kill())
	}
	if p.Err != nil {
		return fmt.Errorf("%w, see %s", p.Err, Tail(p.Log))
	}
	return nil
}

// Pause stops the program where it is, as SIGSTOP does, and returns when all of it has
// stopped: a SIGCONT that comes earlier takes the SIGSTOP away, and nothing in it wakes up.
func (p *Process) Pause() error {
	if err := p.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	_, err := Eventually(10*time.Second, func() error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Cmd.Process.Pid))
		if err != nil {
			return err
		}
		for _, name := range threads {
			b, err := os.ReadFile(name)
			if _, after, _ := bytes.Cut(b, []byte(") ")); err == nil && !bytes.HasPrefix(after, []byte("T")) {
				return fmt.Errorf("%s runs still", name)
			}
		}
		return nil
	})
	return err
}

// Resume has a program that Pause stopped go on.
func (p *Process) Resume() error { return p.Cmd.Process.Signal(syscall.SIGCONT) }

// Tail returns the last lines of a log.
func Tail(log string) string {
	b, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return fmt.Sprintf("%s:\n%s", log, bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
}

// FindLine waits until the log has all the words in one line, and returns it.
func FindLine(log string, within time.Duration, words ...string) (found string, err error) {
	_, err = Eventually(within, func() error {
		b, err := os.ReadFile(log)
		if err != nil {
			return err
		}
	lines:
		for line := range strings.Lines(string(b)) {
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue lines
				}
			}
			found = line
			return nil
		}
		return fmt.Errorf("no line with %q in %s", words, Tail(log))
	})
	return found, err
}

// Logged is FindLine, and ends the test if there is no such line in time.
func Logged(t testing.TB, log string, within time.Duration, words ...string) string {
	t.Helper()
	line, err := FindLine(log, within, words...)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// Over reports whether the program has ended.
func (p *Process) Over() bool {
	select {
	case <-p.Ended:
		return true
	default:
		return false
	}
}

// PeakMemory is the most that a process had resident, in bytes (proc_pid_status(5)).
func PeakMemory(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, errors.New("there is no VmHWM")
}

// CountLines counts the lines of a log that have all the words.
func CountLines(log string, words ...string) (n int) {
	b, _ := os.ReadFile(log) // What is not there has no lines.
lines:
	for line := range strings.Lines(string(b)) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		n++
	}
	return n
}
