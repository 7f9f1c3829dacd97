//go:build !lean

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// openTerminal returns the two ends of a pseudo-terminal (pty(7)): what is written to
// the second can be read from the first, as a person would see it.
func openTerminal() (master, slave *os.File, err error) {
	if master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	return master, slave, nil
}

// onTerminal returns what write prints on a terminal. Ends of lines come as CR LF.
func onTerminal(write func(terminal *os.File) error) (string, error) {
	master, slave, err := openTerminal()
	if err != nil {
		return "", err
	}
	var seen bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&seen, master) // it ends with EIO, once the other end is closed
	}()
	err = write(slave)
	_ = slave.Close()
	<-read
	_ = master.Close()
	return seen.String(), err
}

// person runs confsyncd with standard output and standard error on a terminal.
func person(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: person CODE ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	cmd := program(ts, args[1:])
	cmd.Env = append(cmd.Env, "TERM="+ts.Getenv("TERM"), "NO_COLOR="+ts.Getenv("NO_COLOR"))
	out, err := onTerminal(func(terminal *os.File) error {
		cmd.Stdout, cmd.Stderr = terminal, terminal
		return cmd.Run()
	})
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	discreet(ts, "the terminal", []byte(out))
	fmt.Fprint(ts.Stdout(), out)
	if code := cmd.ProcessState.ExitCode(); code != want {
		ts.Fatalf("exit code %d, want %d\n%s", code, want, out)
	}
}

func TestProgressIsForPeople(t *testing.T) {
	work := func(a *app, lasts time.Duration) {
		p := a.progress()
		p.begin = time.Now().Add(-lasts)
		p.bytes("sending", 3000, 9000)
		p.count("checking packs", 1, 2)
		p.end()
		p.count("too late", 1, 2)
	}
	const long = time.Hour
	for name, tt := range map[string]struct {
		output string
		lasts  time.Duration
		want   bool
	}{
		"long work":          {"text", long, true},
		"short work":         {"text", -long, false},
		"facts for programs": {"json", long, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TERM", "xterm")
			out, err := onTerminal(func(terminal *os.File) error {
				work(&app{err: terminal, output: tt.output}, tt.lasts)
				return nil
			})
			if err != nil {
				t.Skip("no pseudo-terminal here:", err)
			}
			if seen := strings.Contains(out, "sending") && strings.Contains(out, "checking packs"); seen != tt.want || !tt.want && out != "" {
				t.Errorf("a person sees %q", out)
			}
			if strings.Contains(out, "too late") {
				t.Error("the bar goes on after the end")
			}
		})
	}
	t.Run("not on a terminal", func(t *testing.T) {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		work(&app{err: f, output: "text"}, long)
		if info, err := f.Stat(); err != nil || info.Size() > 0 {
			t.Errorf("%d bytes were written: %v", info.Size(), err)
		}
	})
}
