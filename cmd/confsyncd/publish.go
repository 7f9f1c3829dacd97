package main

import (
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/hashicorp/go-hclog"

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
		Args: cobra.NoArgs,
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
		g, ctx := errgroup.WithContext(cmd.Context())
		for _, s := range sources {
			o := publisherOptions(c, s, etcd, log)
			o.TakeOver = *takeOver
			p, err := publisher.New(o)
			if err != nil {
				return err
			}
			log.Info("publishing", "tenant", s.Tenant, "path", s.Dir, "publisher", s.Publisher, "endpoints", etcd.Endpoints())
			g.Go(func() error { return p.Run(ctx) })
		}
		err = g.Wait()
		return firstError(err, etcd.Close())
	}
	return cmd
}

func publisherOptions(c *config.Config, s config.Source, etcd *store.Client, log hclog.Logger) publisher.Options {
	return publisher.Options{
		Prefix: c.Etcd.Prefix, Tenant: s.Tenant, Dir: s.Dir, Name: s.Publisher, Settle: s.Settle, MaxDelay: s.MaxDelay, Rescan: s.Rescan,
		BusyFiles: s.BusyFiles, Ignore: s.Ignore, RefuseSymlinks: s.Symlinks == "refuse", MaxFileSize: s.MaxFileSize, MaxDelete: s.MaxDelete,
		StateDir: c.StateDir, Store: etcd.Tenant(s.Tenant), Log: log,
	}
}

// firstError returns the first of the errors; those of closing come last and matter
// only if nothing else went wrong.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
