package publisher

import (
	"context"
	"errors"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// keeper stages keyframes beside the steps, because a large tree's takes seconds and
// commits go first. It is asked for one view at a time, and answers each time.
type keeper struct {
	views chan keeping // capacity 1; never closed
	done  chan staged  // never closed
	asked bool         // the loop's alone: no answer came yet

	retained uint64 // generations
	have     func(diff.Hash) []byte
	weight   store.Weight // the keeper's alone
}

// keeping is what a keeper is asked for: a keyframe of a view, staged in a store.
type keeping struct {
	store *store.Store
	view  store.View
}

// staged is what a keeper answers.
type staged struct {
	keyframe *store.Keyframe // nil if none is due
	err      error
}

func newKeeper(o Options, have func(diff.Hash) []byte) *keeper {
	return &keeper{views: make(chan keeping, 1), done: make(chan staged), retained: o.Retain.Generations, have: have}
}

// ask has a keyframe staged if one is due, unless the last answer is still to come.
func (k *keeper) ask(s *store.Store, view store.View) {
	if !k.asked && view.Head != nil {
		k.asked = true
		k.views <- keeping{s, view}
	}
}

// run works until ctx ends, then returns nil.
func (k *keeper) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case of := <-k.views:
			made, err := k.stage(ctx, of)
			if errors.Is(err, store.ErrGone) {
				// What is missing may have been compacted away since the view.
				if of.view, err = of.store.View(ctx); err == nil {
					made, err = k.stage(ctx, of)
				}
			}
			select {
			case <-ctx.Done():
				return nil
			case k.done <- staged{made, err}:
			}
		}
	}
}

// stage stages a keyframe if one is due, and returns nil if not.
func (k *keeper) stage(ctx context.Context, of keeping) (*store.Keyframe, error) {
	if of.view.Head == nil {
		return nil, of.view.Err
	}
	if err := of.store.Weigh(ctx, &k.weight, of.view); err != nil || !k.weight.Due(of.view.Head, k.retained) {
		return nil, err
	}
	return of.store.StageKeyframe(ctx, of.view, k.have)
}

// keep publishes what the keeper has staged, if anything. The publisher stands on the
// head: so the commits since follow from what was staged. A lost race is no error, nor is
// it that another leads, whose own keeper does it, or that the registration is another one.
func (d *daemon) keep(ctx context.Context, answer staged) {
	d.keeper.asked = false
	err := answer.err
	if err == nil && answer.keyframe != nil && d.stands() {
		err = d.name(ctx, answer.keyframe)
	}
	switch {
	case err == nil:
		d.keeping.Ended()
	case d.reregistered(ctx, err):
	case ctx.Err() == nil && !errors.Is(err, store.ErrLostRace) && !errors.Is(err, store.ErrNotLeader) && !errors.Is(err, store.ErrRegistration):
		d.keeping.Failed(err)
	}
}

// stands reports whether the head is what the publisher committed or joined last.
func (p *Publisher) stands() bool {
	return p.view.Head != nil && p.view.Head.Position == p.memory.state.Position
}

// name makes the head name a keyframe.
func (p *Publisher) name(ctx context.Context, k *store.Keyframe) error {
	head, err := p.commits().PublishKeyframe(ctx, p.view.Head, k)
	if err != nil {
		return err
	}
	p.view, p.known = p.view.After(head), nil // What it knows of records need not be kept.
	p.options.Log.Info("made a keyframe", "tenant", p.options.Tenant, "generation", head.Keyframe.Generation)
	return nil
}

// keyframe makes a keyframe if one is due.
func (p *Publisher) keyframe(ctx context.Context) error {
	k, err := newKeeper(p.options, p.bases.read).stage(ctx, keeping{p.commits(), p.view})
	if err != nil || k == nil {
		return err
	}
	if err := p.name(ctx, k); !errors.Is(err, store.ErrLostRace) {
		return err
	}
	return nil
}
