package main

import (
	"context"
	"errors"
	"fmt"
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
refuses, 1 if what lies in etcd is damaged.`,
		Args: cobra.NoArgs,
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
		for _, t := range targets {
			if err := a.pull(cmd.Context(), c, t, *dryRun); err != nil {
				return err
			}
		}
		return nil
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
		return firstError(a.preview(ctx, etcd, o), etcd.Close())
	}
	var done *agent.Applied
	err = withPatience(ctx, etcd, func(ctx context.Context) (err error) {
		done, err = agent.Pull(ctx, o)
		return err
	})
	if err := firstError(a.explainConflict(err), etcd.Close()); err != nil {
		return err
	}
	return a.printPulled(t, done)
}

// explainConflict lists all that is in the way, where an error says just how much it
// is.
func (a *app) explainConflict(err error) error {
	var conflict *install.Conflict
	if errors.As(err, &conflict) {
		for _, p := range conflict.Paths {
			fmt.Fprintf(a.err, "  ! %s: %s\n", printable(p.Path), p.Why)
		}
		if more := conflict.Total - len(conflict.Paths); more > 0 {
			fmt.Fprintf(a.err, "  ! and %d more\n", more)
		}
	}
	return err
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
		return err
	}
	r.Created, r.Changed, r.Deleted, r.Adopted = some(v.Created), some(v.Changed), some(v.Deleted), some(v.Adopted)
	r.Corrected, r.Kept, r.Left, r.InTheWay = some(v.Corrected), some(v.Kept), some(v.Left), []string{}
	if v.Conflict != nil {
		for _, p := range v.Conflict.Paths {
			r.InTheWay = append(r.InTheWay, p.Path)
		}
	}
	if a.output == "json" {
		err = a.json(r)
	} else {
		err = a.printPreview(r)
	}
	if err == nil && v.Conflict != nil {
		return fmt.Errorf("%w: %w", agent.ErrRefused, v.Conflict)
	}
	return err
}

func (a *app) printPreview(r previewed) error {
	if err := a.printf("%s: generation %d would change %s: %s\n", r.Tenant, r.Generation, r.Dir,
		countsText(len(r.Created), len(r.Changed), len(r.Deleted))); err != nil {
		return err
	}
	return a.printPaths(map[string][]string{"+": r.Created, "~": append(r.Changed, r.Corrected...), "-": r.Deleted, "=": r.Adopted, "!": r.InTheWay})
}

// some is list, never nil, so that it prints as [].
func some(list []string) []string { return append([]string{}, list...) }

// printable writes a path as it is, or quoted if it would not print.
func printable(path string) string {
	if q := strconv.Quote(path); q != `"`+path+`"` || strings.TrimSpace(path) != path {
		return q
	}
	return path
}
