package main

import (
	"errors"
	"fmt"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/store"
)

func (a *app) publishCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "publish",
		Short: "Publish directories as they change, until stopped",
		Long: `Publish watches each [[source]] of the configuration, or the one that --tenant
and --dir name, and commits what changes as one generation each time it settles.
It goes on while etcd is away, and stops on TERM or INT.`,
		Args: arguments(),
	}
	flags := sourceFlags(cmd)
	takeOver := cmd.Flags().Bool("take-over", false, "publish over the head found at the start, whoever made it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.load()
		if err != nil {
			return err
		}
		sources, err := a.sources(c, flags)
		if err != nil {
			return err
		}
		log, err := a.logger(c, true)
		if err != nil {
			return configError{err}
		}
		etcd := client(c, log)
		publishers := make([]*publisher.Publisher, len(sources))
		for i, s := range sources {
			o := publisherOptions(c, s, etcd, log)
			o.TakeOver = *takeOver
			if publishers[i], err = publisher.New(o); err != nil {
				return err
			}
		}
		g, ctx := errgroup.WithContext(cmd.Context())
		for i, s := range sources {
			log.Info("publishing", "tenant", s.Tenant, "path", s.Dir, "publisher", s.Publisher, "endpoints", etcd.Endpoints())
			g.Go(func() error { return publishing(s, c.StateDir, publishers[i].Run(ctx)) })
		}
		err = firstError(g.Wait(), etcd.Close())
		if err == nil {
			log.Info("stopped")
		}
		return err
	}
	return cmd
}

// publishing says what could not be published, and why if that is known here.
func publishing(s config.Source, stateDir string, err error) error {
	if errors.Is(err, publisher.ErrRunning) {
		err = fmt.Errorf("%w with the state directory %s; stop one of them", err, stateDir)
	}
	return about("publish", s.Tenant, s.Dir, err)
}

func publisherOptions(c *config.Config, s config.Source, etcd *store.Client, log hclog.Logger) publisher.Options {
	return publisher.Options{
		Prefix: c.Etcd.Prefix, Tenant: s.Tenant, Dir: s.Dir, Name: s.Publisher, Settle: s.Settle, MaxDelay: s.MaxDelay, Rescan: s.Rescan,
		BusyFiles: s.BusyFiles, Ignore: s.Ignore, RefuseSymlinks: s.Symlinks == "refuse", GitModes: s.FileMode == "git", MaxFileSize: s.MaxFileSize, MaxDelete: s.MaxDelete,
		StateDir: c.StateDir, Store: etcd.Tenant(s.Tenant), Log: log,
	}
}
