package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/store"
)

// How soon the agent looks again.
const (
	openAgain    = time.Second      // a target that cannot be opened
	refusedAgain = 5 * time.Second  // an operator may have made room or accepted
	damagedAgain = 15 * time.Second // damage may have been mended without a new head
	beatEvery    = 5 * time.Second
	never        = time.Duration(-1)

	// Old trees are removed in pieces, so that no apply waits long for one.
	tidyEvery = time.Second
	tidyPiece = 50 * time.Millisecond
)

// Agent keeps one target equal to its tenant. It is for one call of Run.
type Agent struct {
	options Options
	diary   *diary
	applier applier
	view    store.View
	seen    bool        // view was filled
	missing *store.Head // under which something was missing
	pace    store.Backoff
	verify  chan struct{} // capacity 1; holds a token while a full look at the target is asked for
}

// New returns an agent. It touches neither the target nor etcd.
func New(o Options) *Agent {
	if o.Beat == nil {
		o.Beat = func() {}
	}
	return &Agent{options: o, diary: newDiary(o), applier: applier{options: o}, verify: make(chan struct{}, 1)}
}

// Verify makes a running agent look at all of its target now, by content.
func (a *Agent) Verify() {
	select {
	case a.verify <- struct{}{}:
	default:
	}
}

// Run keeps the target up to date until ctx ends; the apply in hand is finished before
// it returns. Neither etcd nor the target being away ends it.
func (a *Agent) Run(ctx context.Context) error {
	feed := store.NewFeed()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.options.Store.Follow(ctx, feed) })
	g.Go(func() error { return a.loop(ctx, feed) })
	return g.Wait()
}

func (a *Agent) loop(ctx context.Context, feed *store.Feed) error {
	defer a.closeTarget()
	again := time.NewTimer(0) // the target's journal is completed without etcd
	defer again.Stop()
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	tidy := time.NewTimer(tidyEvery)
	defer tidy.Stop()
	for {
		a.options.Beat()
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			continue
		case <-tidy.C:
			if wait := a.tidy(); wait != never {
				tidy.Reset(wait)
			}
			continue
		case <-a.verify:
		case <-feed.Changed():
		case <-again.C:
		}
		wait := a.wake(ctx, feed)
		a.ready()
		a.tell()
		again.Stop()
		if wait != never {
			again.Reset(wait)
		}
	}
}

// wake brings the target to what is newest, and returns when to look again if nothing
// happens before.
func (a *Agent) wake(ctx context.Context, feed *store.Feed) time.Duration {
	if err := a.openTarget(); err != nil {
		a.diary.unopened(err)
		return openAgain
	}
	if view, ok := feed.Take(); ok && (!a.seen || view.Supersedes(a.view)) {
		a.view, a.seen = view, true
	}
	if err := feed.Err(); err != nil || !a.seen {
		if err := a.applier.target.Recover(); err != nil {
			return a.failed(ctx, err)
		}
		a.diary.away(err, a.applier.target.State().Position.Generation)
		return never // the feed wakes us
	}
	done, err := a.applier.apply(ctx, a.view)
	if err != nil {
		return a.failed(ctx, err)
	}
	a.missing = nil
	a.pace.Reset()
	if done != nil {
		a.diary.applied(*done)
	}
	a.diary.inSync(a.applier.target.State().Position.Generation)
	return never
}

// ready tells once that the target is whole, or waits for an operator.
func (a *Agent) ready() {
	if a.options.Ready == nil || !a.diary.holding() && (a.applier.target == nil || a.applier.target.State().Position.IsZero()) {
		return
	}
	a.options.Ready()
	a.options.Ready = nil
}

// tell tells what the target is at.
func (a *Agent) tell() {
	if a.options.Status == nil {
		return
	}
	now := Status{State: a.diary.told.State, Reason: a.diary.told.Reason}
	if a.applier.target != nil {
		now.Generation = a.applier.target.State().Position.Generation
	}
	if a.view.Head != nil {
		now.Head = a.view.Head.Position.Generation
	}
	a.options.Status(now)
}

// failed notes why the target could not be brought to the head, and returns when to
// try again.
func (a *Agent) failed(ctx context.Context, err error) time.Duration {
	switch {
	case ctx.Err() != nil:
		return never
	case errors.Is(err, ErrNothing):
		a.diary.waiting(err)
		return never
	case errors.Is(err, ErrRefused):
		a.diary.refused(err)
		return refusedAgain
	case errors.Is(err, install.ErrGone):
		a.closeTarget()
		a.diary.refused(err)
		return openAgain
	case errors.Is(err, store.ErrGone):
		return a.lookAnew(ctx, err)
	case errors.Is(err, store.ErrDamaged), errors.Is(err, codec.ErrNewer):
		a.diary.refused(fmt.Errorf("%w; files are kept", err))
		a.reread(ctx)
		return damagedAgain
	}
	a.diary.failing(err)
	return a.pace.Next()
}

// lookAnew reads the head again after something was missing: a publisher may have
// cleaned up. Missing twice under one head is damage.
func (a *Agent) lookAnew(ctx context.Context, err error) time.Duration {
	again := a.missing != nil && a.missing.Same(a.view.Head)
	a.missing = a.view.Head
	a.reread(ctx)
	if again {
		a.diary.refused(fmt.Errorf("%w: %w; files are kept", store.ErrDamaged, err))
		return damagedAgain
	}
	return a.pace.Next()
}

func (a *Agent) reread(ctx context.Context) {
	if view, err := a.options.Store.View(ctx); err == nil {
		a.view = view
	}
}

// tidy removes a piece of what switches of the whole tree have left, and returns when to
// remove the next.
func (a *Agent) tidy() time.Duration {
	if a.options.Mode != install.Tree {
		return never
	}
	if a.applier.target != nil && a.applier.target.Tidy(tidyPiece) == 0 {
		return tidyPiece // Whoever waits for the loop has as much of it.
	}
	return tidyEvery
}

func (a *Agent) openTarget() error {
	if a.applier.target != nil {
		return nil
	}
	target, err := install.Open(a.options.installOptions())
	if err != nil {
		return err
	}
	a.applier.target = target
	return nil
}

func (a *Agent) closeTarget() {
	if a.applier.target == nil {
		return
	}
	if err := a.applier.target.Close(); err != nil {
		a.options.Log.Warn("close the target", "path", a.options.Dir, "error", err)
	}
	a.applier.target = nil
}
