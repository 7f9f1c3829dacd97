package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/store"
)

// ErrNoGeneration is returned when a generation that is to be pinned is not there.
var ErrNoGeneration = errors.New("the generation is not in etcd")

// wanted works out the version that is to be applied: what the channel is at, or what is
// pinned.
func (a *applier) wanted(ctx context.Context, view store.View) (*store.Version, error) {
	if a.options.Pin == nil {
		return a.resolve(ctx, view)
	}
	return a.fresh(ctx, view)
}

// fresh is wanted for a target whose present state says nothing.
func (a *applier) fresh(ctx context.Context, view store.View) (*store.Version, error) {
	generation := uint64(0)
	if a.options.Pin != nil {
		generation = a.options.Pin.Generation
	} else {
		var err error
		if view, err = a.aim(ctx, view); err != nil {
			return nil, err
		}
	}
	version, err := a.options.Store.At(ctx, view, generation)
	switch {
	case errors.Is(err, store.ErrNoHead):
		return nil, ErrNothing
	case generation > 0 && errors.Is(err, store.ErrGone):
		return nil, fmt.Errorf("%w: %s", ErrNoGeneration, err.Error()) // It is not missing for want of a newer head.
	}
	return version, err
}

// pin applies the generation that is to be pinned, and makes agents stay there. The pin
// is there before the first write, so that no agent goes on from a half.
func (a *applier) pin(ctx context.Context, view store.View) (*Applied, error) {
	begin := time.Now()
	version, err := a.fresh(ctx, view)
	if err != nil {
		return nil, err
	}
	plan, err := a.plan(version)
	if err != nil {
		return nil, err
	}
	plan.Back = true
	before, err := a.target.Holds()
	if err != nil {
		return nil, err
	}
	from := a.target.State().Position
	if from.IsZero() {
		if err := a.foresee(plan); err != nil {
			return nil, err
		}
	}
	if err := a.target.Pin(a.options.Pin); err != nil {
		return nil, a.options.explain(err)
	}
	result, err := a.target.Apply(ctx, plan, a.options.telling(version))
	if err = a.options.explain(err); err != nil && !a.target.Interrupted() && a.target.State().Position == from {
		err = errors.Join(err, a.target.Pin(before.Pin))
	}
	if err != nil || idle(from, version.Position(), result) {
		return nil, err
	}
	return &Applied{Result: result, Position: version.Position(), From: from.Generation, Duration: time.Since(begin)}, nil
}

// foresee returns the error of a plan that would be refused: nothing is written then, a
// journal for the pin neither.
func (a *applier) foresee(plan install.Plan) error {
	preview, err := a.target.Check(plan)
	if err == nil && preview.Conflict != nil {
		err = preview.Conflict
	}
	return a.options.explain(err)
}

// idle reports whether an apply did nothing.
func idle(from, to diff.Position, r install.Result) bool {
	return from == to && r.Created+r.Changed+r.Deleted+r.Corrected == 0
}
