package publisher

import (
	"cmp"
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/logging"
	"github.com/confsyncd/confsyncd/internal/scan"
	"github.com/confsyncd/confsyncd/internal/store"
	"github.com/confsyncd/confsyncd/internal/watcher"
)

// How soon a step is tried again.
const (
	busyPoll    = 100 * time.Millisecond // a busy file may lie where no watch is
	busyWarn    = 10 * time.Minute
	changedPoll = 20 * time.Millisecond // a file changed before it was read
	// changedOften is after how many times that is worth a line.
	changedOften = 50
	rootPoll     = time.Second
	heldFirst    = 100 * time.Millisecond // closing a file raises no event
	heldLast     = 2 * time.Second
	beatEvery    = 5 * time.Second
	never        = time.Duration(-1)
)

// manyChanges is from how many on a commit leaves so much behind in memory that it is given
// back at once: an idle process would keep it.
const manyChanges = 5000

// maxDirty is how many directories and paths are noted while nothing can be published:
// beyond, everything is looked at.
const maxDirty = 10000

// Run publishes until ctx ends, then returns nil. etcd or the directory being away
// does not end it. It returns ErrRunning if another process publishes the directory
// already, and does not end within ten seconds, as a push does; one that stands by waits for
// its end, however long that takes. It returns an error if its memory in state_dir cannot be used.
func (p *Publisher) Run(ctx context.Context) error {
	memory, err := p.awaitLock(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	defer memory.logClose(p.options.Log)
	p.memory = memory
	p.bases.open(memory.dir, false)
	defer p.bases.close()
	p.recallStamps()
	o := p.options
	w := watcher.New(watcher.Options{Dir: o.Dir, Settle: o.Settle, MaxDelay: o.MaxDelay, Ignore: p.unwatched, Log: o.Log})
	feed := store.NewFeed()
	rehash, keeper := newRehasher(), newKeeper(o, p.bases.read)
	marker := newMarker(o)
	// It outlives the loop: the seat is given up after the commit in hand.
	electing, resign := context.WithCancel(context.WithoutCancel(ctx))
	defer resign()
	g, ctx := errgroup.WithContext(ctx)
	if o.Standby > 0 {
		p.election, p.lineage = p.newElection(), newLineage(o)
		g.Go(func() error { return p.election.Run(electing) })
	}
	g.Go(func() error { return ended(ctx, w.Run(ctx)) })
	g.Go(func() error { return o.Store.Follow(ctx, feed) })
	g.Go(func() error { return rehash.run(ctx, o) })
	g.Go(func() error { return keeper.run(ctx) })
	g.Go(func() error { return marker.run(ctx) })
	g.Go(func() error {
		defer resign()
		d := daemon{
			Publisher: p, watcher: w, feed: feed, rehash: rehash, keeper: keeper, diary: newDiary(o), sweeps: newSweep(o, marker),
			troubles: logging.NewEpisode(o.Log.With("tenant", o.Tenant), "publishing"),
			keeping:  logging.NewEpisode(o.Log.With("tenant", o.Tenant), "making a keyframe"),
			copying:  logging.NewEpisode(o.Log.With("tenant", o.Tenant), "keeping what patches apply to"),
		}
		return d.loop(store.Beating(ctx, o.Beat))
	})
	return g.Wait()
}

// ended drops the error with which something tells that its context ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// unwatched tells what the watcher need not look at. The end of a busy file is
// something to look at.
func (p *Publisher) unwatched(path string, dir bool) bool {
	return p.scanner.Rules().Ignored(path, dir) && !slices.Contains(p.options.BusyFiles, path)
}

// daemon is a Publisher that runs.
type daemon struct {
	*Publisher
	watcher *watcher.Watcher
	feed    *store.Feed
	rehash  *rehasher
	keeper  *keeper
	sweeps  *sweep
	diary   *diary

	candidate candidate // in an election alone

	dirty    watcher.Dirty
	retrying store.Backoff
	live     bool             // it was, once
	asked    bool             // all files are to be read again once it is known what they hold
	littered bool             // a large commit has left much behind in memory
	failures uint64           // of steps
	space    store.Space      // of etcd, as the last sweep found it
	troubles *logging.Episode // errors of steps
	keeping  *logging.Episode // errors of keyframes
	copying  *logging.Episode // errors of bases
}

// loop wakes for changes on either side and makes a step each time.
func (d *daemon) loop(ctx context.Context) error {
	rescan := time.NewTicker(d.options.Rescan)
	defer rescan.Stop()
	defer d.keepStamps()
	rehash := time.NewTimer(d.options.rehashWait(cmp.Or(d.scanner.Complete(), time.Now())))
	defer rehash.Stop()
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	defer d.sweeps.stop()
	var elected <-chan struct{} // nil if there is no election
	if d.election != nil {
		elected = d.election.Changed()
	}
	for {
		d.options.Beat()
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			continue
		case <-d.Publisher.rescan:
			d.note(watcher.Dirty{All: true})
			d.asked = true
		case <-rehash.C:
			rehash.Reset(d.readAgain())
			continue
		case found := <-d.rehash.found:
			if d.rehashed(found); len(found.paths) == 0 {
				d.keepStamps()
				continue
			}
		case answer := <-d.keeper.done:
			d.keep(ctx, answer)
			continue
		case <-d.sweeps.due.C:
			d.sweep()
			continue
		case answer := <-d.sweeps.marker.done:
			d.swept(ctx, answer)
			d.tell()
			continue
		case <-d.sweeps.batch.C:
			d.sweepBatch(ctx)
			continue
		case <-d.watcher.Changed():
			d.note(d.watcher.Take())
		case <-d.feed.Changed():
		case <-elected:
		case <-again.C:
		case <-rescan.C:
			d.note(watcher.Dirty{All: true})
		}
		wait := d.wake(ctx)
		if d.asked && d.scanned != (diff.Tree{}) {
			d.asked = false
			d.readAgain()
		}
		if d.littered {
			d.littered = false
			debug.FreeOSMemory()
		}
		d.tell()
		again.Stop()
		if wait != never {
			again.Reset(wait)
		}
	}
}

