package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/config"
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
}

func (a *app) acceptCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "accept DIR",
		Short: "Let one target go on from a rewound or replaced history",
		Long: `Accept lets the target at DIR follow the head that is in etcd now, although it
does not follow from what the target has: after etcd and the publisher's memory
were lost, or the tenant was made anew. The agent goes on within seconds, or with
the next pull. To lead all hosts on, use "confsyncd push --found" instead.`,
		Args: cobra.ExactArgs(1),
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
	etcd := client(c, log)
	tenant := state.Meta.Tenant
	var head tenantStatus
	var view store.View
	err = withPatience(ctx, etcd, func(ctx context.Context) (err error) {
		if head, err = tenantState(ctx, etcd.Tenant(tenant)); err == nil && head.Generation > 0 {
			view, err = etcd.Tenant(tenant).View(ctx)
		}
		return err
	})
	if err := firstError(err, etcd.Close()); err != nil {
		return err
	}
	if view.Head == nil {
		return usage("tenant %q has no commit in etcd, so there is nothing to accept", tenant)
	}
	if err := install.Accept(dir, view.Head.Position); err != nil {
		return err
	}
	r := accepted{Dir: dir, Tenant: tenant, TenantID: view.Head.Position.Tenant.String(), Generation: view.Head.Position.Generation, From: state.Position.Generation}
	if a.output == "json" {
		return a.json(r)
	}
	return a.printf("%s: goes on from generation %d of tenant %s (id %s, published by %s); it is at generation %d\n",
		dir, r.Generation, tenant, r.TenantID, printable(view.Head.Publisher), r.From)
}
