//go:build !lean

package lab

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Snapshot saves what the running cluster holds, as an operator does.
func (c *Cluster) Snapshot(to string) error {
	return c.tool("etcdctl", "--endpoints", c.Members[0].Endpoint(), "snapshot", "save", to)
}

// Return makes the stopped cluster one that holds what a snapshot does. The flags are
// those of "etcdutl snapshot restore".
func (c *Cluster) Return(snapshot string, flags ...string) error {
	var errs []error
	for i, e := range c.Members {
		args := []string{
			"snapshot", "restore", snapshot, "--name", fmt.Sprint("member", i), "--data-dir", e.Data(),
			"--initial-cluster", c.Initial(), "--initial-cluster-token", c.Token, "--initial-advertise-peer-urls", "http://" + c.Peers[i],
		}
		errs = append(errs, e.Wipe(), c.tool("etcdutl", append(args, flags...)...))
	}
	return errors.Join(errs...)
}

// tool runs a program that lies beside the server's.
func (c *Cluster) tool(name string, args ...string) error {
	cmd := exec.Command(filepath.Join(filepath.Dir(c.Options.Program), name), args...)
	cmd.Env = Environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w: %s", name, args, err, out)
	}
	return nil
}
