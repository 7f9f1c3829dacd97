package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/journal"
	"github.com/confsyncd/confsyncd/internal/store"
)

// errDiffers is returned when something is not right.
var errDiffers = errors.New("not all is right")

// verified is what verify prints with -o json.
type verified struct {
	Right   bool             `json:"right"`
	Targets []verifiedTarget `json:"targets"`
	Tenants []verifiedTenant `json:"tenants"`
}

// verifiedTarget is what was found in a directory.
type verifiedTarget struct {
	Tenant      string      `json:"tenant"`
	Dir         string      `json:"dir"`
	Generation  uint64      `json:"generation"` // by its journal; 0: none
	Files       int         `json:"files"`
	Bytes       int64       `json:"bytes"`
	Differences []deviation `json:"differences"`
	Wrong       []string    `json:"wrong"` // with the target as a whole
	state       journal.State
}

// deviation is a path that is not as the journal says.
type deviation struct {
	Path string `json:"path"`
	What string `json:"what"`
	Why  string `json:"why"`
}

// verifiedTenant is what was found in etcd.
type verifiedTenant struct {
	Tenant     string   `json:"tenant"`
	Generation uint64   `json:"generation"` // of the head; 0: none, or not known
	Records    int      `json:"records"`
	Keyframes  int      `json:"keyframes"`
	Packs      int      `json:"packs"`
	Contents   int      `json:"contents"`
	Bytes      int64    `json:"bytes"`
	OldRecords int      `json:"old_records"` // that cannot be read any more, and that a sweep removes
	Orphans    []string `json:"orphans"`     // packs that nothing names
	Wrong      []string `json:"wrong"`
	Error      string   `json:"error,omitempty"`
}

func (a *app) verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [DIR]",
		Short: "Re-hash targets and what lies in etcd, and report every difference",
		Long: `Verify reads all that confsyncd manages in the target at DIR, or in every target of
this machine, and compares it with the target's journal; compares the journal's
position with the history in etcd; and reads that history: every record, keyframe
and pack, and every content of the head. It changes nothing, and may run beside an
agent. It exits with 5 if anything is not right, and with 4 if etcd does not answer.

--store looks at etcd alone: its head, records, keyframes and packs. What dangles is wrong.
Packs that nothing names are no fault, as somebody may be about to commit what names
them; "confsyncd gc" removes them once they are old. They are listed with --store.`,
		Args: upTo(1),
	}
	storeOnly := cmd.Flags().Bool("store", false, "look at etcd alone, and list packs that nothing names")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.load()
		if err != nil {
			return err
		}
		targets, tenants, err := a.toVerify(c, args)
		if err != nil {
			return err
		}
		if *storeOnly {
			if len(args) > 0 {
				return usage("--store looks at no target: leave %s out", printable(args[0]))
			}
			targets = nil
		}
		return a.verify(cmd.Context(), c, targets, tenants, *storeOnly)
	}
	return cmd
}

// toVerify returns which targets and tenants are meant.
func (a *app) toVerify(c *config.Config, args []string) ([]verifiedTarget, []string, error) {
	if len(args) > 0 {
		dir, err := absolute(args[0])
		if err != nil {
			return nil, nil, usage("%w", err)
		}
		state, _, err := install.ReadState(dir)
		if errors.Is(err, journal.ErrNone) {
			return nil, nil, usage("%s is no target: it has no journal, so there is nothing to compare it with; \"confsyncd diff\" compares any directory", printable(dir))
		}
		if err != nil {
			return nil, nil, err
		}
		c.Etcd.Prefix = state.Meta.Prefix
		return []verifiedTarget{{Tenant: state.Meta.Tenant, Dir: dir}}, []string{state.Meta.Tenant}, nil
	}
	reports, err := a.reports(c)
	if err != nil {
		fmt.Fprintf(a.err, "confsyncd: %v\n", err)
	}
	var targets []verifiedTarget
	var tenants []string
	for _, t := range a.targetStatus(c, reports) {
		targets = append(targets, verifiedTarget{Tenant: t.Tenant, Dir: t.Dir})
		tenants = append(tenants, t.Tenant)
	}
	for _, s := range a.sourceStatus(c, reports) {
		tenants = append(tenants, s.Tenant)
	}
	if a.given("tenant") {
		tenants = []string{a.tenant}
	}
	if len(tenants) == 0 {
		return nil, nil, usage("no tenant or target is known here: give --tenant or DIR, or write the configuration file %s", a.configPath)
	}
	slices.Sort(tenants)
	return targets, slices.Compact(tenants), nil
}

