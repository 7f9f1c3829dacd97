package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a running daemon.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *os.File
	// raises says that it answers SIGTERM by dying of it once it has tidied up.
	raises bool

	ended chan struct{} // closed by the goroutine that waits for the process
	err   error         // how it ended; readable once ended is closed
}

// startProcess starts a daemon whose output goes to dir/NAME.log, and its standard
// error to tee too, if that is not nil.
func startProcess(dir, name string, tee io.Writer, program string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	p := &process{name: name, log: log, ended: make(chan struct{})}
	p.cmd = exec.Command(program, args...) //nolint:noctx // It is ended with SIGTERM, by stop.
	p.cmd.Env = environment()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if tee != nil {
		p.cmd.Stderr = io.MultiWriter(log, tee)
	}
	// A Ctrl-C on the terminal is for replay, which ends the others in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// alive returns an error if the daemon has ended.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended (%w), see %s", p.name, errors.Join(p.err, errEarly), p.log.Name())
	default:
		return nil
	}
}

var errEarly = errors.New("nobody asked it to")

// stop ends the daemon as systemd would. A daemon that ends with another code than 0,
// or not within 10 s, is an error.
func (p *process) stop() error {
	if err := p.alive(); err != nil {
		return errors.Join(err, p.log.Close())
	}
	err := p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && p.raises && status.Signal() == syscall.SIGTERM {
			break
		}
		if p.err != nil {
			err = fmt.Errorf("stop %s: %w, see %s", p.name, p.err, p.log.Name())
		}
	case <-time.After(10 * time.Second):
		err = errors.Join(err, p.cmd.Process.Kill(),
			fmt.Errorf("stop %s: still running 10 s after SIGTERM, see %s", p.name, p.log.Name()))
		<-p.ended
	}
	return errors.Join(err, p.log.Close())
}

// command runs a program to its end and returns what it printed. If its exit code is
// not 0, the error is an *exec.ExitError, with what it wrote to standard error.
func command(ctx context.Context, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = environment()
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out, fmt.Errorf("%s: %w: %s", filepath.Base(program), err, bytes.TrimSpace(exit.Stderr))
	}
	return out, err
}

// environment is ours without what etcd and confsyncd would read their options from.
func environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CONFSYNCD_") && !strings.HasPrefix(e, "ETCD") {
			env = append(env, e)
		}
	}
	return env
}
