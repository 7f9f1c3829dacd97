package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/publisher"
)

// rolledBack is what rollback prints with -o json.
type rolledBack struct {
	Tenant     string   `json:"tenant"`
	To         uint64   `json:"to"` // the generation whose tree comes back
	Committed  bool     `json:"committed"`
	DryRun     bool     `json:"dry_run"`
	Generation uint64   `json:"generation,omitempty"` // of the commit
	Created    []string `json:"created"`
	Changed    []string `json:"changed"`
	Deleted    []string `json:"deleted"`
	Bytes      int64    `json:"bytes"` // of the contents that come back, however few are sent
	DurationMS int64    `json:"duration_ms"`
}

// rollbackFlags are the flags of rollback.
type rollbackFlags struct {
	dryRun  bool
	allow   []string
	message string
	parent  *uint64
}

func (a *app) rollbackCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollback GEN",
		Short: "Commit a new generation with the tree of an older one",
		Long: `Rollback makes the tenant what it was at a generation: a new one with the same
tree, under the publisher's name that the head has. Contents that are in etcd are
not sent again. It exits with 0 also if the head has that tree already, with 5 if
more than max_delete of the files would go, with 6 if the head is not at the
generation that --parent names.

The publisher's directory stays as it is: a publisher that runs goes on with what is
edited there, on top of the rollback, and "confsyncd status" shows on its host what
differs. "confsyncd push --take-over" publishes that directory as a whole.`,
		Args: arguments("GEN"),
	}
	var r rollbackFlags
	f := cmd.Flags()
	f.BoolVarP(&r.dryRun, "dry-run", "n", false, "say what would change")
	f.StringSliceVar(&r.allow, "allow", nil, "lift a guard, once: delete")
	f.Var(into(&r.parent, "generation", generation), "parent", "commit only if the head is at this generation")
	f.StringVarP(&r.message, "message", "m", "", "message of the commit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		to, err := parseGeneration(args[0])
		if err != nil {
			return err
		}
		return a.rollback(cmd.Context(), to, r)
	}
	return cmd
}

func (a *app) rollback(ctx context.Context, to uint64, f rollbackFlags) error {
	o := publisher.RollbackOptions{Generation: to, Parent: f.parent, Message: f.message, DryRun: f.dryRun}
	for _, word := range f.allow {
		if word != "delete" {
			return usage("--allow %s: use delete", word)
		}
		o.Allow.Delete = true
	}
	c, err := a.load()
	if err != nil {
		return err
	}
	if o.Tenant, err = a.onlyTenant(c); err != nil {
		return err
	}
	o.MaxDelete = maxDelete(c, o.Tenant)
	log, err := a.logger(c, false)
	if err != nil {
		return configError{err}
	}
	etcd := client(c, log)
	o.Store = etcd.Tenant(o.Tenant)
	begin := time.Now()
	var commit *publisher.Commit
	err = withPatience(ctx, etcd, func(ctx context.Context) (err error) {
		commit, err = publisher.Rollback(ctx, o)
		return err
	})
	if err != nil {
		err = fmt.Errorf("rollback, tenant %s: %w", o.Tenant, err)
	}
	if err := firstError(err, etcd.Close()); err != nil {
		return err
	}
	return a.printRolledBack(o, commit, time.Since(begin))
}

// maxDelete is what the configuration has for the tenant's source, or the default.
func maxDelete(c *config.Config, tenant string) float64 {
	for _, s := range c.Sources {
		if s.Tenant == tenant {
			return s.MaxDelete
		}
	}
	return config.DefaultSource().MaxDelete
}

func (a *app) printRolledBack(o publisher.RollbackOptions, commit *publisher.Commit, took time.Duration) error {
	r := rolledBack{
		Tenant: o.Tenant, To: o.Generation, DryRun: o.DryRun, DurationMS: took.Milliseconds(),
		Created: []string{}, Changed: []string{}, Deleted: []string{},
	}
	if commit != nil {
		r.Committed, r.Generation, r.Bytes = !o.DryRun, commit.Position.Generation, commit.Bytes
		r.Created, r.Changed, r.Deleted = sorted(commit.Changes)
	}
	if a.output == "json" {
		return a.json(r)
	}
	counts := countsText(len(r.Created), len(r.Changed), len(r.Deleted))
	switch {
	case commit == nil:
		return a.printf("%s: nothing to do, the head has the tree of generation %d\n", o.Tenant, o.Generation)
	case o.DryRun:
		if err := a.printf("%s: a rollback to generation %d would commit %s\n", o.Tenant, o.Generation, counts); err != nil {
			return err
		}
		return a.printPaths(map[string][]string{"+": r.Created, "~": r.Changed, "-": r.Deleted})
	}
	return a.printf("%s: committed generation %d, with the tree of generation %d: %s, %s, %d ms\n",
		o.Tenant, r.Generation, o.Generation, counts, bytesText(r.Bytes), r.DurationMS)
}
