package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/store"
)

// pulled is what pull prints with -o json, one object for each target.
type pulled struct {
	Tenant     string `json:"tenant"`
	Dir        string `json:"dir"`
	DryRun     bool   `json:"dry_run"`
	Applied    bool   `json:"applied"`
	Generation uint64 `json:"generation,omitempty"`
	Created    int    `json:"created"`
	Changed    int    `json:"changed"`
	Deleted    int    `json:"deleted"`
	Adopted    int    `json:"adopted"`
	Corrected  int    `json:"corrected"`
	Kept       int    `json:"kept"`
	Bytes      int64  `json:"bytes"`
	DurationMS int64  `json:"duration_ms"`
	// Left are paths that the selection no longer takes, and that stay.
	Left []string `json:"left,omitempty"`
}

func (a *app) pullCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pull",
		Short: "Apply what is published once and exit",
		Long: `Pull brings each [[target]] of the configuration, or the one that --tenant and
--dir name, to the head, and exits: 5 if files are in the way or verification
refuses, 1 if what lies in etcd is damaged.

--dry-run lists what would be done: + created, ~ changed, - deleted, = taken over
as it is, ! in the way.`,
		Args: arguments(),
	}
	flags := targetFlags(cmd)
	dryRun := cmd.Flags().BoolP("dry-run", "n", false, "say what would be done")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.load()
		if err != nil {
			return err
		}
		targets, err := a.targets(c, flags)
		if err != nil {
			return err
		}
		return each(targets, func(t config.Target) error { return a.pull(cmd.Context(), c, t, *dryRun) })
	}
	return cmd
}

func (a *app) pull(ctx context.Context, c *config.Config, t config.Target, dryRun bool) error {
	log, err := a.logger(c, false)
	if err != nil {
		return configError{err}
	}
	etcd := client(c, log)
	o, err := agentOptions(c, t, etcd, log)
	if err != nil {
		return err
	}
	if dryRun {
		return firstError(about("pull", t.Tenant, t.Dir, a.preview(ctx, etcd, o)), etcd.Close())
	}
	bar := a.progress()
	o.Progress = func(done, total int64) { bar.bytes("writing", done, total) }
	var done *agent.Applied
	err = withPatience(ctx, etcd, func(ctx context.Context) (err error) {
		done, err = agent.Pull(ctx, o)
		return err
	})
	bar.end()
	var conflict *install.Conflict
	if errors.As(err, &conflict) {
		a.listConflict(conflict)
		err = inTheWay(conflict, o)
	}
	if err := firstError(about("pull", t.Tenant, t.Dir, unpublished(err)), etcd.Close()); err != nil {
		return err
	}
	return a.printPulled(t, done)
}

// unpublished adds what to do about it to the error of a tenant without a commit.
func unpublished(err error) error {
	if errors.Is(err, agent.ErrNothing) {
		return fmt.Errorf("%w; publish it with \"confsyncd push\" or \"confsyncd publish\", or see that --tenant and --prefix are right", err)
	}
	return err
}

// listConflict lists what is in the way.
func (a *app) listConflict(c *install.Conflict) {
	for _, p := range c.Paths {
		fmt.Fprintf(a.err, "  ! %s: %s\n", printable(p.Path), p.Why)
	}
	if more := c.Total - len(c.Paths); more > 0 {
		fmt.Fprintf(a.err, "  ! and %d more\n", more)
	}
}

// inTheWay is the error of a conflict whose paths were listed.
func inTheWay(c *install.Conflict, o agent.Options) error {
	remedy := "move them away, make them equal to what is published, or replace and keep them with --existing replace"
	if o.ReplaceExisting {
		remedy = "move them away: directories that hold anything else are not replaced"
	}
	return fmt.Errorf("%w: %d in the way, so nothing was written; %s", agent.ErrRefused, c.Total, remedy)
}

