package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/diff"
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
	// Pinned says that the target stays at the generation until resume.
	Pinned bool `json:"pinned"`
	// Left are paths that the selection no longer takes, and that stay.
	Left []string `json:"left,omitempty"`
	// Unmanaged are paths that are not managed any more, and stay.
	Unmanaged []string `json:"unmanaged,omitempty"`
	// Drift are paths that others changed, and that stay so.
	Drift []deviation `json:"drift"`
}

// pullFlags are the flags of pull alone.
type pullFlags struct {
	dryRun, prune bool
	writeSource   bool
	generation    uint64
	message       string
}

func (a *app) pullCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pull",
		Short: "Apply what is published once and exit",
		Long: `Pull brings each [[target]] of the configuration, or the one that --tenant and
--dir name, to the head, and exits: 5 if files are in the way or verification
refuses, 1 if what lies in etcd is damaged.

What others changed in the target is put right too, and kept, also where it is at
the head already; with --drift report it is only listed. What cannot be put right is
named: then the exit code is 5. An agent that works on the target must be stopped
first.

--generation N applies generation N, be it older or newer than what is there, and
pins the target to it: agents leave it there until "confsyncd resume DIR".

--prune removes what an earlier selection of paths has left behind. What is removed
is kept under .confsyncd/kept, since it may have been edited.

--write-source brings the head into a publisher's directory instead, a [[source]],
after a rollback or a push from elsewhere: only what stands as it was published last
is replaced, and kept under .confsyncd/kept; if anything in the way was edited since,
nothing is written and the exit code is 5.

--dry-run changes nothing, needs no agent to be stopped, and lists what would be
done: + created, ~ changed, - deleted, = taken over as it is, ! in the way.`,
		Args: arguments(),
	}
	flags := targetFlags(cmd)
	var f pullFlags
	cmd.Flags().BoolVarP(&f.dryRun, "dry-run", "n", false, "say what would be done")
	cmd.Flags().BoolVar(&f.prune, "prune", false, "remove what changes of the selection have left behind")
	cmd.Flags().Var(into(&f.generation, "generation", committed), "generation", "apply this generation, and stay there")
	cmd.Flags().StringVarP(&f.message, "message", "m", "", "with --generation: why, for those who find it pinned")
	cmd.Flags().BoolVar(&f.writeSource, "write-source", false, "write the head into a publisher's directory")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.load()
		if err != nil {
			return err
		}
		if f.writeSource {
			return a.writeSources(cmd, c, flags.dir, f)
		}
		targets, err := a.targets(c, flags)
		if err != nil {
			return err
		}
		if err := f.check(cmd.Flags().Changed("generation"), len(targets)); err != nil {
			return err
		}
		return each(targets, func(t config.Target) error { return a.pull(cmd.Context(), c, t, f) })
	}
	return cmd
}

// check refuses what makes no sense together.
func (f pullFlags) check(given bool, targets int) error {
	switch {
	case given && targets > 1:
		return usage("--generation is for one target, and %d are meant: name it with --tenant and --dir", targets)
	case !given && f.message != "":
		return usage("-m says why a target is pinned; use it with --generation")
	}
	return nil
}

func (a *app) pull(ctx context.Context, c *config.Config, t config.Target, f pullFlags) error {
	log, err := a.logger(c, false)
	if err != nil {
		return configError{err}
	}
	etcd := client(c, log)
	o, err := agentOptions(c, t, etcd, log)
	if err != nil {
		return err
	}
	o.Prune = f.prune
	if f.generation > 0 {
		o.Pin = &install.Hold{By: operator(), Time: now(), Reason: f.message, Generation: f.generation}
	}
	if f.dryRun {
		return firstError(about("pull", t.Tenant, t.Dir, a.preview(ctx, etcd, o)), etcd.Close())
	}
	bar := a.progress()
	o.Progress = func(done, total int64) { bar.bytes("writing", done, total) }
	var done agent.Pulled
	err = withPatience(ctx, etcd, func(ctx context.Context) (err error) {
		done, err = agent.Pull(ctx, o)
		return err
	})
	bar.end()
	var conflict *install.Conflict
	if errors.As(err, &conflict) {
		a.listConflict(conflict)
		err = inTheWay(conflict)
	}
	var stuck *agent.Stuck
	if errors.As(err, &stuck) {
		a.listPaths(stuck.Paths)
		err = notPutRight(len(stuck.Paths))
	}
	if err := firstError(about("pull", t.Tenant, t.Dir, unpublished(err)), etcd.Close()); err != nil {
		return err
	}
	return a.printPulled(t, done, o.Pin)
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
	a.listPaths(c.Paths)
	if more := c.Total - len(c.Paths); more > 0 {
		fmt.Fprintf(a.err, "  ! and %d more\n", more)
	}
}

func (a *app) listPaths(paths []install.ConflictPath) {
	for _, p := range paths {
		fmt.Fprintf(a.err, "  ! %s: %s\n", printable(p.Path), p.Why)
	}
}

// notPutRight is the error of paths that others changed, and that were listed.
func notPutRight(n int) error {
	return fmt.Errorf("%w: %d not as published, which cannot be put right; everything else is; pull again when that is mended", agent.ErrRefused, n)
}

// inTheWay is the error of a conflict whose paths were listed.
func inTheWay(c *install.Conflict) error {
	remedy := "move them away, make them equal to what is published, or replace and keep them with --existing replace"
	others := c.Total - c.Replaceable
	switch {
	case c.Replaceable == 0:
		remedy = "do what is said of each path"
	case others > 0:
		remedy += fmt.Sprintf("; that does not help with %d of them, of which is said what does", others)
	}
	return fmt.Errorf("%w: %d in the way, so nothing was written; %s", agent.ErrRefused, c.Total, remedy)
}

