package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// Names of hooks.
const (
	Check  = "check"
	Reload = "reload"
	Health = "health"
)

// searchPath is where programs are looked for, and what hooks get as PATH: what root has
// in a login shell, whatever the agent was started with.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// How long is waited, and how often is told that nothing is stuck.
const (
	beatEvery   = time.Second
	outputDelay = time.Second // for output, after the hook has ended
)

var (
	// ErrFailed is returned by Run for a hook that ended badly, took too long, or could not
	// be started. The error says which, and never what the hook printed.
	ErrFailed = errors.New("failed")
	// ErrInterrupted is returned by Run when its context ended before the hook did.
	ErrInterrupted = errors.New("the hook was interrupted")
)

// Hook is a program with its arguments.
type Hook struct {
	Argv    []string
	Timeout time.Duration
}

// IsSet reports whether there is anything to run.
func (h Hook) IsSet() bool { return len(h.Argv) > 0 }

// Subject is what a hook is about. It becomes the hook's environment.
type Subject struct {
	Tenant     string
	Generation uint64
	// Previous is the generation before, 0 if there was none.
	Previous uint64
	Target   string // the directory
	// Candidate is the directory that holds what the target is to become; empty where
	// nothing is to be checked.
	Candidate string
	// Changed are paths in the target, in path order.
	Changed []string
}

// Runner runs hooks.
type Runner struct {
	// Scratch is a directory that nobody else writes, for the list of changed paths.
	Scratch string
	// Beat is called every second while a hook runs.
	Beat func()
	// Grace is how long a hook may go on after the context has ended, and KillAfter how
	// long after TERM it is killed. Zero is 5 s.
	Grace, KillAfter time.Duration
	Log              hclog.Logger
}

// Find returns the absolute path of a program. The error says what is the matter with it.
func Find(program string) (string, error) {
	if filepath.IsAbs(program) {
		return program, executable(program)
	}
	if strings.Contains(program, "/") || program == "" {
		return "", fmt.Errorf("%q is neither an absolute path nor a name", program)
	}
	for _, dir := range filepath.SplitList(searchPath) {
		path := filepath.Join(dir, program)
		if executable(path) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%q is not in %s", program, searchPath)
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%q is no file", path)
	}
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("%q cannot be executed: %w", path, err)
	}
	return nil
}

// Run runs a hook and waits for its end. The error wraps ErrFailed or ErrInterrupted, or is
// what kept the list of changed paths from being written.
func (r Runner) Run(ctx context.Context, name string, h Hook, s Subject) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", name, ErrInterrupted)
	}
	program, err := Find(h.Argv[0])
	if err != nil {
		return fmt.Errorf("%s %w: %w", name, ErrFailed, err)
	}
	list := filepath.Join(r.Scratch, "changed")
	if err := writeList(list, s.Changed); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer func() { _ = os.Remove(list) }() // The next one takes its place.

	out := &output{log: r.Log.With("hook", name, "generation", s.Generation)}
	cmd := exec.Command(program, h.Argv[1:]...) //nolint:noctx // A context would kill the program and not its group.
	cmd.Args[0] = h.Argv[0]
	cmd.Dir = "/"
	cmd.Env = append(s.environment(), "CONFSYNCD_CHANGED="+list)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = outputDelay
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s %w: %w", name, ErrFailed, err)
	}
	cut := r.oversee(ctx, cmd.Process.Pid, h.Timeout)
	err = cmd.Wait()
	out.end()
	switch {
	case errors.Is(cut, ErrInterrupted), err != nil && ctx.Err() != nil:
		// Whoever ends this process may well end the hook too: that says nothing of the generation.
		return fmt.Errorf("%s: %w", name, ErrInterrupted)
	case cut != nil:
		return fmt.Errorf("%s %w: %w", name, ErrFailed, cut)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return fmt.Errorf("%s %w: %w", name, ErrFailed, err)
	}
	r.Log.Debug("hook ended well", "hook", name, "generation", s.Generation, "duration_ms", time.Since(begin).Milliseconds())
	return nil
}

func (s Subject) environment() []string {
	env := []string{
		"PATH=" + searchPath,
		"CONFSYNCD_TENANT=" + s.Tenant,
		"CONFSYNCD_GENERATION=" + strconv.FormatUint(s.Generation, 10),
		"CONFSYNCD_PREVIOUS=" + strconv.FormatUint(s.Previous, 10),
		"CONFSYNCD_TARGET=" + s.Target,
	}
	if s.Candidate != "" {
		env = append(env, "CONFSYNCD_CANDIDATE="+s.Candidate)
	}
	return env
}

// writeList writes paths, each ended by a NUL.
func writeList(path string, paths []string) error {
	var b strings.Builder
	for _, p := range paths {
		b.WriteString(p)
		b.WriteByte(0)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(b.String()), 0o600)
}

// oversee waits until the leader of a group has ended, and ends the group when its time is
// up. It leaves the leader to be waited for: until then no other process gets its id, so
// that no signal goes astray.
func (r Runner) oversee(ctx context.Context, pid int, timeout time.Duration) error {
	ended := make(chan struct{}) // Closed by the goroutine below.
	go func() {
		defer close(ended)
		for {
			err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	wait := func(until <-chan time.Time, done <-chan struct{}) (over bool) {
		for {
			select {
			case <-ended:
				return true
			case <-beat.C:
				r.Beat()
			case <-until:
				return false
			case <-done:
				return false
			}
		}
	}
	if wait(time.After(timeout), ctx.Done()) {
		return nil
	}
	cut := fmt.Errorf("it took longer than %s", timeout)
	if ctx.Err() != nil {
		if wait(time.After(min(orDefault(r.Grace), timeout)), nil) {
			return nil
		}
		cut = ErrInterrupted
	}
	_ = unix.Kill(-pid, unix.SIGTERM)
	wait(time.After(orDefault(r.KillAfter)), nil)
	_ = unix.Kill(-pid, unix.SIGKILL) // And what is left of the group.
	<-ended
	return cut
}

func orDefault(d time.Duration) time.Duration {
	if d == 0 {
		return 5 * time.Second
	}
	return d
}
