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

// Pull applies the head once, or what Options.Pin names, prunes if that is wanted, and
// puts right what has drifted, unless Options.ReportDrift. It
// returns nil if nothing was to be done. It returns an error that wraps ErrRefused,
// ErrNothing, ErrNoGeneration, install.ErrLocked, store.ErrDamaged, or what became of a
// call to etcd when ctx ended.
func Pull(ctx context.Context, o Options) (*Applied, error) {
	var done *Applied
	err := once(ctx, o, func(a *applier, view store.View) (err error) {
		if o.Pin == nil {
			done, err = a.apply(ctx, view)
		} else {
			done, err = a.pin(ctx, view)
		}
		if err == nil && o.Prune {
			done, err = a.prune(ctx, done)
		}
		if err == nil && !o.ReportDrift {
			done, err = a.restore(ctx, view, done)
		}
		return err
	})
	register(o, err)
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
func (a *applier) prune(ctx context.Context, done *Applied) (*Applied, error) {
	state := a.target.State()
	if len(state.Left) == 0 {
		return done, nil
	}
	begin := time.Now()
	result, err := a.target.Prune(ctx)
	if err != nil {
		return done, a.options.explain(err)
	}
	if done == nil {
		done = &Applied{Position: state.Position, From: state.Position.Generation}
	}
	done.Deleted += result.Deleted
	done.Kept += result.Kept
	done.Unmanaged = append(done.Unmanaged, result.Unmanaged...)
	done.Left = a.target.State().Left
	done.Duration += time.Since(begin)
	return done, nil
}

// restore puts right what others changed, and adds that to what was done. What stands there
// is kept, as in an agent's repairs.
func (a *applier) restore(ctx context.Context, view store.View, done *Applied) (*Applied, error) {
	begin := time.Now()
	found, err := a.target.Drift(ctx, nil, false)
	if err != nil {
		return done, a.options.explain(err)
	}
	var paths []string
	var blocked []install.ConflictPath
	for _, d := range found {
		if d.Busy {
			blocked = append(blocked, install.ConflictPath{Path: d.Path, Why: "it is open for writing, or was changed a moment ago"})
			continue
		}
		paths = append(paths, d.Path)
	}
	if len(paths) > 0 {
		position := a.target.State().Position
		result, err := a.target.Repair(ctx, paths, installed{a.options.Store, view, position})
		if err != nil {
			return done, a.options.explain(err)
		}
		blocked = append(blocked, result.Blocked...)
		if done == nil {
			done = &Applied{Position: position, From: position.Generation}
		}
		done.Corrected += len(paths) - len(result.Blocked)
		done.Kept += result.Kept
		done.Bytes += result.Bytes
		done.Duration += time.Since(begin)
	}
	if len(blocked) > 0 {
		return done, refuse(fmt.Errorf("%d of %d paths that others changed cannot be put right, such as %q: %s", len(blocked), len(found), blocked[0].Path, blocked[0].Why),
			"mend that, and pull again; what else there was is done")
	}
	return done, nil
}

// register notes the target in state_dir, if it is one or is about to become one, with
// what became of it.
func register(o Options, err error) {
	var conflict *install.Conflict
	_, _, stateErr := install.ReadState(o.Dir)
	if stateErr != nil && !errors.As(err, &conflict) || o.StateDir == "" || errors.Is(err, install.ErrLocked) {
		return
	}
	r := report.Report{Role: report.Target, Prefix: o.Prefix, Tenant: o.Tenant, Dir: o.Dir, State: "in_sync"}
	holds, holdErr := install.ReadHolds(o.Dir)
	switch {
	case holdErr == nil && holds.Pause != nil:
		r.State, r.Reason = "paused", holds.Pause.String()
	case err == nil && holdErr == nil && holds.Pin != nil:
		r.State, r.Reason = "pinned", holds.Pin.String()
	case errors.Is(err, ErrRefused):
		r.State, r.Reason = "holding", err.Error()
	case err != nil:
		r.State, r.Reason = "waiting", err.Error()
	}
	if err := report.Write(o.StateDir, r); err != nil {
		o.Log.Warn("the target cannot be registered", "error", err)
	}
}

// Preview returns what Pull would do, and changes nothing: it may be done beside an
// agent.
func Preview(ctx context.Context, o Options) (install.Preview, *store.Version, error) {
	if _, err := os.Lstat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		return previewOfNew(ctx, o)
	}
	target, err := install.Peek(o.installOptions())
	if err != nil {
		return install.Preview{}, nil, o.explain(err)
	}
	a := &applier{options: o, target: target}
	var preview install.Preview
	var version *store.Version
	err = headTwice(ctx, o, func(view store.View) (err error) {
		if version, err = a.wanted(ctx, view); err != nil {
			return err
		}
		plan, err := a.plan(version)
		if err != nil {
			return err
		}
		plan.Back = o.Pin != nil
		if !o.ReportDrift {
			drift, err := target.Drift(ctx, nil, false)
			if err != nil {
				return o.explain(err)
			}
			for _, d := range drift {
				plan.Again = append(plan.Again, d.Path)
			}
		}
		preview, err = target.Check(plan)
		return o.explain(err)
	})
	if o.Prune {
		preview.Pruned, preview.Left = preview.Left, nil
	}
	return preview, version, errors.Join(err, target.Close())
}

