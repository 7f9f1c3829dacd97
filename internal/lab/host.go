package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// Host is a machine: what it publishes or applies, and what it remembers.
type Host struct {
	Lab    *Lab
	Tenant string
	Dir    string // source or target
	State  string
	Via    string // endpoint that it knows the etcd by
	// Through is what the program is run by, with arguments of its own, such as setpriv or
	// unshare; nil: by nothing.
	Through []string
	Config  string   // its configuration file: an empty one, unless a test writes another
	Log     string   // of its daemon
	Env     []string // of its processes, besides what all have
	Daemon  *Process // nil while none runs
}

// Host makes a machine with an empty directory.
func (l *Lab) Host(t testing.TB, tenant, name string) *Host {
	t.Helper()
	base := filepath.Join(l.Dir, tenant+"-"+name)
	h := &Host{
		Lab: l, Tenant: tenant, Dir: filepath.Join(base, "dir"), State: filepath.Join(base, "state"), Via: l.Etcd.Endpoint(), Config: l.Config,
		Log: filepath.Join(base, "log"),
	}
	if err := os.MkdirAll(h.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if h.Daemon != nil {
			_ = h.Daemon.Kill()
		}
	})
	return h
}

// argv is what runs the program, with the arguments that all subcommands take.
func (h *Host) argv(more ...string) []string {
	return slices.Concat(h.Through, []string{
		h.Lab.Program, "--config", h.Config, "--endpoints", h.Via, "--state-dir", h.State, "--log-format", "json",
	}, more)
}

// Start starts the host's daemon.
func (h *Host) Start(subcommand string, flags ...string) (err error) {
	args := append([]string{subcommand, "--tenant", h.Tenant, "--dir", h.Dir}, flags...)
	argv := h.argv(args...)
	h.Daemon, err = Start(h.Log, h.Env, argv[0], argv[1:]...)
	return err
}

// StartConfigured starts the host's daemon, which does what its configuration file says.
func (h *Host) StartConfigured(subcommand string) (err error) {
	argv := h.argv(subcommand)
	h.Daemon, err = Start(h.Log, h.Env, argv[0], argv[1:]...)
	return err
}

// StartTraced starts the host's daemon, or a command that is to be interrupted, traced.
func (h *Host) StartTraced(tr *Trace, subcommand string, flags ...string) (err error) {
	args := append([]string{subcommand, "--tenant", h.Tenant, "--dir", h.Dir}, flags...)
	argv := h.argv(args...)
	h.Daemon, err = StartTraced(tr, h.Log, h.Env, argv[0], argv[1:]...)
	return err
}

// Stop ends the host's daemon.
func (h *Host) Stop() error {
	p := h.Daemon
	h.Daemon = nil
	return p.Stop()
}

// Ran is what a command that ended has done.
type Ran struct {
	Out, Err string
	Code     int
	User     time.Duration // of the processor, without the kernel's
	Memory   int64         // the most that it had resident, in bytes, but for its last moments
}

func (r Ran) String() string { return fmt.Sprintf("exit %d\n%s%s", r.Code, r.Out, r.Err) }

// Run runs push or pull on the host's directory.
func (h *Host) Run(t testing.TB, subcommand string, flags ...string) Ran {
	t.Helper()
	return h.Command(t, append([]string{subcommand, "--tenant", h.Tenant, "--dir", h.Dir}, flags...)...)
}

// Command runs any command on the host.
func (h *Host) Command(t testing.TB, args ...string) Ran {
	t.Helper()
	argv := h.argv(args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(Environment(), h.Env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// A command that hangs tells where.
	late := time.AfterFunc(10*time.Minute, func() {
		t.Errorf("%q runs for 10 minutes", args)
		_ = cmd.Process.Signal(syscall.SIGQUIT)
	})
	defer late.Stop()
	ended, peaked := make(chan struct{}), make(chan int64, 1)
	go func() { peaked <- peak(cmd.Process.Pid, ended) }()
	err := cmd.Wait()
	close(ended)
	most := <-peaked
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	state := cmd.ProcessState
	return Ran{Out: out.String(), Err: errs.String(), Code: state.ExitCode(), User: state.UserTime(), Memory: most}
}

// peak looks how much memory a process has until it has ended. What wait(2) tells counts
// what its parent had before the exec.
func peak(pid int, ended <-chan struct{}) (most int64) {
	for {
		if m, err := PeakMemory(pid); err == nil {
			most = m
		}
		select {
		case <-ended:
			return most
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Must runs push or pull, which must succeed.
func (h *Host) Must(t testing.TB, subcommand string, flags ...string) Ran {
	t.Helper()
	r := h.Run(t, subcommand, flags...)
	if r.Code != 0 {
		t.Fatalf("confsyncd %s: %v", subcommand, r)
	}
	return r
}

// Status is what "confsyncd status" tells of the tenant, and of the host's directory.
type Status struct {
	Tenants []struct {
		TenantID   string `json:"tenant_id"`
		Generation uint64
		Founding   uint64
		Keyframe   uint64
	}
	Sources []struct {
		State, Reason string
		Held          []string
	}
	Targets []struct {
		State, Reason string
		Generation    uint64
		Behind        *uint64
		Pending       uint64
	}
}

// Status asks "confsyncd status", which must answer.
func (h *Host) Status(t testing.TB) Status {
	t.Helper()
	r := h.Command(t, "status", "--tenant", h.Tenant, "-o", "json")
	var s Status
	if err := json.Unmarshal([]byte(r.Out), &s); err != nil || len(s.Tenants) != 1 {
		t.Fatalf("confsyncd status: %v: %v", err, r)
	}
	return s
}

// Report asks "confsyncd status" about the host's directory, whatever becomes of the rest.
func (h *Host) Report(t testing.TB) Status {
	t.Helper()
	var s Status
	r := h.Command(t, "status", "-o", "json")
	if err := json.Unmarshal([]byte(r.Out), &s); err != nil {
		t.Fatalf("confsyncd status: %v: %v", err, r)
	}
	return s
}

// Generation is the tenant's newest.
func (h *Host) Generation(t testing.TB) uint64 {
	t.Helper()
	return h.Status(t).Tenants[0].Generation
}