func (a *app) verify(ctx context.Context, c *config.Config, targets []verifiedTarget, tenants []string, orphans bool) error {
	bar := a.progress()
	defer bar.end()
	r := verified{Targets: []verifiedTarget{}, Tenants: []verifiedTenant{}}
	for _, t := range targets {
		if err := t.look(ctx, bar); err != nil {
			return err
		}
		r.Targets = append(r.Targets, t)
	}
	var failed error
	for _, tenant := range tenants {
		t, err := a.verifyTenant(ctx, c, tenant, r.Targets, bar)
		r.Tenants = append(r.Tenants, t)
		if failed = firstError(failed, err); errors.Is(err, errEtcdAway) || ctx.Err() != nil {
			break // no other tenant will fare better
		}
	}
	bar.end()
	inTargets, inEtcd := r.wrong()
	r.Right = inTargets+inEtcd == 0 && failed == nil
	if err := a.printVerified(r, orphans); err != nil || failed != nil {
		return firstError(err, failed)
	}
	var remedies []string
	if inTargets > 0 {
		remedies = append(remedies, fmt.Sprintf("%d in targets: an agent with drift = \"repair\" puts paths right; what else it waits for, \"confsyncd status\" tells", inTargets))
	}
	if inEtcd > 0 {
		remedies = append(remedies, fmt.Sprintf("%d in etcd, which a backup of it puts right; nothing damaged is ever applied", inEtcd))
	}
	if len(remedies) > 0 {
		return fmt.Errorf("%w: %s", errDiffers, strings.Join(remedies, "; "))
	}
	return nil
}

// look compares a target with its journal.
func (t *verifiedTarget) look(ctx context.Context, bar *progress) error {
	t.Differences, t.Wrong = []deviation{}, []string{}
	known, _, _ := install.ReadState(t.Dir) // Verify returns its error
	total, done := known.Managed.Len(), 0
	found, state, err := install.Verify(ctx, t.Dir, func(path string, bytes int64) {
		done++
		if e, _ := known.Managed.Get(path); e.HasContent() {
			t.Bytes += bytes
		}
		bar.count("reading "+printable(t.Dir), done, total)
	})
	t.Files, t.Generation, t.state = state.Managed.Len(), state.Position.Generation, state
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, journal.ErrNone) {
		t.Wrong = append(t.Wrong, "nothing was applied there, or its journal is gone")
	} else if err != nil {
		t.Wrong = append(t.Wrong, err.Error())
	}
	for _, d := range found {
		t.Differences = append(t.Differences, deviation{Path: d.Path, What: string(d.What), Why: d.Why})
	}
	return nil
}

// verifyTenant reads what lies in etcd, and compares the targets' positions with it.
func (a *app) verifyTenant(ctx context.Context, c *config.Config, tenant string, targets []verifiedTarget, bar *progress) (verifiedTenant, error) {
	var t verifiedTenant
	err := a.lookAt(ctx, c, tenant, func(ctx context.Context, l *look) error {
		t = verifiedTenant{Wrong: []string{}, Generation: l.view.Head.Position.Generation}
		checked, err := l.store.Verify(ctx, l.view, store.VerifyOptions{
			Wrong:    func(err error) { t.Wrong = append(t.Wrong, err.Error()) },
			Progress: func(what string, done, total int) { bar.count("checking "+what+" of "+tenant, done, total) },
		})
		t.Records, t.Keyframes, t.Packs, t.Contents, t.Bytes = checked.Records, checked.Keyframes, checked.Packs, checked.Contents, checked.Bytes
		t.OldRecords, t.Orphans = checked.Old, []string{}
		for _, hash := range checked.Orphans {
			t.Orphans = append(t.Orphans, hash.String())
		}
		for i := range targets {
			if err == nil && targets[i].Tenant == tenant {
				err = targets[i].place(ctx, l)
			}
		}
		return err
	})
	t.Tenant = tenant
	if t.Wrong == nil {
		t.Wrong, t.Orphans = []string{}, []string{}
	}
	switch {
	case errors.Is(err, store.ErrNoHead), errors.Is(err, store.ErrDamaged):
		t.Wrong = append(t.Wrong, err.Error())
		return t, nil
	case err != nil:
		t.Error = err.Error()
	}
	return t, err
}

