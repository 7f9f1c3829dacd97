package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/report"
	"github.com/confsyncd/confsyncd/internal/store"
)

// Pulled is what Pull did.
type Pulled struct {
	// Applied is nil if nothing was to be done.
	Applied *Applied
	// Drift is what is not as published, and stays so, in path order: with
	// Options.ReportDrift.
	Drift []install.Drifted
}

// add adds what was done.
func (p *Pulled) add(more Applied) {
	if p.Applied == nil {
		p.Applied = &more
		return
	}
	p.Applied.Deleted += more.Deleted
	p.Applied.Corrected += more.Corrected
	p.Applied.Kept += more.Kept
	p.Applied.Bytes += more.Bytes
	p.Applied.Unmanaged = append(p.Applied.Unmanaged, more.Unmanaged...)
	p.Applied.Left = more.Left
	p.Applied.Duration += more.Duration
}

// Pull applies the head once, or what Options.Pin names, prunes if that is wanted, and
// puts right what others changed. It returns an error that wraps ErrRefused, with a
// *Stuck or *install.Conflict for what is the matter with paths, ErrNothing,
// ErrNoGeneration, install.ErrLocked, store.ErrDamaged, or what became of a call to etcd
// when ctx ended.
func Pull(ctx context.Context, o Options) (Pulled, error) {
	var done Pulled
	var at uint64
	err := once(ctx, o, func(a *applier, view store.View) error {
		defer func() { at = a.target.State().Position.Generation }()
		var applied *Applied
		var err error
		if o.Pin == nil {
			applied, err = a.apply(ctx, view)
		} else {
			applied, err = a.pin(ctx, view)
		}
		if applied != nil {
			done.Applied = applied
		}
		if err == nil && o.Prune {
			err = a.prune(ctx, &done)
		}
		if err == nil {
			err = a.mend(ctx, view, &done)
		}
		if err == nil {
			_, err = a.prove(ctx, view)
		}
		if err == nil {
			err = a.prover.refused(a.target.State().Position)
		}
		return err
	})
	register(o, at, done, err)
	return done, err
}

// free refuses what an operator holds.
func (o Options) free(h install.Holds) error {
	switch {
	case h.Pause != nil:
		return refuse(errors.New(h.Pause.String()), fmt.Sprintf("\"confsyncd resume %s\" lets it go on", o.Dir))
	case h.Pin != nil && o.Pin == nil:
		return refuse(errors.New(h.Pin.String()), fmt.Sprintf("\"confsyncd resume %s\" lets it go on to the head, \"confsyncd pull --generation N\" pins another", o.Dir))
	}
	return nil
}

// prune removes what was left behind, and adds that to what was done.
func (a *applier) prune(ctx context.Context, done *Pulled) error {
	state := a.target.State()
	if len(state.Left) == 0 {
		return nil
	}
	begin := time.Now()
	result, err := a.target.Prune(ctx)
	if err != nil {
		return a.options.explain(err)
	}
	result.Left = a.target.State().Left
	done.add(Applied{Result: result, Position: state.Position, From: state.Position.Generation, Duration: time.Since(begin)})
	return nil
}

// register notes the target in state_dir, if it is one or is about to become one, with
// what became of it. It is at a generation, 0 if that is not known.
func register(o Options, at uint64, done Pulled, err error) {
	var conflict *install.Conflict
	if o.StateDir == "" || errors.Is(err, install.ErrLocked) {
		return
	}
	if at == 0 && !errors.As(err, &conflict) {
		state, _, err := install.ReadState(o.Dir)
		if err != nil {
			return
		}
		at = state.Position.Generation
	}
	r := report.Report{Role: report.Target, Prefix: o.Prefix, Tenant: o.Tenant, Dir: o.Dir, State: "in_sync"}
	holds, holdErr := install.ReadHolds(o.Dir)
	switch {
	case holdErr == nil && holds.Pause != nil:
		r.State, r.Reason = "paused", holds.Pause.String()
	case err == nil && holdErr == nil && holds.Pin != nil:
		r.State, r.Reason = "pinned", holds.Pin.String()
	case errors.Is(err, ErrQuarantined):
		r.State, r.Reason = "quarantined", err.Error()
	case errors.Is(err, ErrRefused):
		r.State, r.Reason = "holding", err.Error()
	case err != nil:
		r.State, r.Reason = "waiting", err.Error()
	case len(done.Drift) > 0:
		r.State, r.Reason = "drifted", driftReason(len(done.Drift), at, true, 0)
	}
	for _, d := range done.Drift[:min(len(done.Drift), shown)] {
		r.Drift = append(r.Drift, d.String())
	}
	r.DriftTotal = len(done.Drift)
	if err := report.Write(o.StateDir, r); err != nil {
		o.Log.Warn("the target cannot be registered", "error", err)
	}
}

