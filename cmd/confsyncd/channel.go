package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/store"
)

// channelFacts are what -o json tells of a channel.
type channelFacts struct {
	Tenant     string `json:"tenant"`
	Channel    string `json:"channel"`
	Generation uint64 `json:"generation"`
	Commit     string `json:"commit"`
	Head       uint64 `json:"head"`
	// Behind is by how many generations the channel is behind the head.
	Behind uint64 `json:"behind"`
	// Time is when its generation was committed; nil if that is no longer known.
	Time    *time.Time `json:"time,omitempty"`
	Message string     `json:"message,omitempty"`
	// Ahead is the generation that some of the channel's hosts follow already, in a rollout.
	Ahead uint64 `json:"ahead,omitempty"`
}

func (a *app) channelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "channel",
		Short: "Show and move the generations that agents follow",
		Long: `A channel is a named pointer to a generation. Agents follow the one that their
configuration names, main unless said otherwise. Each commit advances those that
the publisher's configuration names, and leaves the others where they are.`,
		Args: known,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.channelListCommand(), a.channelPromoteCommand(), a.channelDeleteCommand())
	return cmd
}

func (a *app) channelListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the channels, and what each is at",
		Args:  arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.look(cmd.Context(), a.listChannels)
		},
	}
}

func (a *app) listChannels(ctx context.Context, l *look) error {
	var list []channelFacts
	for _, c := range l.view.Head.AllChannels() {
		f, err := l.channel(ctx, c)
		if err != nil {
			return err
		}
		list = append(list, f)
	}
	if a.output == "json" {
		for _, f := range list {
			if err := a.json(f); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CHANNEL\tGENERATION\tBEHIND\tCOMMITTED\tMESSAGE")
	for _, f := range list {
		when, generation := "-", fmt.Sprint(f.Generation)
		if f.Time != nil {
			when = f.Time.Local().Format(time.DateTime)
		}
		if f.Ahead > 0 {
			generation += fmt.Sprintf(" (some hosts: %d)", f.Ahead)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", f.Channel, generation, f.Behind, when, printable(f.Message))
	}
	return w.Flush()
}

// channel returns what is known of a channel.
func (l *look) channel(ctx context.Context, c codec.Channel) (channelFacts, error) {
	head := l.view.Head
	f := channelFacts{
		Tenant: l.tenant, Channel: c.Name, Generation: c.Generation, Commit: c.Commit.String(),
		Head: head.Position.Generation, Behind: head.Position.Generation - c.Generation,
	}
	if head.Ahead != nil && head.Ahead.Channel == c.Name {
		f.Ahead = head.Ahead.Generation
	}
	r, _, err := l.store.Record(ctx, l.view, c.Generation)
	switch {
	case errors.Is(err, store.ErrGone):
	case err != nil:
		return f, err
	default:
		f.Time, f.Message = &r.Time, r.Message
	}
	return f, nil
}

func (a *app) channelPromoteCommand() *cobra.Command {
	var to *uint64
	cmd := &cobra.Command{
		Use:   "promote FROM TO",
		Short: "Bring a channel to what another one is at",
		Long: `Promote makes the channel TO point to the generation that FROM is at, or to an
earlier one of FROM's history that --generation names, and makes TO if there is no
such channel. Agents that follow TO apply it at once. A channel never goes back to
an older generation: exit 5.`,
		Args: arguments("FROM", "TO"),
	}
	cmd.Flags().Var(into(&to, "generation", func(s string) (*uint64, error) {
		g, err := committed(s)
		return &g, err
	}), "generation", "the generation that TO comes to (default what FROM is at)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, name := range args {
			if err := codec.CheckChannel(name); err != nil {
				return usageError{err}
			}
		}
		return a.look(cmd.Context(), func(ctx context.Context, l *look) error {
			return a.promote(ctx, l, args[0], args[1], to)
		})
	}
	return cmd
}

// promoted is what promote prints with -o json.
type promoted struct {
	Tenant     string `json:"tenant"`
	Channel    string `json:"channel"`
	Generation uint64 `json:"generation"`
	Commit     string `json:"commit"`
	From       uint64 `json:"from"` // the channel's generation before; 0 if it is new
}

func (a *app) promote(ctx context.Context, l *look, from, to string, generation *uint64) error {
	source, ok := l.view.Head.On(from)
	if !ok {
		return a.noChannel(l, from)
	}
	target := source
	if generation != nil {
		if *generation > source.Generation {
			return refused("promote from a channel that has it, or an earlier generation",
				"channel %s has not come to generation %d: it is at %d", from, *generation, source.Generation)
		}
		var err error
		if target, err = l.store.Retained(ctx, l.view, *generation); err != nil {
			return err
		}
	}
	before, _ := l.view.Head.On(to)
	if _, err := l.store.MoveChannel(ctx, to, target); err != nil {
		return movedBack(err, target.Generation)
	}
	p := promoted{Tenant: l.tenant, Channel: to, Generation: target.Generation, Commit: target.Commit.String(), From: before.Generation}
	switch {
	case a.output == "json":
		return a.json(p)
	case before == target:
		return a.printf("channel %s is at generation %d already\n", to, target.Generation)
	case before == diff.Position{}:
		return a.printf("made channel %s at generation %d\n", to, target.Generation)
	}
	return a.printf("channel %s: from generation %d to %d\n", to, before.Generation, target.Generation)
}

// movedBack adds to a refusal what to do instead.
func movedBack(err error, generation uint64) error {
	if !errors.Is(err, store.ErrBackwards) {
		return err
	}
	return fmt.Errorf("%w: %w; \"confsyncd rollback %d\" makes a new generation of the old content: promote that", publisher.ErrRefused, err, generation)
}

// refused returns an error that says what is the matter and what to do about it.
func refused(remedy, format string, args ...any) error {
	return fmt.Errorf("%w: %s; %s", publisher.ErrRefused, fmt.Sprintf(format, args...), remedy)
}

func (a *app) noChannel(l *look, name string) error {
	return refused("\"confsyncd channel list\" shows those that are there", "tenant %s has no channel %s", l.tenant, name)
}

func (a *app) channelDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Take a channel away",
		Long: `Delete takes a channel away. Agents that follow it keep their files and wait until
there is a channel of that name again. The channel main stays.`,
		Args: arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.look(cmd.Context(), func(ctx context.Context, l *look) error {
				return a.deleteChannel(ctx, l, args[0])
			})
		},
	}
}

func (a *app) deleteChannel(ctx context.Context, l *look, name string) error {
	at, ok := l.view.Head.On(name)
	switch {
	case !ok:
		return a.noChannel(l, name)
	case name == codec.MainChannel:
		return refused("delete another", "channel %s is what agents follow unless said otherwise", name)
	}
	if _, err := l.store.DeleteChannel(ctx, name); err != nil && !errors.Is(err, store.ErrNoChannel) {
		return err
	}
	if a.output == "json" {
		return a.json(promoted{Tenant: l.tenant, Channel: name, From: at.Generation})
	}
	return a.printf("channel %s is gone; it was at generation %d\n", name, at.Generation)
}
