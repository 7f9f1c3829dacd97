package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/fleet"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/rollout"
	"github.com/confsyncd/confsyncd/internal/store"
)

// plan returns how a source's commits are rolled out; ok is false if they are not.
func plan(s config.Source) (p rollout.Plan, ok bool) {
	r := s.Rollout
	if r == nil {
		return p, false
	}
	p = rollout.Plan{Channel: r.Channel, Policy: codec.RolloutPolicy{
		Bake: r.Bake, StageTimeout: r.StageTimeout, MaxFailures: r.MaxFailures, Rollback: r.OnHalt == "rollback",
	}}
	for _, stage := range r.Stages {
		p.Stages = append(p.Stages, codec.RolloutStage{Channel: stage.Channel, Label: stage.Label, Percent: uint32(math.Round(stage.Percent * 100))})
	}
	return p, true
}

// atOnce returns the channels that a source's commits advance: those that a rollout moves
// are not among them.
func atOnce(s config.Source) []string {
	names := slices.Clone(s.Channels)
	if p, ok := plan(s); ok {
		names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(p.Channels(), name) })
	}
	return names
}

// rollingOut returns what rolls a source's commits out while leads says so; nil if nothing
// does.
func rollingOut(s config.Source, on *connection, leads func() bool) func(context.Context) error {
	p, ok := plan(s)
	if !ok {
		return nil
	}
	tenant := on.etcd.Tenant(s.Tenant)
	return rollout.New(rollout.Options{
		Tenant: s.Tenant, Store: tenant, Plan: p, By: s.Publisher, Leads: leads, Log: on.log,
		Hosts: func(ctx context.Context) ([]fleet.Host, error) {
			seen, err := fleet.Read(ctx, tenant)
			return seen.Hosts, err
		},
		Rollback: func(ctx context.Context, generation uint64, parent uint64, message string) (uint64, error) {
			commit, err := publisher.Rollback(ctx, publisher.RollbackOptions{
				Store: tenant, Tenant: s.Tenant, Name: s.Publisher, Generation: generation, Parent: &parent, Message: message, Allow: publisher.Allow{Delete: true},
			})
			if err != nil || commit == nil {
				return 0, err
			}
			return commit.Position.Generation, nil
		},
	}).Run
}

// besides runs the first until it ends; the others, which may be nil, end with it, or with
// an error that ends all.
func besides(ctx context.Context, run func(context.Context) error, others ...func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g.Go(func() error {
		defer stop()
		return run(ctx)
	})
	for _, other := range others {
		if other != nil {
			g.Go(func() error { return other(ctx) })
		}
	}
	return g.Wait()
}

func (a *app) rolloutCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "Show and steer how a commit comes to the hosts",
		Long: `With [source.rollout] in a publisher's configuration, what it commits comes to the
hosts of a channel stage by stage. The publisher does that; these commands show it,
and say what it is to do, from any host that may write the tenant's keys.`,
		Args: known,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.rolloutStatusCommand(),
		a.steerCommand("pause", "Stay in this stage until resume", `Pause keeps the rollout in its stage until "confsyncd rollout resume". What is
published meanwhile waits too.`, rollout.Pause),
		a.steerCommand("resume", "Go on after a pause or a halt", `Resume lets a rollout go on that was paused or halted; its stage has all its time
again. A host that failed still counts until it is well: "confsyncd retry" there
makes it try the generation again.`, rollout.Resume),
		a.steerCommand("abort", "Give the rollout up", `Abort ends the rollout where it is: hosts that have the generation keep it, and no
other host gets it. "confsyncd rollback" takes it back. What is published next is
rolled out from the first stage on.`, rollout.Abort))
	return cmd
}

func (a *app) rolloutStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how far the last rollout has come",
		Args:  arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.look(cmd.Context(), func(ctx context.Context, l *look) error {
				_, r, err := l.store.Rollout(ctx)
				switch {
				case err != nil:
					return err
				case r.Err != nil:
					return r.Err
				case !r.Known:
					return noRollout(l.tenant, rollout.ErrNone)
				}
				return a.printRollout(l.tenant, r.Rollout)
			})
		},
	}
}

