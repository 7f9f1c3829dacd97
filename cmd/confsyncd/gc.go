package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/store"
)

// packPatience is for how long packs that nothing names are left alone.
const packPatience = time.Hour

// retention is what a source's settings keep of its tenant's history.
func retention(s config.Source) store.Retention {
	generations := uint64(s.RetainGenerations) //nolint:gosec // Checked to be positive.
	return store.Retention{Generations: generations, Age: s.RetainAge, Young: packPatience}
}

// collected is what gc prints with -o json.
type collected struct {
	Tenant     string `json:"tenant"`
	DryRun     bool   `json:"dry_run"`
	Generation uint64 `json:"generation"` // of the head
	Oldest     uint64 `json:"oldest"`     // generation whose record is kept
	Wanted     uint64 `json:"wanted"`     // that rests on it
	Why        string `json:"why"`        // it is wanted
	Records    int    `json:"records"`    // that went, or would go
	Packs      int    `json:"packs"`
	Bytes      int64  `json:"bytes"`
	YoungPacks int    `json:"young_packs"` // that nothing names, and that stay for now
}

func (a *app) gcCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove generations that are no longer retained, and packs that nothing needs",
		Long: `Gc removes what of a tenant's history is older than what is retained: the newest
--retain-generations, those that are younger than --retain-age, what channels and
rollouts point to, and all that those rest on, down to a keyframe. Without these
flags it goes by the tenant's [[source]] in the configuration; where there is none
either, it removes only packs that nothing names, such as a killed push leaves.

A publisher does this every sweep, so it is for tenants that are only pushed to. It may
run on any machine, beside publishers and agents. etcd gives the space back to its
disk after it was compacted and defragmented.`,
		Args: arguments(),
	}
	o := &overrides[config.Source]{flags: cmd.Flags()}
	retentionFlags(o)
	young := packPatience
	cmd.Flags().Var(into(&young, "duration", config.ParseDuration), "young", "leave packs alone that nothing names and that are younger (default 1h)")
	dryRun := cmd.Flags().BoolP("dry-run", "n", false, "say what would go")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.look(cmd.Context(), func(ctx context.Context, l *look) error {
			keep, err := retained(l, o)
			if err != nil {
				return err
			}
			keep.Young = young
			return a.gc(ctx, l, keep, *dryRun)
		})
	}
	return cmd
}

// retained returns what flags and configuration keep of a tenant's history: all of it if
// they say nothing.
func retained(l *look, o *overrides[config.Source]) (store.Retention, error) {
	s := config.DefaultSource()
	s.Tenant, s.Dir = l.tenant, "/nowhere"
	known := len(o.set) > 0
	for _, configured := range l.config.Sources {
		if configured.Tenant == l.tenant {
			s, known = configured, true
		}
	}
	if !known {
		return store.Retention{Generations: math.MaxUint64}, nil
	}
	if err := o.apply(&s); err != nil {
		return store.Retention{}, err
	}
	return retention(s), asFlags(s.Check())
}

func (a *app) gc(ctx context.Context, l *look, keep store.Retention, dryRun bool) error {
	c := collected{Tenant: l.tenant, DryRun: dryRun, Generation: l.view.Head.Position.Generation}
	went, err := l.store.NewSweeper(keep).Collect(ctx, func(g *store.Garbage) bool {
		c.Oldest, c.Wanted, c.Why, c.YoungPacks = g.Oldest, g.Wanted, g.Why, g.Young
		if dryRun {
			c.count(g.Found)
		}
		return !dryRun
	})
	if !dryRun {
		c.count(went)
	}
	if err != nil {
		if went != (store.Count{}) {
			err = fmt.Errorf("after %s: %w", c.what(), err)
		}
		return err
	}
	if a.output == "json" {
		return a.json(c)
	}
	space, _ := l.client.Space(ctx) // only to tell
	return a.printf("%s", c.text(space))
}

func (c *collected) count(n store.Count) { c.Records, c.Packs, c.Bytes = n.Records, n.Packs, n.Bytes }

// what says what went.
func (c *collected) what() string {
	return fmt.Sprintf("%d records and %d packs, %s", c.Records, c.Packs, bytesText(c.Bytes))
}

func (c *collected) text(space store.Space) string {
	var b strings.Builder
	verb := "removed"
	if c.DryRun {
		verb = "would remove"
	}
	fmt.Fprintf(&b, "tenant %s: %s %s\n", c.Tenant, verb, c.what())
	fmt.Fprintf(&b, "  kept: generations %d to %d: %s reaches back to %d", c.Oldest, c.Generation, c.Why, c.Wanted)
	if c.Oldest < c.Wanted {
		fmt.Fprintf(&b, ", which rests on %d", c.Oldest)
	}
	b.WriteString("\n")
	if c.YoungPacks > 0 {
		fmt.Fprintf(&b, "  kept: %d packs that nothing names, since somebody may be about to; --young 0s does not wait\n", c.YoungPacks)
	}
	if space.Quota > 0 {
		fmt.Fprintf(&b, "  etcd: %s of %s are used, of which a compaction and defragmentation leave at most %s\n",
			bytesText(space.Used), bytesText(space.Quota), bytesText(space.InUse))
	}
	return b.String()
}
