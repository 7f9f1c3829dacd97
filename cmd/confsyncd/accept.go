package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/journal"
	"github.com/confsyncd/confsyncd/internal/store"
)

// accepted is what accept prints with -o json.
type accepted struct {
	Dir        string `json:"dir"`
	Tenant     string `json:"tenant"`
	TenantID   string `json:"tenant_id"`
	Generation uint64 `json:"generation"`
	From       uint64 `json:"from"`
	Accepted   bool   `json:"accepted"`
}

func (a *app) acceptCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "accept DIR",
		Short: "Let one target go on from a rewound or replaced history",
		Long: `Accept lets the target at DIR follow the head that is in etcd now, although it
does not follow from what the target has: after etcd and the publisher's memory
were lost, or the tenant was made anew. The agent goes on within seconds, or with
the next pull. To lead all hosts on, use "confsyncd push --found" instead.`,
		Args: arguments("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := absolute(args[0])
			if err != nil {
				return usage("%w", err)
			}
			c, err := a.load()
			if err != nil {
				return err
			}
			return a.accept(cmd.Context(), c, dir)
		},
	}
}

func (a *app) accept(ctx context.Context, c *config.Config, dir string) error {
	state, _, err := install.ReadState(dir)
	if errors.Is(err, journal.ErrNone) {
		return usage("%s is no target: it has no journal, so there is nothing to accept", dir)
	}
	if err != nil {
		return err
	}
	log, err := a.logger(c, false)
	if err != nil {
		return configError{err}
	}
	tenant := state.Meta.Tenant
	c.Etcd.Prefix = state.Meta.Prefix
	etcd := client(c, log)
	var view store.View
	var follows bool
	err = withPatience(ctx, etcd, func(ctx context.Context) (err error) {
		view, follows, err = headFor(ctx, etcd.Tenant(tenant), state.Position)
		return err
	})
	if err := firstError(about("accept", tenant, dir, err), etcd.Close()); err != nil {
		return err
	}
	if !follows {
		if err := install.Accept(dir, view.Head.Position); err != nil {
			return about("accept", tenant, dir, err)
		}
	}
	r := accepted{
		Dir: dir, Tenant: tenant, TenantID: view.Head.Position.Tenant.String(), Generation: view.Head.Position.Generation,
		From: state.Position.Generation, Accepted: !follows,
	}
	if a.output == "json" {
		return a.json(r)
	}
	if follows {
		return a.printf("%s: nothing to accept: generation %d of tenant %s follows from generation %d here\n", dir, r.Generation, tenant, r.From)
	}
	return a.printf("%s: goes on from generation %d of tenant %s (id %s, published by %s); it is at generation %d\n",
		dir, r.Generation, tenant, r.TenantID, printable(view.Head.Publisher), r.From)
}

// errNoHead says that there is no head that could be accepted.
var errNoHead = errors.New("the tenant has no commit in etcd, so there is nothing to accept")

// headFor returns what is known of the head, and whether a target at the given
// position follows it anyway.
func headFor(ctx context.Context, s *store.Store, at diff.Position) (view store.View, follows bool, err error) {
	err = s.WithHead(ctx, func(v store.View) (err error) {
		view = v
		switch {
		case v.Err != nil:
			return v.Err
		case v.Head == nil:
			return errNoHead
		case v.Head.Position.Tenant != at.Tenant:
			follows = false
		case at.Generation < v.Head.Founding:
			follows = true
		default:
			follows, err = s.Holds(ctx, v, at)
		}
		return err
	})
	return view, follows, err
}
