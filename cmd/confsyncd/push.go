package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/scan"
)

// pushed is what push prints with -o json, one object for each source.
type pushed struct {
	Tenant     string   `json:"tenant"`
	Dir        string   `json:"dir"`
	Committed  bool     `json:"committed"`
	DryRun     bool     `json:"dry_run"`
	Generation uint64   `json:"generation,omitempty"` // of the commit
	Founding   bool     `json:"founding"`
	Created    []string `json:"created"`
	Changed    []string `json:"changed"`
	Deleted    []string `json:"deleted"`
	Bytes      int64    `json:"bytes"` // of new contents, before compression
	DurationMS int64    `json:"duration_ms"`
}

// pushFlags are the flags that only push has.
type pushFlags struct {
	dryRun, takeOver bool
	allow            []string
	found, message   string
	parent           *uint64
}

func (a *app) pushCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "push",
		Short: "Publish once and exit",
		Long: `Push commits the difference between a directory and the tenant, all of it or
nothing, and exits: 0 also if there was nothing to commit, 5 if a guard or a path
that cannot be published is in the way, 6 if the head is another publisher's, or
not at the generation that --parent names.

--dry-run lists what would be committed: + created, ~ changed, - deleted.`,
		Args: arguments(),
	}
	flags := sourceFlags(cmd)
	var p pushFlags
	f := cmd.Flags()
	f.BoolVarP(&p.dryRun, "dry-run", "n", false, "say what would be committed")
	f.BoolVar(&p.takeOver, "take-over", false, "publish over the head, whoever made it")
	f.StringSliceVar(&p.allow, "allow", nil, "lift guards, once: delete, root, size")
	f.Var(into(&p.parent, "generation", generation), "parent", "commit only if the head is at this generation, whoever made it; 0: if there is none")
	f.StringVar(&p.found, "found", "", "ID:GEN: begin the history anew for agents of that tenant id at that generation")
	f.StringVarP(&p.message, "message", "m", "", "message of the commit")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.load()
		if err != nil {
			return err
		}
		sources, err := a.sources(c, flags)
		if err != nil {
			return err
		}
		return each(sources, func(s config.Source) error { return a.push(cmd.Context(), c, s, p) })
	}
	return cmd
}

func (a *app) push(ctx context.Context, c *config.Config, s config.Source, f pushFlags) error {
	log, err := a.logger(c, false)
	if err != nil {
		return configError{err}
	}
	etcd := client(c, log)
	o := publisherOptions(c, s, etcd, log)
	o.TakeOver = f.takeOver
	if o.Allow, err = allow(f.allow); err != nil {
		return err
	}
	po := publisher.PushOptions{Parent: f.parent, Message: f.message, DryRun: f.dryRun}
	if f.found != "" {
		if po.Found, err = parseFound(f.found); err != nil {
			return err
		}
	}
	p, err := publisher.New(o)
	if err != nil {
		return err
	}
	bar := a.progress()
	po.Progress = func(done, total int64) { bar.bytes("sending", done, total) }
	begin := time.Now()
	var commit *publisher.Commit
	err = withPatience(ctx, etcd, func(ctx context.Context) (err error) {
		commit, err = p.Push(ctx, po)
		return err
	})
	bar.end()
	if errors.Is(err, scan.ErrRootMissing) {
		err = fmt.Errorf("%w: %w; nothing is deleted: put the directory back, mount it, or correct --dir", publisher.ErrRefused, err)
	}
	if err := firstError(about("push", s.Tenant, s.Dir, err), etcd.Close()); err != nil {
		return err
	}
	return a.printPushed(s, f, commit, time.Since(begin))
}

func allow(words []string) (publisher.Allow, error) {
	var a publisher.Allow
	for _, w := range words {
		switch w {
		case "delete":
			a.Delete = true
		case "root":
			a.Root = true
		case "size":
			a.Size = true
		default:
			return a, usage("--allow %s: use delete, root or size", w)
		}
	}
	return a, nil
}

// generation reads the number of a generation, or 0 for none.
func generation(s string) (*uint64, error) {
	g, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is no generation; write a number such as 42, or 0 for a tenant without a commit", s)
	}
	return &g, nil
}

func parseFound(s string) (*diff.Position, error) {
	word, generation, err := splitFound(s)
	if err != nil {
		return nil, usage("--found: %w", err)
	}
	id, err := diff.ParseTenantID(word)
	if err == nil && id.IsZero() {
		err = errors.New("no tenant id is all zeros")
	}
	if err != nil {
		return nil, usage("--found: %w", err)
	}
	return &diff.Position{Tenant: id, Generation: generation}, nil
}

func (a *app) printPushed(s config.Source, f pushFlags, commit *publisher.Commit, took time.Duration) error {
	r := pushed{Tenant: s.Tenant, Dir: s.Dir, DryRun: f.dryRun, DurationMS: took.Milliseconds(), Created: []string{}, Changed: []string{}, Deleted: []string{}}
	if commit != nil {
		r.Committed, r.Generation, r.Founding, r.Bytes = !f.dryRun, commit.Position.Generation, commit.Founding, commit.Bytes
		r.Created, r.Changed, r.Deleted = sorted(commit.Changes)
	}
	if a.output == "json" {
		return a.json(r)
	}
	counts := countsText(len(r.Created), len(r.Changed), len(r.Deleted))
	switch {
	case commit == nil:
		return a.printf("%s: nothing to commit, the tenant equals %s\n", s.Tenant, s.Dir)
	case f.dryRun:
		if r.Founding {
			counts += "; the whole tree is sent, as the beginning of a history"
		}
		if err := a.printf("%s: would commit %s\n", s.Tenant, counts); err != nil {
			return err
		}
		return a.printPaths(map[string][]string{"+": r.Created, "~": r.Changed, "-": r.Deleted})
	}
	return a.printf("%s: committed generation %d: %s, %s, %d ms\n", s.Tenant, r.Generation, counts, bytesText(r.Bytes), r.DurationMS)
}

// sorted returns the paths that changes create, change and delete.
func sorted(changes []diff.Change) (created, changed, deleted []string) {
	created, changed, deleted = []string{}, []string{}, []string{}
	for _, ch := range changes {
		switch {
		case ch.Created():
			created = append(created, ch.Path)
		case ch.Deleted():
			deleted = append(deleted, ch.Path)
		default:
			changed = append(changed, ch.Path)
		}
	}
	return created, changed, deleted
}

// printPaths prints paths with a sign before each, sorted by sign and then as they are.
func (a *app) printPaths(lists map[string][]string) error {
	for _, sign := range []string{"+", "~", "-", "=", "!"} {
		for _, path := range lists[sign] {
			if err := a.printf("  %s %s\n", sign, printable(path)); err != nil {
				return err
			}
		}
	}
	return nil
}

// splitFound reads ID:GEN.
func splitFound(s string) (id string, generation uint64, err error) {
	id, gen, ok := strings.Cut(s, ":")
	if ok {
		generation, err = strconv.ParseUint(gen, 10, 64)
	}
	if !ok || err != nil || generation == 0 {
		return "", 0, fmt.Errorf("%q is not ID:GEN, a tenant id and the highest generation that any agent's status shows", s)
	}
	return id, generation, nil
}