func (a *app) printPulled(t config.Target, done *agent.Applied) error {
	r := pulled{Tenant: t.Tenant, Dir: t.Dir}
	if done != nil {
		r = pulled{
			Tenant: t.Tenant, Dir: t.Dir, Applied: true, Generation: done.Position.Generation, Created: done.Created, Changed: done.Changed,
			Deleted: done.Deleted, Adopted: done.Adopted, Corrected: done.Corrected, Kept: done.Kept, Bytes: done.Bytes,
			DurationMS: done.Duration.Milliseconds(), Left: done.Left,
		}
	}
	if a.output == "json" {
		return a.json(r)
	}
	if done == nil {
		return a.printf("%s: %s is at the head already\n", t.Tenant, t.Dir)
	}
	line := fmt.Sprintf("%s: applied generation %d to %s: %s", t.Tenant, r.Generation, t.Dir, countsText(r.Created, r.Changed, r.Deleted))
	for _, n := range []struct {
		count int
		what  string
	}{{r.Adopted, "adopted"}, {r.Corrected, "corrected"}, {r.Kept, "kept under .confsyncd/kept"}, {len(r.Left), "left behind by the selection"}} {
		if n.count > 0 {
			line += fmt.Sprintf(", %d %s", n.count, n.what)
		}
	}
	return a.printf("%s, %s, %d ms\n", line, bytesText(r.Bytes), r.DurationMS)
}

// previewed is what pull --dry-run prints with -o json.
type previewed struct {
	Tenant     string   `json:"tenant"`
	Dir        string   `json:"dir"`
	DryRun     bool     `json:"dry_run"`
	Generation uint64   `json:"generation"`
	Created    []string `json:"created"`
	Changed    []string `json:"changed"`
	Deleted    []string `json:"deleted"`
	Adopted    []string `json:"adopted"`
	Corrected  []string `json:"corrected"`
	Kept       []string `json:"kept"`
	Left       []string `json:"left"`
	InTheWay   []string `json:"in_the_way"`
}

func (a *app) preview(ctx context.Context, etcd *store.Client, o agent.Options) error {
	r := previewed{Tenant: o.Tenant, Dir: o.Dir, DryRun: true}
	var v install.Preview
	err := withPatience(ctx, etcd, func(ctx context.Context) error {
		preview, version, err := agent.Preview(ctx, o)
		if err != nil {
			return err
		}
		v, r.Generation = preview, version.Position().Generation
		return nil
	})
	if err != nil {
		return unpublished(err)
	}
	r.Created, r.Changed, r.Deleted, r.Adopted = some(v.Created), some(v.Changed), some(v.Deleted), some(v.Adopted)
	r.Corrected, r.Kept, r.Left, r.InTheWay = some(v.Corrected), some(v.Kept), some(v.Left), []string{}
	if v.Conflict != nil {
		for _, p := range v.Conflict.Paths {
			r.InTheWay = append(r.InTheWay, p.Path)
		}
		r.Created, r.Changed = without(r.Created, r.InTheWay), without(r.Changed, r.InTheWay)
	}
	if a.output == "json" {
		err = a.json(r)
	} else {
		err = a.printPreview(r)
	}
	if err == nil && v.Conflict != nil {
		return inTheWay(v.Conflict, o)
	}
	return err
}

func (a *app) printPreview(r previewed) error {
	changed := slices.Sorted(slices.Values(slices.Concat(r.Changed, r.Corrected)))
	if len(r.Created)+len(changed)+len(r.Deleted)+len(r.Adopted)+len(r.InTheWay)+len(r.Left) == 0 {
		return a.printf("%s: %s is at generation %d already\n", r.Tenant, r.Dir, r.Generation)
	}
	if err := a.printf("%s: generation %d would change %s: %s\n", r.Tenant, r.Generation, r.Dir,
		countsText(len(r.Created), len(changed), len(r.Deleted))); err != nil {
		return err
	}
	if err := a.printPaths(map[string][]string{"+": r.Created, "~": changed, "-": r.Deleted, "=": r.Adopted, "!": r.InTheWay}); err != nil {
		return err
	}
	for _, path := range r.Left {
		if err := a.printf("  %s would be left behind by the selection\n", printable(path)); err != nil {
			return err
		}
	}
	for _, path := range r.Kept {
		if err := a.printf("  %s would be kept under .confsyncd/kept\n", printable(path)); err != nil {
			return err
		}
	}
	return nil
}

// some is list, never nil, so that it prints as [].
func some(list []string) []string { return append([]string{}, list...) }

// without returns the paths of list that are not in others.
func without(list, others []string) []string {
	return slices.DeleteFunc(list, func(path string) bool { return slices.Contains(others, path) })
}

// printable writes a path as it is, or quoted if it would not print.
func printable(path string) string {
	if q := strconv.Quote(path); q != `"`+path+`"` || strings.TrimSpace(path) != path {
		return q
	}
	return path
}