// tell tells what the source is at.
func (d *daemon) tell() {
	if d.options.Status == nil {
		return
	}
	now := Status{
		State: d.diary.told.State, Reason: d.diary.told.Reason, Held: d.diary.all, Failures: d.failures, Space: d.space,
		Instance: d.memory.instance(), Watch: d.watcher.Health(), Begun: d.feed.Begun(),
	}
	if d.view.Head != nil {
		now.Generation = d.view.Head.Position.Generation
	}
	d.options.Status(now)
}

// note adds to what the next scan has to look at. What was done under a busy file that has come
// or gone need not have been told of as a whole: half of it may still be about to settle.
func (d *daemon) note(more watcher.Dirty) {
	d.dirty.All, d.dirty.Poll = d.dirty.All || more.All || d.hadBusy(more), d.dirty.Poll || more.Poll
	d.dirty.Dirs = merged(d.dirty.Dirs, more.Dirs)
	d.dirty.Paths = merged(d.dirty.Paths, more.Paths)
	if d.dirty.All || len(d.dirty.Dirs)+len(d.dirty.Paths) > maxDirty {
		d.dirty.All, d.dirty.Dirs, d.dirty.Paths = true, nil, nil
	}
}

// hadBusy reports whether a busy file may have come or gone.
func (d *daemon) hadBusy(in watcher.Dirty) bool {
	return slices.ContainsFunc(d.options.BusyFiles, func(path string) bool {
		return slices.Contains(in.Paths, path) || slices.Contains(in.Dirs, diff.Parent(path))
	})
}

// merged returns what is in either of two lists, sorted.
func merged(a, b []string) []string {
	all := append(a, b...)
	slices.Sort(all)
	return slices.Compact(all)
}

// wake makes a step, and returns when to wake again if nothing happens before.
func (d *daemon) wake(ctx context.Context) time.Duration {
	d.elected()
	seen, ok := d.feed.Take()
	if err := d.feed.Err(); err != nil || !ok {
		if err != nil {
			d.diary.state("waiting", "etcd cannot be followed: "+err.Error())
		}
		return never // the feed wakes us
	}
	if seen.Supersedes(d.view) {
		d.view = seen
	}
	if seen.Anew {
		d.registered = nil // It may be another etcd.
	}
	out, err := d.step(ctx, d.dirty)
	return sooner(d.candidacy(out, err), d.after(ctx, out, err))
}

