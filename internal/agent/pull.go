package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/report"
	"github.com/confsyncd/confsyncd/internal/store"
)

// Pull applies the head once. It returns nil if the target is there already. It
// returns an error that wraps ErrRefused, ErrNothing, install.ErrLocked,
// store.ErrDamaged, or what became of a call to etcd when ctx ended.
func Pull(ctx context.Context, o Options) (*Applied, error) {
	var done *Applied
	err := once(ctx, o, func(a *applier, view store.View) (err error) {
		done, err = a.apply(ctx, view)
		return err
	})
	if o.StateDir != "" && !errors.Is(err, install.ErrLocked) {
		r := report.Report{Role: report.Target, Prefix: o.Prefix, Tenant: o.Tenant, Dir: o.Dir, State: "in_sync"}
		switch {
		case errors.Is(err, ErrRefused):
			r.State, r.Reason = "holding", err.Error()
		case err != nil:
			r.State, r.Reason = "waiting", err.Error()
		}
		if reportErr := report.Write(o.StateDir, r); reportErr != nil {
			o.Log.Warn("the target cannot be registered", "error", reportErr)
		}
	}
	return done, err
}

// Preview returns what Pull would do, and changes no file.
func Preview(ctx context.Context, o Options) (install.Preview, *store.Version, error) {
	var preview install.Preview
	var version *store.Version
	err := once(ctx, o, func(a *applier, view store.View) (err error) {
		if version, err = a.resolve(ctx, view); err != nil {
			return err
		}
		plan, err := a.plan(version)
		if err != nil {
			return err
		}
		preview, err = a.target.Check(plan)
		return explain(err)
	})
	return preview, version, err
}

// once opens the target and does something with the head. What is missing from etcd is
// looked for twice, since a publisher may be cleaning up.
func once(ctx context.Context, o Options, do func(*applier, store.View) error) (err error) {
	target, err := install.Open(o.installOptions())
	if err != nil {
		return explain(err)
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	a := &applier{options: o, target: target}
	var last *store.Head
	var pace store.Backoff
	for {
		view, err := o.Store.View(ctx)
		if err == nil {
			err = do(a, view)
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
	return install.Options{Dir: o.Dir, UID: o.UID, GID: o.GID, ReplaceExisting: o.ReplaceExisting, Log: o.Log.With("tenant", o.Tenant)}
}