// steerCommand is a command that changes the state of the rollout.
func (a *app) steerCommand(name, short, long string, do func(context.Context, *store.Store, string) (codec.Rollout, error)) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Long: long, Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.look(cmd.Context(), func(ctx context.Context, l *look) error {
				r, err := do(ctx, l.store, operator())
				if err != nil {
					return noRollout(l.tenant, err)
				}
				return a.printRollout(l.tenant, r)
			})
		},
	}
}

// noRollout says what a rollout that cannot be steered waits for.
func noRollout(tenant string, err error) error {
	switch {
	case errors.Is(err, rollout.ErrNone):
		return fmt.Errorf("%w: %w of tenant %s; a [source.rollout] in its publisher's configuration makes commits come stage by stage", publisher.ErrRefused, err, tenant)
	case errors.Is(err, rollout.ErrOver):
		return fmt.Errorf("%w: %w; \"confsyncd rollout status\" shows it", publisher.ErrRefused, err)
	}
	return err
}

// rolloutFacts are what -o json tells of a rollout.
type rolloutFacts struct {
	Tenant     string       `json:"tenant"`
	Channel    string       `json:"channel"`
	Generation uint64       `json:"generation"`
	Commit     string       `json:"commit"`
	From       uint64       `json:"from"`
	State      string       `json:"state"`
	Reason     string       `json:"reason,omitempty"`
	Stage      int          `json:"stage"` // from 1
	Stages     []stageFacts `json:"stages"`
	Began      time.Time    `json:"began"`
	StageBegan time.Time    `json:"stage_began"`
	Healthy    time.Time    `json:"healthy,omitzero"`
	RolledBack uint64       `json:"rolled_back,omitempty"`
	By         string       `json:"by"`
	Time       time.Time    `json:"time"`
}

type stageFacts struct {
	Name    string `json:"name"`
	Channel string `json:"channel,omitempty"`
	Label   string `json:"label,omitempty"`
	Percent uint32 `json:"percent,omitempty"`
	State   string `json:"state"` // "done", "running", "waiting", or that of a rollout that stays there
}

func rolloutFactsOf(tenant string, r codec.Rollout) rolloutFacts {
	f := rolloutFacts{
		Tenant: tenant, Channel: r.Channel, Generation: r.Generation, Commit: r.Commit, From: r.From, State: r.State, Reason: r.Reason, Stage: r.Stage + 1,
		Began: r.Began, StageBegan: r.StageBegan, Healthy: r.Healthy, RolledBack: r.RolledBack, By: r.By, Time: r.Time,
	}
	for i, s := range r.Stages {
		state := "waiting"
		switch {
		case i < r.Stage:
			state = codec.RolloutDone
		case i == r.Stage:
			state = r.State
		}
		f.Stages = append(f.Stages, stageFacts{Name: rollout.Describe(s), Channel: s.Channel, Label: s.Label, Percent: s.Percent, State: state})
	}
	return f
}

func (a *app) printRollout(tenant string, r codec.Rollout) error {
	f := rolloutFactsOf(tenant, r)
	if a.output == "json" {
		return a.json(f)
	}
	reason := ""
	if f.Reason != "" {
		reason = ": " + printable(f.Reason)
	}
	if err := a.printf("%s: generation %d, after %d, to the hosts of channel %s: %s%s\n", tenant, f.Generation, f.From, said(f.Channel), word(f.State), reason); err != nil {
		return err
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STAGE\tHOSTS\tSTATE\tSINCE")
	for i, s := range f.Stages {
		since := ""
		if i == r.Stage {
			since = f.StageBegan.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", i+1, printable(s.Name), word(s.State), since)
	}
	return w.Flush()
}

// word shows a state as a person reads it.
func word(state string) string { return said(strings.ReplaceAll(state, "_", " ")) }