// Foreseen is what Pull would do.
type Foreseen struct {
	install.Preview
	// Drift is what Pull would only report.
	Drift []install.Drifted
	// Stuck is what it could not put right.
	Stuck []install.ConflictPath
	// Generation is what it would apply.
	Generation uint64
}

// Preview returns what Pull would do, and changes nothing: it may be done beside an
// agent.
func Preview(ctx context.Context, o Options) (Foreseen, error) {
	if _, err := os.Lstat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		return previewOfNew(ctx, o)
	}
	target, err := install.Peek(o.installOptions())
	if err != nil {
		return Foreseen{}, o.explain(err)
	}
	a := &applier{options: o, target: target}
	var f Foreseen
	err = withHead(ctx, o, func(view store.View) (err error) {
		f, err = a.preview(ctx, view)
		return o.explain(err)
	})
	if o.Prune {
		f.Pruned, f.Left = f.Left, nil
	}
	return f, errors.Join(err, target.Close())
}

func (a *applier) preview(ctx context.Context, view store.View) (f Foreseen, err error) {
	version, err := a.wanted(ctx, view)
	if err != nil {
		return f, err
	}
	plan, err := a.plan(version)
	if err != nil {
		return f, err
	}
	plan.Back = a.options.Pin != nil
	f.Generation = version.Position().Generation
	if f.Drift, f.Stuck, err = a.foreseeDrift(ctx, &plan); err != nil {
		return f, err
	}
	f.Preview, err = a.target.Check(plan)
	f.Stuck = append(f.Stuck, f.Blocked...)
	return f, err
}

// previewOfNew is Preview of a directory that is yet to be made.
func previewOfNew(ctx context.Context, o Options) (f Foreseen, err error) {
	err = withHead(ctx, o, func(view store.View) (err error) {
		a := &applier{options: o}
		version, err := a.fresh(ctx, view)
		if err != nil {
			return err
		}
		want, err := o.selects(version.Tree)
		f = Foreseen{Generation: version.Position().Generation}
		for path := range want.All() {
			f.Created = append(f.Created, path)
		}
		return err
	})
	return f, err
}

// once opens the target and does something with the head.
func once(ctx context.Context, o Options, do func(*applier, store.View) error) (err error) {
	if _, err := os.Lstat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		// The directory is made for something only.
		if err := withHead(ctx, o, published); err != nil {
			return err
		}
	}
	p := newProver(o)
	p.hasty = true
	opening := o.installOptions()
	opening.Try = p.trying()
	target, err := install.Open(opening)
	if err != nil {
		return o.explain(err)
	}
	p.take(target)
	defer func() {
		target.Tidy(tidyPull) // No agent may ever come to do it.
		err = errors.Join(err, target.Close())
	}()
	holds, err := target.Holds()
	if err == nil {
		err = o.free(holds)
	}
	if err == nil && holds.Retry != nil {
		err = target.Retry()
	}
	if err != nil {
		return err
	}
	a := &applier{options: o, target: target, prover: p}
	return withHead(ctx, o, func(view store.View) error { return do(a, view) })
}

// published returns ErrNothing while there is no head.
func published(v store.View) error {
	if v.Head == nil && v.Err == nil {
		return ErrNothing
	}
	return nil
}

// withHead does something with the head, again while etcd is away or others write into
// the target.
func withHead(ctx context.Context, o Options, do func(store.View) error) error {
	var pace store.Backoff
	for {
		err := o.Store.WithHead(ctx, do)
		if !errors.Is(err, install.ErrChanged) || pace.Wait(ctx) != nil {
			return err
		}
	}
}

func (o Options) installOptions() install.Options {
	return install.Options{Dir: o.Dir, Mode: o.Mode, UID: o.UID, GID: o.GID, ReplaceExisting: o.ReplaceExisting, Beat: o.Beat, Log: o.Log.With("tenant", o.Tenant)}
}