// after notes how a step went, and returns when to make the next one if nothing happens
// before.
func (d *daemon) after(ctx context.Context, out outcome, err error) time.Duration {
	if out.settling > 0 {
		return out.settling
	}
	if out.scanned {
		if d.dirty.Poll {
			d.watcher.Polled(out.scanning)
		}
		d.dirty = watcher.Dirty{}
	}
	if ctx.Err() != nil && out.commit == nil {
		return never
	}
	if out.commit != nil {
		out.held = append(out.held, d.again(*out.commit)...)
	}
	if out.scanned {
		d.diary.held(out.held)
	}
	if out.commit != nil {
		d.diary.committed(*out.commit)
		d.copy(*out.commit)
		d.littered = d.littered || len(out.commit.Changes) >= manyChanges
	}
	if err != nil && !errors.Is(err, errStandingBy) {
		return d.failed(ctx, out.held, err)
	}
	if out.commit == nil || len(out.commit.Left) == 0 {
		d.changing, d.left = 0, nil
	}
	d.troubles.Ended()
	d.retrying.Reset()
	if err != nil {
		return d.standBy(out)
	}
	if !d.live {
		d.live = true
		d.keepStamps() // Who kills it need not read all again.
	}
	d.diary.live(len(out.held), d.diary.beside(d.memory.have().Position.Generation, d.differences()), d.watcher.Degraded(), d.near)
	if d.sweeps.garbage == nil { // else what a keyframe reuses may go
		d.keeper.ask(d.commits(), d.view)
	}
	return heldWait(out.held)
}

// differences returns what leads from the head to the directory, while that is more than
// edits.
func (d *daemon) differences() []diff.Change {
	if !d.memory.apart() {
		return nil
	}
	return diff.Compare(d.memory.have().Tree, d.scanned)
}

// sooner returns the shorter of two waits.
func sooner(a, b time.Duration) time.Duration {
	if a == never || b == never {
		return max(a, b)
	}
	return min(a, b)
}

// copy keeps what the next patches apply to. Without it they only are not made.
func (d *daemon) copy(c Commit) {
	if err := d.keepBases(c); err != nil {
		d.copying.Failed(err)
		return
	}
	d.copying.Ended()
}

// failed notes why a step did not succeed, and returns when to try again.
func (d *daemon) failed(ctx context.Context, held []scan.Held, err error) time.Duration {
	switch {
	case errors.Is(err, store.ErrNotLeader):
		d.election.Deposed(d.seat)
		return 0
	case errors.Is(err, store.ErrRegistration):
		return 0 // The next step reads it.
	case errors.Is(err, errBusy):
		// What is done under a busy file need not have settled when it goes.
		d.note(watcher.Dirty{All: true})
		if d.election == nil || d.candidate.leading {
			d.diary.busy(err)
		}
		return busyPoll
	case errors.Is(err, errDisturbed):
		d.note(watcher.Dirty{All: true})
		return changedPoll
	case errors.Is(err, scan.ErrChanged):
		return d.changed(err)
	case errors.Is(err, scan.ErrRootMissing):
		d.diary.state("holding", err.Error()+"; nothing is deleted: put the directory back, or mount it")
		return rootPoll
	case errors.Is(err, ErrRefused), errors.Is(err, ErrConflict):
		d.diary.state("holding", err.Error())
		return sooner(heldWait(held), d.restrained(err)) // else either side must change
	case errors.Is(err, store.ErrDamaged), errors.Is(err, codec.ErrDamaged), errors.Is(err, codec.ErrNewer):
		d.diary.state("holding", d.options.Store.Advised(err).Error())
		return d.lookAgain(ctx)
	case errors.Is(err, store.ErrLostRace):
		if view, viewErr := d.options.Store.View(ctx); viewErr == nil {
			d.view = view
			return 0
		}
	}
	d.failures++
	d.troubles.Failed(err)
	d.diary.state("waiting", err.Error())
	return d.lookAgain(ctx)
}

// lookAgain reads the head anew, and returns when to try again.
func (d *daemon) lookAgain(ctx context.Context) time.Duration {
	if view, err := d.options.Store.View(ctx); err == nil {
		d.view = view
	}
	return d.retrying.Next()
}

// again has the next scan look at what a commit has left to the next, and returns it.
func (d *daemon) again(c Commit) []scan.Held {
	dirs := make([]string, len(c.Left))
	for i, path := range c.Left {
		dirs[i] = diff.Parent(path)
	}
	d.note(watcher.Dirty{Dirs: dirs})
	return d.leave(c.Left)
}

// changed notes that a path changed between being scanned and being read, and returns
// when to try again.
func (d *daemon) changed(err error) time.Duration {
	d.note(watcher.Dirty{Dirs: []string{diff.Parent(d.reading)}})
	d.changing++
	if d.changing > changedOften {
		d.failures++
		d.troubles.Failed(err)
		return d.retrying.Next()
	}
	return changedPoll
}

// heldWait returns when to look again at held paths whose end raises no event.
func heldWait(held []scan.Held) time.Duration {
	wait := never
	for _, h := range held {
		if h.Reason.Temporary() {
			again := min(max(time.Since(h.Since)/4, heldFirst), heldLast)
			if wait == never || again < wait {
				wait = again
			}
		}
	}
	return wait
}
