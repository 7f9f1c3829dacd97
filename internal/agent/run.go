package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

	// After an apply of so many paths the agent tells when it rests: so many beats later,
	// when it has looked at what the events of the apply are about.
	manyPaths = 1000
	restBeats = 2

	never = time.Duration(-1)

	// Reading all files again is left to later in any case: first comes what waits for a start.
	rereadSoon = 10 * time.Second

	// Old trees are removed in pieces, so that no apply waits long for one.
	tidyEvery = time.Second
	tidyPiece = 50 * time.Millisecond
	tidyPull  = time.Minute
)

// intervals are how often the agent looks although nothing happened.
type intervals struct {
	look    time.Duration // at the target, by its stat cache; jittered
	deep    time.Duration // at its contents; jittered
	control time.Duration // at what an operator says
}

// Agent keeps one target equal to its tenant. It is for one call of Run.
type Agent struct {
	options Options
	diary   *diary
	applier applier
	view    store.View
	seen    bool        // view was filled
	behind  time.Time   // since when there is something to follow that the target is not at; zero if there is nothing
	retries uint64      // attempts that failed and are made again
	begun   uint64      // how often the feed has begun
	missing *store.Head // under which something was missing
	pace    store.Backoff
	current bool // the target was brought to what it follows under the view's head
	holds   install.Holds
	watch   *watch
	dirty   dirty
	drifts  *drifts
	every   intervals
	resting int           // beats until the agent has rested; 0 if it has
	verify  chan struct{} // capacity 1; holds a token while a full look at the target is asked for
	opened  chan struct{} // capacity 1; filled when the target is opened: then the watch begins
}

// New returns an agent. It touches neither the target nor etcd.
func New(o Options) *Agent {
	if o.Beat == nil {
		o.Beat = func() {}
	}
	a := &Agent{
		options: o, diary: newDiary(o), applier: applier{options: o}, drifts: newDrifts(firstDelay), verify: make(chan struct{}, 1),
		opened: make(chan struct{}, 1),
		every:  intervals{look: time.Minute, deep: time.Hour, control: 500 * time.Millisecond},
	}
	a.watch = newWatch(o.Dir, o.Log.With("tenant", o.Tenant))
	a.applier.expect = a.watch.expect
	a.applier.prover = newProver(o)
	a.applier.prover.saying = func(reason string) {
		a.diary.reloading(reason)
		a.tell()
	}
	return a
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
	g.Go(func() error {
		select {
		case <-a.opened: // Before, there may be nothing to watch.
			_ = a.watch.Run(ctx) // It returns the context's error alone.
		case <-ctx.Done():
		}
		return nil
	})
	g.Go(func() error { return a.loop(store.Beating(ctx, a.options.Beat), feed) })
	return g.Wait()
}

