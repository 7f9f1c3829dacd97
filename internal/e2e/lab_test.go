//go:build !lean

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// lab is an etcd, and hosts around it.
type lab struct {
	dir    string
	config string // an empty file: nothing that this machine's own says gets in
	etcd   *etcd
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{dir: t.TempDir()}
	l.config = filepath.Join(l.dir, "confsyncd.toml")
	if err := os.WriteFile(l.config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l.etcd = newEtcd(t, filepath.Join(l.dir, "etcd"))
	return l
}

// host is a machine: what it publishes or applies, and what it remembers.
type host struct {
	lab    *lab
	tenant string
	dir    string // source or target
	state  string
	via    string   // endpoint that it knows the etcd by
	log    string   // of its daemon
	daemon *process // nil while none runs
}

// host makes a machine with an empty directory.
func (l *lab) host(t testing.TB, tenant, name string) *host {
	t.Helper()
	base := filepath.Join(l.dir, tenant+"-"+name)
	h := &host{
		lab: l, tenant: tenant, dir: filepath.Join(base, "dir"), state: filepath.Join(base, "state"), via: l.etcd.endpoint(),
		log: filepath.Join(base, "log"),
	}
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if h.daemon != nil {
			_ = h.daemon.kill()
		}
	})
	return h
}

// global are the arguments that all subcommands take.
func (h *host) global(more ...string) []string {
	return append([]string{"--config", h.lab.config, "--endpoints", h.via, "--state-dir", h.state, "--log-format", "json"}, more...)
}

// start starts the host's daemon.
func (h *host) start(subcommand string, flags ...string) (err error) {
	args := append([]string{subcommand, "--tenant", h.tenant, "--dir", h.dir}, flags...)
	h.daemon, err = startProcess(h.log, nil, program, h.global(args...)...)
	return err
}

// stop ends the host's daemon.
func (h *host) stop() error {
	p := h.daemon
	h.daemon = nil
	return p.stop()
}

// ran is what a command that ended has done.
type ran struct {
	out, err string
	code     int
	user     time.Duration // of the processor, without the kernel's
}

func (r ran) String() string { return fmt.Sprintf("exit %d\n%s%s", r.code, r.out, r.err) }

// run runs push or pull on the host's directory.
func (h *host) run(t testing.TB, subcommand string, flags ...string) ran {
	t.Helper()
	return h.command(t, append([]string{subcommand, "--tenant", h.tenant, "--dir", h.dir}, flags...)...)
}

// command runs any command on the host.
func (h *host) command(t testing.TB, args ...string) ran {
	t.Helper()
	cmd := exec.Command(program, h.global(args...)...)
	cmd.Env = environment()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	state := cmd.ProcessState
	return ran{out: out.String(), err: errs.String(), code: state.ExitCode(), user: state.UserTime()}
}

// must runs push or pull, which must succeed.
func (h *host) must(t testing.TB, subcommand string, flags ...string) ran {
	t.Helper()
	r := h.run(t, subcommand, flags...)
	if r.code != 0 {
		t.Fatalf("confsyncd %s: %v", subcommand, r)
	}
	return r
}

// status is what confsyncd status tells of the tenant, and of the host's directory.
type status struct {
	Tenants []struct {
		TenantID   string `json:"tenant_id"`
		Generation uint64
		Founding   uint64
		Keyframe   uint64
	}
	Sources []struct{ State, Reason string }
	Targets []struct {
		State, Reason string
		Generation    uint64
		Behind        *uint64
		Pending       uint64
	}
}

func (h *host) status(t testing.TB) status {
	t.Helper()
	r := h.command(t, "status", "--tenant", h.tenant, "-o", "json")
	var s status
	if err := json.Unmarshal([]byte(r.out), &s); err != nil || len(s.Tenants) != 1 {
		t.Fatalf("confsyncd status: %v: %v", err, r)
	}
	return s
}

// generation is the tenant's newest.
func (h *host) generation(t testing.TB) uint64 {
	t.Helper()
	return h.status(t).Tenants[0].Generation
}
