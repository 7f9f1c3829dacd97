package main

import (
	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/store"
)

func (a *app) agentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Keep directories equal to what is published, until stopped",
		Long: `Agent keeps each [[target]] of the configuration, or the one that --tenant and
--dir name, equal to its tenant. Without etcd it keeps the files and goes on
trying. It stops on TERM or INT after the apply in hand.`,
		Args: arguments(),
	}
	flags := targetFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.load()
		if err != nil {
			return err
		}
		targets, err := a.targets(c, flags)
		if err != nil {
			return err
		}
		log, err := a.logger(c, true)
		if err != nil {
			return configError{err}
		}
		etcd := client(c, log)
		agents := make([]*agent.Agent, len(targets))
		for i, t := range targets {
			o, err := agentOptions(c, t, etcd, log)
			if err != nil {
				return err
			}
			agents[i] = agent.New(o)
		}
		g, ctx := errgroup.WithContext(cmd.Context())
		for i, t := range targets {
			log.Info("applying", "tenant", t.Tenant, "path", t.Dir, "endpoints", etcd.Endpoints())
			g.Go(func() error { return agents[i].Run(ctx) })
		}
		err = firstError(g.Wait(), etcd.Close())
		if err == nil {
			log.Info("stopped")
		}
		return err
	}
	return cmd
}

func agentOptions(c *config.Config, t config.Target, etcd *store.Client, log hclog.Logger) (agent.Options, error) {
	uid, gid, err := t.Ownership()
	if err != nil {
		return agent.Options{}, configError{err}
	}
	return agent.Options{
		Prefix: c.Etcd.Prefix, Tenant: t.Tenant, Dir: t.Dir, Paths: t.Paths, StripPrefix: t.StripPrefix, UID: uid, GID: gid,
		FileMode: t.FileMode, ReplaceExisting: t.Existing == "replace", ReportDrift: t.Drift == "report", StateDir: c.StateDir, Store: etcd.Tenant(t.Tenant), Log: log,
	}, nil
}