func (a *Agent) loop(ctx context.Context, feed *store.Feed) error {
	defer a.closeTarget()
	again := time.NewTimer(0) // the target's journal is completed without etcd
	defer again.Stop()
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	control := time.NewTicker(a.every.control)
	defer control.Stop()
	look, deep := time.NewTimer(jittered(a.every.look)), time.NewTimer(min(a.every.deep, rereadSoon))
	defer look.Stop()
	defer deep.Stop()
	tidy := time.NewTimer(tidyEvery)
	defer tidy.Stop()
	for {
		a.options.Beat()
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			a.rest()
			continue
		case <-control.C:
			if !a.told() {
				continue
			}
		case <-a.watch.Changed():
			a.dirty.add(a.watch.Take())
		case <-look.C:
			look.Reset(jittered(a.every.look))
			a.dirty.all = true
		case <-deep.C:
			deep.Reset(a.readAgain())
			if !a.dirty.deep {
				continue
			}
		case <-tidy.C:
			if wait := a.tidy(); wait != never {
				tidy.Reset(wait)
			}
			continue
		case <-a.verify:
			a.dirty.deep = true
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

// readAgain asks for a look at all contents if the last one, which may have been another
// process's, was long ago. It returns when to ask again.
func (a *Agent) readAgain() time.Duration {
	if a.applier.target == nil {
		return min(a.every.deep, rereadSoon)
	}
	every := jittered(a.every.deep)
	// One in the future says that the clock was set back: then nothing is known of it.
	if since := time.Since(a.applier.target.Read()); since >= 0 && since < every {
		return every - since
	}
	a.dirty.deep = true
	return every
}

// rest tells once, some beats after much was done, that it is over.
func (a *Agent) rest() {
	if a.resting == 0 {
		return
	}
	if a.resting--; a.resting == 0 && a.options.Rested != nil {
		a.options.Rested()
	}
}

// jittered spreads what many hosts do at the same intervals.
func jittered(d time.Duration) time.Duration { return d*9/10 + rand.N(d/5+1) }

// wake brings the target to what is newest, and puts right what has drifted. It returns
// when to look again if nothing happens before.
func (a *Agent) wake(ctx context.Context, feed *store.Feed) time.Duration {
	if err := a.openTarget(); err != nil {
		a.diary.unopened(err)
		return openAgain
	}
	if a.take(feed) {
		a.tell() // An apply may take long.
	}
	if paused, err := a.paused(); err != nil {
		return openAgain
	} else if paused {
		return never // told wakes us
	}
	if err := a.retry(); err != nil {
		return a.failed(ctx, err)
	}
	if trial := a.applier.target.OnTrial(); trial != nil && trial.Reverting {
		// A newer generation that fails is taken back to what it came upon: that must not be
		// what was refused. What keeps the way back from being gone is told below.
		_, _ = a.prove(ctx)
	}
	wait, inSync := a.follow(ctx, feed.Err())
	if a.applier.target == nil {
		return wait
	}
	if a.applier.target.Interrupted() {
		return wait
	}
	proveWait, err := a.prove(ctx)
	if err != nil {
		return a.failed(ctx, err)
	}
	wait, inSync = sooner(wait, proveWait), inSync && a.applier.quarantined(a.view) == nil
	mendWait, err := a.mend(ctx, a.seen && feed.Err() == nil && a.view.Err == nil && a.view.Head != nil)
	if err != nil {
		return a.failed(ctx, err)
	}
	a.diary.drift(a.drifts.lines(a.options.ReportDrift, time.Now()))
	if !a.applier.prover.settled() && !a.applier.target.OnTrial().Failed {
		return sooner(sooner(wait, mendWait), max(proveWait, 0)) // A repair is to be told of too.
	}
	if inSync {
		a.pace.Reset()
		a.diary.inSync(a.applier.target.State().Position.Generation, a.options.ReportDrift, a.drifts.alarms())
	} else if a.diary.told.State == reloading {
		return 0 // It is over, and what else there is to say was said before.
	}
	return sooner(wait, mendWait)
}

// sooner returns the shorter wait.
func sooner(a, b time.Duration) time.Duration {
	if a < 0 || b >= 0 && b < a {
		return b
	}
	return a
}

// take takes what is newest in etcd, and reports whether the target may have to follow it.
func (a *Agent) take(feed *store.Feed) bool {
	a.begun = feed.Begun()
	view, ok := feed.Take()
	if !ok || a.seen && !view.Supersedes(a.view) {
		return false
	}
	// A head that moves on, or that has another keyframe, changes nothing where it leaves the
	// channel.
	other := !a.seen || view.Anew || view.Err != nil || !view.Head.Same(a.view.Head) && !a.options.sameAim(view.Head, a.view.Head)
	if other {
		a.current = false
	}
	a.view, a.seen = view, true
	return other
}

// follow brings the target to the head that was seen last; away is why etcd cannot be
// asked. It reports whether all is well, and returns when to try again if not.
func (a *Agent) follow(ctx context.Context, away error) (wait time.Duration, inSync bool) {
	if pin := a.holds.Pin; pin != nil || away != nil || !a.seen {
		if err := a.applier.target.Recover(); err != nil {
			return a.failed(ctx, err), false
		}
		a.watch.manage(a.applier.target.State().Managed)
		at := a.applier.target.State().Position.Generation
		if pin != nil {
			a.diary.pinned(*pin, at, a.view.Head)
		} else {
			a.diary.away(away, at)
		}
		return never, false // the feed wakes us
	}
	if a.current {
		return never, a.applier.quarantined(a.view) == nil
	}
	done, err := a.applier.apply(ctx, a.view)
	a.watch.manage(a.applier.target.State().Managed)
	if err != nil {
		return a.failed(ctx, err), false
	}
	a.current = true
	a.missing = nil
	a.pace.Reset()
	if done != nil {
		if done.Switched {
			a.watch.Renew()
		}
		if done.Created+done.Changed+done.Deleted+done.Corrected >= manyPaths {
			a.resting = restBeats
		}
		a.diary.applied(*done)
		a.dirty.dirs = append(a.dirty.dirs, a.drifts.directories()...)
	}
	return never, true
}

// retry does what an operator has asked for: what was refused is tried again.
func (a *Agent) retry() error {
	if a.holds.Retry == nil {
		return nil
	}
	if err := a.applier.target.Retry(); err != nil {
		return err
	}
	a.diary.log.Info("what was refused is tried again", "reason", "asked for by "+a.holds.Retry.By)
	a.holds.Retry, a.current = nil, false
	return nil
}

// prove tries out what was applied, and notes what becomes of it.
func (a *Agent) prove(ctx context.Context) (time.Duration, error) {
	before := a.applier.target.State()
	wait, err := a.applier.prove(ctx, a.view)
	if after := a.applier.target.State(); after.Managed != before.Managed {
		a.watch.manage(after.Managed)
		a.watch.Renew()
		a.dirty.all = true
	}
	if err == nil && a.current {
		if refused := a.applier.quarantined(a.view); refused != nil {
			a.diary.quarantined(refused)
		}
	}
	return wait, err
}

// paused reports whether an operator wants nothing to be done. It returns an error, noted
// already, if that cannot be told: then nothing is done either.
func (a *Agent) paused() (bool, error) {
	if a.unheld() {
		return false, nil
	}
	holds, err := a.applier.target.Holds()
	if err != nil {
		a.diary.refused(err)
		if errors.Is(err, install.ErrGone) {
			a.closeTarget()
		}
		return true, err
	}
	if !same(a.holds, holds) {
		a.dirty.all, a.current = true, false
	}
	if a.holds = holds; holds.Pause == nil {
		return false, nil
	}
	a.diary.paused(*holds.Pause)
	return true, nil
}

// told reports whether an operator has said something else than before.
func (a *Agent) told() bool {
	if a.applier.target == nil || a.unheld() {
		return false
	}
	holds, err := a.applier.target.Holds()
	return err != nil || !same(a.holds, holds)
}

// unheld reports whether an operator had said nothing before, and certainly says nothing now.
func (a *Agent) unheld() bool {
	return a.holds == install.Holds{} && a.applier.target.Unheld()
}

func same(a, b install.Holds) bool {
	one := func(a, b *install.Hold) bool { return a == b || a != nil && b != nil && *a == *b }
	return one(a.Pause, b.Pause) && one(a.Pin, b.Pin) && one(a.Retry, b.Retry)
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
	now := Status{State: a.diary.told.State, Reason: a.diary.told.Reason, Drift: a.diary.told.DriftTotal}
	if a.applier.target != nil {
		now.Position = a.applier.target.State().Position
		now.Generation = now.Position.Generation
		a.applier.prover.status(&now)
	}
	if a.view.Head != nil {
		to, _ := a.options.follow(a.view.Head)
		now.Head, now.Seen = to.Generation, to.Generation
	}
	switch {
	case now.Head <= now.Applied:
		a.behind = time.Time{}
	case a.behind.IsZero():
		a.behind = time.Now()
	}
	now.Behind, now.Failures = a.behind, a.retries
	now.Watch, now.Begun = a.watch.Health(), a.begun
	a.options.Status(now)
}

// failed notes why the target could not be brought to the head, and returns when to
// try again.
func (a *Agent) failed(ctx context.Context, err error) time.Duration {
	switch {
	case ctx.Err() != nil:
		return never
	case errors.Is(err, ErrNothing), errors.Is(err, ErrChannel):
		a.diary.waiting(err)
		return never
	case errors.Is(err, ErrQuarantined):
		a.current = true // A newer head, or an operator, wakes us.
		a.diary.quarantined(err)
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
		a.diary.refused(fmt.Errorf("%w; files are kept", a.options.Store.Advised(err)))
		a.reread(ctx)
		return damagedAgain
	}
	a.retries++
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
		a.diary.refused(fmt.Errorf("%w; files are kept", a.options.Store.Advised(fmt.Errorf("%w: %w", store.ErrDamaged, err))))
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
	opening := a.options.installOptions()
	opening.Try = a.applier.prover.trying()
	target, err := install.Open(opening)
	if err != nil {
		return err
	}
	a.applier.target = target
	a.applier.prover.take(target)
	a.dirty.all, a.current = true, false
	a.resting = restBeats
	a.watch.manage(target.State().Managed)
	a.watch.Renew()
	select {
	case a.opened <- struct{}{}:
	default:
	}
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