// place compares a target's position with the history.
func (t *verifiedTarget) place(ctx context.Context, l *look) error {
	at, head := t.state.Position, l.view.Head.Position
	if at.IsZero() {
		return nil
	}
	if at.Tenant != head.Tenant {
		t.Wrong = append(t.Wrong, fmt.Sprintf("it is of the tenant id %v, in etcd is %v", at.Tenant, head.Tenant))
		return nil
	}
	held, err := l.store.Holds(ctx, l.view, at)
	if err == nil && !held && at.Generation > l.view.Head.Founding {
		t.Wrong = append(t.Wrong, fmt.Sprintf("it is at generation %d, commit %v, which the history in etcd does not hold", at.Generation, at.Commit))
	}
	return err
}

// wrong counts what is not right.
func (r verified) wrong() (inTargets, inEtcd int) {
	for _, t := range r.Targets {
		inTargets += len(t.Differences) + len(t.Wrong)
	}
	for _, t := range r.Tenants {
		inEtcd += len(t.Wrong)
	}
	return inTargets, inEtcd
}

func (a *app) printVerified(r verified, orphans bool) error {
	if a.output == "json" {
		return a.json(r)
	}
	var b strings.Builder
	files, packs, records := 0, 0, 0
	for _, t := range r.Targets {
		files += t.Files
		fmt.Fprintf(&b, "target %s: tenant %s, generation %d, %d files and directories, %s\n", printable(t.Dir), t.Tenant, t.Generation, t.Files, bytesText(t.Bytes))
		for _, d := range t.Differences {
			fmt.Fprintf(&b, "  ! %s: %s\n", printable(d.Path), d.Why)
		}
		writeWrong(&b, t.Wrong)
	}
	for _, t := range r.Tenants {
		packs, records = packs+t.Packs, records+t.Records
		fmt.Fprintf(&b, "tenant %s in etcd: generation %d, %d records, %d keyframes, %d packs, %d contents, %s\n",
			t.Tenant, t.Generation, t.Records, t.Keyframes, t.Packs, t.Contents, bytesText(t.Bytes))
		writeWrong(&b, t.Wrong)
		t.writeGarbage(&b, orphans)
	}
	if r.Right {
		fmt.Fprintf(&b, "all %d files, %d packs, %d records are right\n", files, packs, records)
	}
	return a.printf("%s", b.String())
}

func writeWrong(b *strings.Builder, wrong []string) {
	for _, text := range wrong {
		fmt.Fprintf(b, "  ! %s\n", text)
	}
}

// writeGarbage tells what is there that nothing needs.
func (t verifiedTenant) writeGarbage(b *strings.Builder, orphans bool) {
	if t.OldRecords > 0 {
		fmt.Fprintf(b, "  %d records cannot be read any more: a sweep is removing them, or \"confsyncd gc\" does\n", t.OldRecords)
	}
	if len(t.Orphans) > 0 {
		fmt.Fprintf(b, "  %d packs have no name in the history: of a commit under way, or \"confsyncd gc\" removes them\n", len(t.Orphans))
	}
	for _, hash := range t.Orphans {
		if orphans {
			fmt.Fprintf(b, "  ? %s\n", hash)
		}
	}
}
