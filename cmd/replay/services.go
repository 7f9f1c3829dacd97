package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// tenant is the one tenant that is replayed to.
const tenant = "replay"

// services are etcd, a publisher of source and an agent that keeps target.
type services struct {
	bin, config, state string
	endpoint           string
	source, target     string

	commits *commits // what the publisher logs

	running []*process // in the order of their start
}

// startServices starts the services below dir. The source is published from the
// first: whoever calls hides what it does there behind a hold.
func startServices(ctx context.Context, o options, dir string) (s *services, err error) {
	s = &services{
		state: filepath.Join(dir, "state"), source: filepath.Join(dir, "source"), target: filepath.Join(dir, "target"),
		config: filepath.Join(dir, "confsyncd.toml"), commits: new(commits),
	}
	if s.bin, err = filepath.Abs(o.bin); err != nil {
		return nil, err
	}
	// Empty, and there: nothing that this machine's own file says gets in.
	if err := os.WriteFile(s.config, nil, 0o644); err != nil {
		return nil, err
	}
	if err := os.Mkdir(s.target, 0o755); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	if err := s.startEtcd(ctx, dir); err != nil {
		return nil, err
	}
	if err := s.hold(); err != nil {
		return nil, err
	}
	if err := s.start(dir, "publisher", s.commits, s.args("publish", s.source)...); err != nil {
		return nil, err
	}
	args := s.args("agent", s.target)
	if o.mode != "" {
		args = append(args, "--mode", o.mode)
	}
	return s, s.start(dir, "agent", nil, args...)
}

// start starts confsyncd with args, as the service called name.
func (s *services) start(dir, name string, tee io.Writer, args ...string) error {
	p, err := startProcess(dir, name, tee, filepath.Join(s.bin, "confsyncd"), args...)
	if err == nil {
		s.running = append(s.running, p)
	}
	return err
}

// startEtcd starts an etcd that keeps its data on disk, and waits until it serves.
func (s *services) startEtcd(ctx context.Context, dir string) error {
	client, peer, err := freeAddresses(ctx)
	if err != nil {
		return err
	}
	s.endpoint = "http://" + client
	p, err := startProcess(dir, "etcd", nil, filepath.Join(s.bin, "etcd"),
		"--name", tenant, "--data-dir", filepath.Join(dir, "etcd"),
		"--listen-client-urls", s.endpoint, "--advertise-client-urls", s.endpoint,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer,
		"--initial-cluster", tenant+"=http://"+peer)
	if err != nil {
		return err
	}
	p.raises = true
	s.running = append(s.running, p)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !healthy(ctx, s.endpoint) {
		if err := p.alive(); err != nil {
			return err
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("etcd does not serve: %w, see %s", err, p.log.Name())
		}
	}
	return nil
}

func healthy(ctx context.Context, endpoint string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/health", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close() //nolint:errcheck // Only the status is of interest.
	return response.StatusCode == http.StatusOK
}

// freeAddresses returns two addresses on the loopback interface that nobody listens
// on. RACE: another process may take one before etcd does; etcd ends then, and says so.
func freeAddresses(ctx context.Context) (client, peer string, err error) {
	var addresses [2]string
	for i := range addresses {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer l.Close() //nolint:errcheck // Nothing was accepted.
		addresses[i] = l.Addr().String()
	}
	return addresses[0], addresses[1], nil
}

// args returns the arguments for a subcommand that works on dir.
func (s *services) args(subcommand, dir string) []string {
	args := append(s.global(), subcommand, "--tenant", tenant, "--dir", dir)
	if dir == s.source {
		// What no commit can hold, instead of the default: everything is published.
		args = append(args, "--ignore", ".git/")
	}
	return args
}

// global returns the arguments that all subcommands take.
func (s *services) global() []string {
	return []string{"--config", s.config, "--endpoints", s.endpoint, "--state-dir", s.state, "--log-format", "json"}
}

// hold keeps the publisher from publishing until release.
func (s *services) hold() error {
	return os.WriteFile(filepath.Join(s.source, ".confsyncd-hold"), nil, 0o644)
}

// release ends a hold.
func (s *services) release() error {
	return os.Remove(filepath.Join(s.source, ".confsyncd-hold"))
}

// refused asks a dry run whether publishing waits for an operator, and returns why.
func (s *services) refused(ctx context.Context) (string, error) {
	_, err := s.command(ctx, append(s.args("push", s.source), "--dry-run")...)
	const refused = 5
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == refused {
		return string(bytes.TrimSpace(exit.Stderr)), nil
	}
	return "", err
}

// allowDelete publishes the source past the guard against mass deletion.
func (s *services) allowDelete(ctx context.Context) error {
	_, err := s.command(ctx, append(s.args("push", s.source), "--allow", "delete")...)
	return err
}

// head returns the generation at the head in etcd.
func (s *services) head(ctx context.Context) (uint64, error) {
	out, err := s.command(ctx, append(s.global(), "--tenant", tenant, "status", "-o", "json")...)
	if err != nil {
		return 0, err
	}
	var status struct {
		Tenants []struct {
			Tenant     string `json:"tenant"`
			Generation uint64 `json:"generation"`
		} `json:"tenants"`
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return 0, fmt.Errorf("confsyncd status: %w", err)
	}
	for _, t := range status.Tenants {
		if t.Tenant == tenant {
			return t.Generation, nil
		}
	}
	return 0, fmt.Errorf("confsyncd status: tenant %s is not there: %s", tenant, out)
}

func (s *services) command(ctx context.Context, args ...string) ([]byte, error) {
	return command(ctx, filepath.Join(s.bin, "confsyncd"), args...)
}

// alive returns an error if a service has ended.
func (s *services) alive() error {
	for _, p := range s.running {
		if err := p.alive(); err != nil {
			return err
		}
	}
	return nil
}

// stop ends the services, etcd last.
func (s *services) stop() error {
	var errs []error
	for len(s.running) > 0 {
		last := len(s.running) - 1
		errs = append(errs, s.running[last].stop())
		s.running = s.running[:last]
	}
	return errors.Join(errs...)
}

// bytesInUse returns the size in bytes of what etcd stores, its free pages aside.
func (s *services) bytesInUse(ctx context.Context) (int64, error) {
	out, err := command(ctx, filepath.Join(s.bin, "etcdctl"), "--endpoints", s.endpoint, "endpoint", "status", "-w", "json")
	if err != nil {
		return 0, err
	}
	var members []struct {
		Status struct {
			Bytes int64 `json:"dbSizeInUse"`
		}
	}
	if err := json.Unmarshal(out, &members); err != nil {
		return 0, fmt.Errorf("etcdctl endpoint status: %w", err)
	}
	if len(members) != 1 {
		return 0, fmt.Errorf("etcdctl endpoint status: %d members, want 1", len(members))
	}
	return members[0].Status.Bytes, nil
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