func (a *app) printPulled(t config.Target, all agent.Pulled, pin *install.Hold) error {
	done := all.Applied
	r := pulled{Tenant: t.Tenant, Dir: t.Dir, Pinned: pin != nil}
	if done != nil {
		r = pulled{
			Tenant: t.Tenant, Dir: t.Dir, Applied: true, Generation: done.Position.Generation, Created: done.Created, Changed: done.Changed,
			Deleted: done.Deleted, Adopted: done.Adopted, Corrected: done.Corrected, Kept: done.Kept, Bytes: done.Bytes,
			DurationMS: done.Duration.Milliseconds(), Left: done.Left, Unmanaged: done.Unmanaged, Pinned: pin != nil,
		}
	}
	r.Drift = deviations(all.Drift)
	if a.output == "json" {
		return a.json(r)
	}
	if err := a.printDone(t, r, pin); err != nil {
		return err
	}
	return a.printDrift(r.Drift)
}

// deviations is found, never nil, as it is printed.
func deviations(found []install.Drifted) []deviation {
	list := []deviation{}
	for _, d := range found {
		list = append(list, deviation{Path: d.Path, What: string(d.What), Why: d.Why})
	}
	return list
}

// printDrift lists what others changed, and what stays so.
func (a *app) printDrift(list []deviation) error {
	for _, d := range list {
		if err := a.printf("  ! %s: %s; it stays so, since drift = \"report\"\n", printable(d.Path), d.Why); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printDone(t config.Target, r pulled, pin *install.Hold) error {
	pinned := ""
	if pin != nil {
		pinned = fmt.Sprintf("; pinned until \"confsyncd resume %s\"", t.Dir)
	}
	switch {
	case !r.Applied && pin != nil:
		return a.printf("%s: %s is at generation %d already%s\n", t.Tenant, t.Dir, pin.Generation, pinned)
	case !r.Applied:
		return a.printf("%s: %s is at the head already\n", t.Tenant, t.Dir)
	}
	line := fmt.Sprintf("%s: applied generation %d to %s: %s", t.Tenant, r.Generation, t.Dir, countsText(r.Created, r.Changed, r.Deleted))
	for _, n := range []struct {
		count int
		what  string
	}{{r.Adopted, "adopted"}, {r.Corrected, "corrected"}, {r.Kept, "kept under " + keptIn(install.Mode(t.Mode), t.Dir)}, {len(r.Left), "left behind by the selection"}, {len(r.Unmanaged), "not managed any more"}} {
		if n.count > 0 {
			line += fmt.Sprintf(", %d %s", n.count, n.what)
		}
	}
	return a.printf("%s, %s, %d ms%s\n", line, bytesText(r.Bytes), r.DurationMS, pinned)
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
	Pruned     []string `json:"pruned"`
	InTheWay   []string `json:"in_the_way"`
	// Drift are paths that others changed, and that stay so.
	Drift []deviation `json:"drift"`
}

func (a *app) preview(ctx context.Context, etcd *store.Client, o agent.Options) error {
	r := previewed{Tenant: o.Tenant, Dir: o.Dir, DryRun: true}
	var v agent.Foreseen
	err := withPatience(ctx, etcd, func(ctx context.Context) (err error) {
		v, err = agent.Preview(ctx, o)
		return err
	})
	if err != nil {
		return unpublished(err)
	}
	r.Generation, r.Drift = v.Generation, deviations(v.Drift)
	r.Created, r.Changed, r.Deleted, r.Adopted = some(v.Created), some(v.Changed), some(v.Deleted), some(v.Adopted)
	r.Corrected, r.Kept, r.Left, r.InTheWay = some(v.Corrected), some(v.Kept), some(v.Left), []string{}
	r.Pruned = some(v.Pruned)
	if v.Conflict != nil {
		for _, p := range v.Conflict.Paths {
			r.InTheWay = append(r.InTheWay, p.Path)
		}
		r.Created, r.Changed = without(r.Created, r.InTheWay), without(r.Changed, r.InTheWay)
	}
	for _, p := range v.Stuck {
		r.InTheWay = append(r.InTheWay, p.Path)
	}
	if a.output == "json" {
		err = a.json(r)
	} else {
		err = a.printPreview(r, keptIn(o.Mode, o.Dir))
	}
	if err == nil && v.Conflict != nil {
		return inTheWay(v.Conflict)
	}
	if err == nil && len(v.Stuck) > 0 {
		a.listPaths(v.Stuck)
		return notPutRight(len(v.Stuck))
	}
	return err
}

func (a *app) printPreview(r previewed, kept string) error {
	changed := slices.Sorted(slices.Values(slices.Concat(r.Changed, r.Corrected)))
	if len(r.Created)+len(changed)+len(r.Deleted)+len(r.Adopted)+len(r.InTheWay)+len(r.Left)+len(r.Pruned) == 0 {
		if err := a.printf("%s: %s is at generation %d already\n", r.Tenant, r.Dir, r.Generation); err != nil {
			return err
		}
		return a.printDrift(r.Drift)
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
	for _, path := range r.Pruned {
		if err := a.printf("  %s would be removed, and kept under %s: the selection left it behind\n", printable(path), kept); err != nil {
			return err
		}
	}
	for _, path := range r.Kept {
		if err := a.printf("  %s would be kept under %s\n", printable(path), kept); err != nil {
			return err
		}
	}
	return a.printDrift(r.Drift)
}

// keptIn returns where what is overwritten is kept, relative to the target, or in tree
// mode to the directory that it lies in.
func keptIn(m install.Mode, dir string) string {
	own := diff.OwnName
	if m == install.Tree {
		own = diff.SiblingName(filepath.Base(dir))
	}
	return printable(own) + "/kept"
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
