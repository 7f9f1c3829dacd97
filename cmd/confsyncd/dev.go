//go:build !lean

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/devetcd"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/report"
	"github.com/confsyncd/confsyncd/internal/store"
)

const devTenant = "dev"

func (a *app) addDev(root *cobra.Command) {
	root.Long += "\n\nTry it out: confsyncd dev SOURCE TARGET"
	root.AddCommand(a.devCommand())
}

func (a *app) devCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "dev SOURCE TARGET",
		Short: "Try it out: etcd, publisher and agent in one process",
		Long: `Dev publishes SOURCE and keeps TARGET equal to it, through an etcd inside this
process whose data lies in the state directory, until stopped with Ctrl-C. It
prints one line for each changeset. TARGET is made if it is missing.`,
		Args: arguments("SOURCE", "TARGET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			source, err := absolute(args[0])
			if err != nil {
				return usage("SOURCE: %w", err)
			}
			target, err := absolute(args[1])
			if err != nil {
				return usage("TARGET: %w", err)
			}
			return a.dev(cmd.Context(), c, source, target)
		},
	}
}

func (a *app) dev(ctx context.Context, c *config.Config, source, target string) error {
	s, t := config.DefaultSource(), config.DefaultTarget()
	s.Tenant, s.Dir, s.Publisher = devTenant, source, "dev"
	t.Tenant, t.Dir = devTenant, target
	c.Sources, c.Targets = []config.Source{s}, []config.Target{t}
	if faults := c.Check(); len(faults) > 0 {
		return usageError{asArguments(faults)}
	}
	switch info, err := os.Stat(source); {
	case errors.Is(err, fs.ErrNotExist):
		return usage("SOURCE %s does not exist; make the directory first", printable(source))
	case err != nil:
		return fmt.Errorf("SOURCE: %w", err)
	case !info.IsDir():
		return usage("SOURCE %s is not a directory", printable(source))
	}
	log, err := a.logger(c, false)
	if err != nil {
		return configError{err}
	}
	c.StateDir = filepath.Join(c.StateDir, "dev", report.Key("dev", c.Etcd.Prefix, source, target))
	if err := os.MkdirAll(filepath.Join(c.StateDir, "etcd"), 0o700); err != nil {
		return err
	}
	lock, err := lockDev(c.StateDir)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // Nothing was written.
	server, err := devetcd.Start(ctx, devetcd.Options{Dir: filepath.Join(c.StateDir, "etcd"), Log: a.serverLog(log)})
	if err != nil {
		if ctx.Err() != nil {
			return nil // stopped before it had begun
		}
		return err
	}
	defer server.Close()
	c.Etcd.Endpoints = []string{server.Endpoint()}
	if err := a.printf("source  %s\ntarget  %s\netcd    %s\n\nEdit files in the source and watch the target. Stop with Ctrl-C.\n\n", source, target, server.Endpoint()); err != nil {
		return err
	}
	etcd := client(c, log)
	err = a.devRun(ctx, c, etcd, log, server)
	return firstError(err, etcd.Close())
}

// lockDev keeps a second dev from waiting for the first one's etcd, which it would do
// without a word.
func lockDev(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errors.New("dev runs already with this SOURCE and TARGET; stop it first")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// asArguments makes faults name the arguments that they come from.
func asArguments(faults config.Faults) config.Faults {
	names := strings.NewReplacer("source[0].dir", "SOURCE", "source[0]", "SOURCE", "target[0].dir", "TARGET", "target[0]", "TARGET")
	for i, f := range faults {
		faults[i].Key, faults[i].Problem = names.Replace(f.Key), names.Replace(f.Problem)
	}
	return faults
}

// serverLog is the embedded etcd's: what it says of its own start and end is noise for
// who tries confsyncd out, and what matters comes back as errors.
func (a *app) serverLog(log hclog.Logger) hclog.Logger {
	if a.given("log-level") {
		return log
	}
	return hclog.NewNullLogger()
}

// devRun runs publisher and agent until ctx ends or the server fails.
func (a *app) devRun(ctx context.Context, c *config.Config, etcd *store.Client, log hclog.Logger, server *devetcd.Server) error {
	lines := newDevLines(a, c.Sources[0].Dir)
	po := publisherOptions(c, c.Sources[0], etcd, log)
	po.Committed = lines.committed
	p, err := publisher.New(po)
	if err != nil {
		return err
	}
	ao, err := agentOptions(c, c.Targets[0], etcd, log)
	if err != nil {
		return err
	}
	ao.Applied, ao.InSync = lines.applied, lines.inSync
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.Run(ctx) })
	g.Go(func() error { return agent.New(ao).Run(ctx) })
	g.Go(func() error { return lines.run(ctx) })
	g.Go(func() error {
		select {
		case err := <-server.Err():
			return err
		case <-ctx.Done():
			return nil
		}
	})
	return g.Wait()
}