// previewOfNew is Preview of a directory that is yet to be made.
func previewOfNew(ctx context.Context, o Options) (install.Preview, *store.Version, error) {
	var preview install.Preview
	var version *store.Version
	err := headTwice(ctx, o, func(view store.View) (err error) {
		a := &applier{options: o}
		if version, err = a.fresh(ctx, view); err != nil {
			return err
		}
		want, err := o.selects(version.Tree)
		preview.Created = nil
		for path := range want.All() {
			preview.Created = append(preview.Created, path)
		}
		return err
	})
	return preview, version, err
}

// once opens the target and does something with the head.
func once(ctx context.Context, o Options, do func(*applier, store.View) error) (err error) {
	if _, err := os.Lstat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		// The directory is made for something only.
		if err := headTwice(ctx, o, published); err != nil {
			return err
		}
	}
	target, err := install.Open(o.installOptions())
	if err != nil {
		return o.explain(err)
	}
	defer func() {
		target.Tidy(tidyPull) // No agent may ever come to do it.
		err = errors.Join(err, target.Close())
	}()
	holds, err := target.Holds()
	if err == nil {
		err = o.free(holds)
	}
	if err != nil {
		return err
	}
	a := &applier{options: o, target: target}
	return headTwice(ctx, o, func(view store.View) error { return do(a, view) })
}

// published returns ErrNothing while there is no head.
func published(v store.View) error {
	if v.Head == nil && v.Err == nil {
		return ErrNothing
	}
	return nil
}

// headTwice does something with the head, again while etcd is away. What is missing
// from etcd is looked for twice, since a publisher may be cleaning up.
func headTwice(ctx context.Context, o Options, do func(store.View) error) error {
	var last *store.Head
	var pace store.Backoff
	for {
		view, err := o.Store.View(ctx)
		if err == nil {
			err = do(view)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, store.ErrGone) && last != nil && last.Same(view.Head):
			return fmt.Errorf("%w: %w", store.ErrDamaged, err)
		case errors.Is(err, store.ErrGone):
			last = view.Head
		case !store.Temporary(err) && !errors.Is(err, install.ErrChanged):
			return err
		}
		if waitErr := pace.Wait(ctx); waitErr != nil {
			return err
		}
	}
}

func (o Options) installOptions() install.Options {
	return install.Options{Dir: o.Dir, Mode: o.Mode, UID: o.UID, GID: o.GID, ReplaceExisting: o.ReplaceExisting, Beat: o.Beat, Log: o.Log.With("tenant", o.Tenant)}
}
