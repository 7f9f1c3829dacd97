//go:build !lean

package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience of the tests. Nothing waits that long unless it fails.
const testPatience = time.Minute

// wait waits until check is content, and otherwise fails with its last complaint.
func wait(ts *testscript.TestScript, check func() error) {
	until := time.Now().Add(testPatience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			ts.Fatalf("waited %v: %v", testPatience, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// program returns confsyncd with arguments. Of the script's environment it gets what
// is listed here, and so nothing that whoever runs the tests has in theirs.
func program(ts *testscript.TestScript, args []string) *exec.Cmd {
	cmd := exec.Command("confsyncd", args...) // testscript has put it into PATH
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{
		"PATH", "HOME", "TMPDIR", "GOCOVERDIR", "GORACE", "CONFSYNCD_CONFIG", "CONFSYNCD_OUTPUT", "CONFSYNCD_ENDPOINTS",
		"CONFSYNCD_PREFIX", "CONFSYNCD_STATE_DIR", "CONFSYNCD_TENANT", "ETCDCTL_ENDPOINTS", "ETCDCTL_USER",
		"NOTIFY_SOCKET", "WATCHDOG_USEC",
	} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	return cmd
}

// discreet fails if an output shows what is in a file.
func discreet(ts *testscript.TestScript, what string, output []byte) {
	if bytes.Contains(output, []byte("CONTENT")) {
		ts.Fatalf("%s shows the content of a file:\n%s", what, output)
	}
}

// output runs confsyncd to its end.
func output(ts *testscript.TestScript, args []string) (stdout, stderr []byte, code int) {
	var out, errOut bytes.Buffer
	cmd := program(ts, args)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	discreet(ts, "standard output", out.Bytes())
	discreet(ts, "standard error", errOut.Bytes())
	return out.Bytes(), errOut.Bytes(), cmd.ProcessState.ExitCode()
}

func command(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: run CODE ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	stdout, stderr, code := output(ts, args[1:])
	fmt.Fprintf(ts.Stdout(), "%s", stdout)
	fmt.Fprintf(ts.Stderr(), "%s", stderr)
	if code != want {
		ts.Fatalf("exit code %d, want %d\n%s%s", code, want, stdout, stderr)
	}
	if code != 0 && len(stderr) == 0 {
		ts.Fatalf("exit code %d, and not a word on standard error", code)
	}
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP ARG...")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	wait(ts, func() error {
		stdout, stderr, code := output(ts, args[1:])
		if !want.Match(stdout) {
			return fmt.Errorf("no match in this (exit code %d):\n%s%s", code, stdout, stderr)
		}
		return nil
	})
}

// daemon is a confsyncd in the background.
type daemon struct {
	cmd      *exec.Cmd
	out, err string // files
	ended    bool
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: daemon NAME ARG...")
	}
	name := args[0]
	d := &daemon{cmd: program(ts, args[1:]), out: ts.MkAbs(name + ".out"), err: ts.MkAbs(name + ".err")}
	for path, to := range map[string]func(*os.File){d.out: func(f *os.File) { d.cmd.Stdout = f }, d.err: func(f *os.File) { d.cmd.Stderr = f }} {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		ts.Check(err)
		defer f.Close()
		to(f)
	}
	ts.Check(d.cmd.Start())
	of(ts).daemons[name] = d
}

func end(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: end NAME [TERM|INT|KILL]")
	}
	d := of(ts).daemons[args[0]]
	if d == nil {
		ts.Fatalf("no daemon %s", args[0])
	}
	sig := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}[append(args, "TERM")[1]]
	ts.Check(d.cmd.Process.Signal(sig))
	d.ended = true
	err := d.cmd.Wait()
	for _, path := range []string{d.out, d.err} {
		discreet(ts, path, []byte(ts.ReadFile(path)))
	}
	if err != nil && sig != syscall.SIGKILL {
		ts.Fatalf("%s ended with %v:\n%s", args[0], err, ts.ReadFile(d.err))
	}
}

func (d *daemon) kill() {
	if !d.ended {
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait()
	}
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case neg && len(args) == 1:
		wait(ts, func() error {
			if _, err := os.Lstat(ts.MkAbs(args[0])); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is still there", args[0])
			}
			return nil
		})
	case !neg && len(args) == 2:
		want, err := regexp.Compile("(?m)" + args[1])
		ts.Check(err)
		wait(ts, func() error {
			b, err := os.ReadFile(ts.MkAbs(args[0]))
			if err == nil && !want.Match(b) {
				err = fmt.Errorf("no match in %s:\n%s", args[0], b)
			}
			return err
		})
	default:
		ts.Fatalf("usage: await FILE REGEXP, or ! await FILE")
	}
}

func same(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: same DIR DIR")
	}
	wait(ts, func() error {
		one, err := listing(ts.MkAbs(args[0]))
		if err != nil {
			return err
		}
		other, err := listing(ts.MkAbs(args[1]))
		if err == nil && one != other {
			err = fmt.Errorf("%s:\n%s%s:\n%s", args[0], one, args[1], other)
		}
		return err
	})
}

func tree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: tree DIR")
	}
	list, err := listing(ts.MkAbs(args[0]))
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), list)
}

// listing returns a line for everything in a directory but what is confsyncd's own.
func listing(dir string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		if strings.HasPrefix(e.Name(), ".confsyncd") {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%v %s", info.Mode(), path[len(dir)+1:])
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text := strings.TrimSuffix(string(content), "\n")
			if len(text) > 40 || strings.Contains(text, "\n") {
				text = fmt.Sprintf("%x", sha256.Sum256(content))
			}
			fmt.Fprintf(&b, " = %s", text)
		case e.Type() == fs.ModeSymlink:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " -> %s", to)
		}
		b.WriteByte('\n')
		return nil
	})
	return b.String(), err
}
