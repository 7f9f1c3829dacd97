package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/store"
	"github.com/confsyncd/confsyncd/internal/supervise"
)

func (a *app) publishCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "publish",
		Short: "Publish directories as they change, until stopped",
		Long: `Publish watches each [[source]] of the configuration, or the one that --tenant
and --dir name, and commits what changes as one generation each time it settles.
It goes on while etcd is away, and stops on TERM or INT; HUP reads the
configuration again, USR1 looks at all files now.`,
		Args: arguments(),
	}
	flags := sourceFlags(cmd)
	takeOver := cmd.Flags().Bool("take-over", false, "publish over the head found at the start, whoever made it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		f := crew{app: a, kind: "source", services: func(c *config.Config, on *connection) ([]supervise.Service, error) {
			sources, err := a.sources(c, flags)
			if err != nil {
				return nil, err
			}
			services := make([]supervise.Service, len(sources))
			for i, s := range sources {
				if services[i], err = publisherService(c, s, on, *takeOver); err != nil {
					return nil, err
				}
			}
			*takeOver = false // what is started later finds another head
			return services, nil
		}}
		return f.run(cmd.Context())
	}
	return cmd
}

// publisherService publishes one source, made of all that its settings hold.
func publisherService(c *config.Config, s config.Source, on *connection, takeOver bool) (supervise.Service, error) {
	o := publisherOptions(c, s, on.etcd, on.log)
	if _, err := publisher.New(o); err != nil {
		return supervise.Service{}, err
	}
	s.Line = 0 // where it stands in the file is no setting
	type settings struct {
		source     config.Source
		connection int
	}
	var begun atomic.Bool // some run found a head
	return supervise.Service{
		Name: serviceName(s.Tenant, s.Dir), Settings: settings{s, on.number}, Log: on.log.With("tenant", s.Tenant, "path", s.Dir),
		New: func(hooks supervise.Hooks) (supervise.Task, error) {
			o, figures := o, on.metrics.Source(s.Tenant, s.Dir)
			o.TakeOver = takeOver && !begun.Load()
			running := sync.OnceFunc(func() {
				begun.Store(true)
				hooks.Ready()
			})
			o.Beat = func() {
				hooks.Beat()
				running()
			}
			var leads atomic.Bool
			sign := on.sign(s.Tenant)
			o.Status = func(now publisher.Status) {
				figures.Status(sourceFigures(now))
				hooks.Good(now.State == "live" || now.State == "beside" || now.State == "standby" || now.State == "busy")
				leads.Store(now.State == "live" || now.State == "beside" || now.State == "busy")
				sign.Set(now.Instance)
				hooks.Status(statusText(s.Tenant, now.Generation, now.Generation, now.State, now.Reason))
			}
			o.Committed = func(done publisher.Commit) { countCommit(figures, done) }
			o.Swept = func(went store.Count) { figures.Swept(went.Records, went.Packs, went.Bytes) }
			service, err := publisher.New(o)
			if err != nil {
				return supervise.Task{}, err
			}
			on.log.Info("publishing", "tenant", s.Tenant, "path", s.Dir, "publisher", s.Publisher, "endpoints", on.etcd.Endpoints())
			run := func(ctx context.Context) error {
				return publishing(s, c.StateDir, besides(ctx, service.Run, sign.Run, rollingOut(s, on, leads.Load)))
			}
			return supervise.Task{Run: run, Look: service.Rescan}, nil
		},
	}, nil
}

// publishing says what could not be published, and why if that is known here.
func publishing(s config.Source, stateDir string, err error) error {
	if errors.Is(err, publisher.ErrRunning) {
		err = fmt.Errorf("%w with the state directory %s; stop one of them", err, stateDir)
	}
	return about("publish", s.Tenant, s.Dir, err)
}

func publisherOptions(c *config.Config, s config.Source, etcd *store.Client, log hclog.Logger) publisher.Options {
	o := publisher.Options{
		Prefix: c.Etcd.Prefix, Tenant: s.Tenant, Dir: s.Dir, Name: s.Publisher, Settle: s.Settle, MaxDelay: s.MaxDelay, Rescan: s.Rescan,
		BusyFiles: s.BusyFiles, Ignore: s.Ignore, RefuseSymlinks: s.Symlinks == "refuse", GitModes: s.FileMode == "git", MaxFileSize: s.MaxFileSize, MaxDelete: s.MaxDelete,
		Channels: atOnce(s),
		Retain:   retention(s), Sweep: s.Sweep, StateDir: c.StateDir, Store: etcd.Tenant(s.Tenant), Log: log,
	}
	if s.Standby != "" {
		o.Standby, o.Copies = s.StandbyTTL, s.Standby == "copy"
		o.Host, _ = os.Hostname() // only told
	}
	return o
}
