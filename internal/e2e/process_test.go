//go:build !lean

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a running program.
type process struct {
	cmd   *exec.Cmd
	log   string        // file that its output is appended to
	ended chan struct{} // closed by the goroutine that waits for it
	err   error         // how it ended; readable once ended is closed
}

// startProcess starts a program whose output is appended to the file log.
func startProcess(log string, env []string, program string, args ...string) (*process, error) {
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(program, args...), log: log, ended: make(chan struct{})}
	p.cmd.Env = append(environment(), env...)
	p.cmd.Stdout, p.cmd.Stderr = f, f
	// A test that is killed leaves nothing behind.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = p.cmd.Start()
	f.Close()
	if err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// environment is ours without what etcd and confsyncd read their options from.
func environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CONFSYNCD_") && !strings.HasPrefix(e, "ETCD") {
			env = append(env, e)
		}
	}
	return env
}

// kill ends the program as a power cut would, but for the kernel's memory. That it had
// ended by itself before is an error.
func (p *process) kill() error {
	select {
	case <-p.ended:
		return errors.Join(fmt.Errorf("ended by itself, see %s", tail(p.log)), p.err)
	default:
	}
	err := p.cmd.Process.Kill()
	<-p.ended
	return err
}

// stop ends the program as systemd would.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(15 * time.Second):
		return errors.Join(fmt.Errorf("still running 15 s after SIGTERM, see %s", tail(p.log)), p.kill())
	}
	if p.err != nil {
		return fmt.Errorf("%w, see %s", p.err, tail(p.log))
	}
	return nil
}

// tail returns the last lines of a log.
func tail(log string) string {
	b, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return fmt.Sprintf("%s:\n%s", log, bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
}

// logged waits until the log has all the words in one line.
func logged(t *testing.T, log string, within time.Duration, words ...string) string {
	t.Helper()
	var found string
	_, err := eventually(within, func() error {
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
		return fmt.Errorf("no line with %q in %s", words, tail(log))
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
