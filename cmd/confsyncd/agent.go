package main

import (
	"context"
	"runtime/debug"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/hook"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/store"
	"github.com/confsyncd/confsyncd/internal/supervise"
)

func (a *app) agentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Keep directories equal to what is published, until stopped",
		Long: `Agent keeps each [[target]] of the configuration, or the one that --tenant and
--dir name, equal to its tenant. Without etcd it keeps the files and goes on
trying. It stops on TERM or INT after the apply in hand; HUP reads the
configuration again, USR1 looks at all files now.`,
		Args: arguments(),
	}
	flags := targetFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		f := crew{app: a, kind: "target", services: func(c *config.Config, on *connection) ([]supervise.Service, error) {
			targets, err := a.targets(c, flags)
			if err != nil {
				return nil, err
			}
			services := make([]supervise.Service, len(targets))
			for i, t := range targets {
				if services[i], err = agentService(c, t, on); err != nil {
					return nil, err
				}
			}
			return services, nil
		}}
		return f.run(cmd.Context())
	}
	return cmd
}

// agentService keeps one target, made of all that its settings hold.
func agentService(c *config.Config, t config.Target, on *connection) (supervise.Service, error) {
	o, err := agentOptions(c, t, on.etcd, on.log)
	if err != nil {
		return supervise.Service{}, err
	}
	t.Line = 0 // where it stands in the file is no setting
	type settings struct {
		target     config.Target
		uid, gid   int // of its names, which /etc/passwd may have changed
		connection int
	}
	return supervise.Service{
		Name: serviceName(t.Tenant, t.Dir), Settings: settings{t, o.UID, o.GID, on.number}, Log: on.log.With("tenant", t.Tenant, "path", t.Dir),
		New: func(hooks supervise.Hooks) (supervise.Task, error) {
			o, figures, reporter := o, on.metrics.Target(t.Tenant, t.Dir), on.reporter(t.Tenant)
			o.Beat, o.Ready = hooks.Beat, hooks.Ready
			o.Rested = debug.FreeOSMemory // The runtime would keep for hours what a large apply took.
			o.Applied = func(done agent.Applied) { countApply(figures, done) }
			o.Repaired, o.Hooked = figures.Repaired, figures.Hooked
			o.Status = func(s agent.Status) {
				figures.Status(targetFigures(s))
				reporter.Set(hostTarget(t, s))
				hooks.Good(s.Applied > 0)
				hooks.Status(statusText(t.Tenant, s.Applied, s.Head, s.State, s.Reason))
			}
			on.log.Info("applying", "tenant", t.Tenant, "path", t.Dir, "endpoints", on.etcd.Endpoints())
			service := agent.New(o)
			run := func(ctx context.Context) error {
				return besides(ctx, service.Run, func(ctx context.Context) error { return reporter.Attend(ctx, t.Dir) })
			}
			return supervise.Task{Run: run, Look: service.Verify}, nil
		},
	}, nil
}

func agentOptions(c *config.Config, t config.Target, etcd *store.Client, log hclog.Logger) (agent.Options, error) {
	uid, gid, err := t.Ownership()
	if err != nil {
		return agent.Options{}, configError{err}
	}
	return agent.Options{
		Channel: t.Channel, Host: agent.Host{ID: hostID(c), Labels: c.Host.Labels},
		Prefix: c.Etcd.Prefix, Tenant: t.Tenant, Dir: t.Dir, Mode: install.Mode(t.Mode), Paths: t.Paths, StripPrefix: t.StripPrefix, UID: uid, GID: gid,
		FileMode: t.FileMode, ReplaceExisting: t.Existing == "replace", ReportDrift: t.Drift == "report", StateDir: c.StateDir,
		Store: etcd.Tenant(t.Tenant), Log: log, Hooks: hooks(t.Hooks),
	}, nil
}

func hooks(h config.Hooks) agent.Hooks {
	return agent.Hooks{
		Check:  hook.Hook{Argv: h.Check, Timeout: h.CheckTimeout},
		Reload: hook.Hook{Argv: h.Reload, Timeout: h.ReloadTimeout}, ReloadPaths: h.ReloadPaths, MinInterval: h.MinInterval, Splay: h.Splay,
		Health: hook.Hook{Argv: h.Health, Timeout: h.HealthTimeout}, Keep: h.OnFailure == "keep",
	}
}
