package publisher

import (
	"context"
	"errors"
	"time"

	"github.com/confsyncd/confsyncd/internal/logging"
	"github.com/confsyncd/confsyncd/internal/store"
)

const (
	// firstSweep is how long after its start a daemon sweeps for the first time, at the latest.
	firstSweep = time.Minute
	// sweepAgain is when a sweep goes on that is not its turn, or has lost a race.
	sweepAgain = 100 * time.Millisecond
	// sweepTries is how many times in a row that may be.
	sweepTries = 50
)

// marker marks beside the steps what is to be swept, because that reads all that is new. It is
// asked once at a time, and answers each time.
type marker struct {
	asks chan struct{} // capacity 1; never closed
	done chan marked   // never closed

	store   *store.Store
	sweeper *store.Sweeper // the marker's, until it has answered; then the loop's, until it asks
}

// marked is what a marker answers.
type marked struct {
	garbage *store.Garbage
	space   store.Space // zero if it cannot be known
	err     error
}

func newMarker(o Options) *marker {
	return &marker{asks: make(chan struct{}, 1), done: make(chan marked), store: o.Store, sweeper: o.Store.NewSweeper(o.Retain)}
}

// run works until ctx ends, then returns nil.
func (m *marker) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.asks:
			var answer marked
			answer.garbage, answer.err = m.mark(ctx)
			answer.space, _ = m.store.Space(ctx) // only to warn by
			select {
			case <-ctx.Done():
				return nil
			case m.done <- answer:
			}
		}
	}
}

// mark marks what is there now. The loop's view is as old as the history, if nobody commits:
// the packs that a sweep has removed since would be found there once more, or nothing at all,
// if etcd was compacted since. That may also happen while it is being read.
func (m *marker) mark(ctx context.Context) (garbage *store.Garbage, err error) {
	for range 2 {
		var view store.View
		if view, err = m.store.View(ctx); err != nil {
			return nil, err
		}
		if garbage, err = m.sweeper.Mark(ctx, view); !errors.Is(err, store.ErrGone) {
			break
		}
	}
	return garbage, err
}

// sweep is the daemon's part of a sweep: it removes what was marked, a batch between steps.
type sweep struct {
	marker *marker
	due    *time.Timer // for the next sweep
	batch  *time.Timer // for the next batch of this one
	asked  bool        // the marker has still to answer
	tries  int         // that were in vain, in a row

	garbage *store.Garbage // nil while there is none to remove
	went    store.Count
	begin   time.Time

	failing *logging.Episode
	filling *logging.Episode // of etcd's quota
}

// newSweep returns the sweeps of a daemon; the timers are stopped by stop.
func newSweep(o Options, m *marker) *sweep {
	s := &sweep{
		marker: m, due: time.NewTimer(min(o.Sweep, firstSweep)), batch: time.NewTimer(time.Hour),
		failing: logging.NewEpisode(o.Log.With("tenant", o.Tenant), "sweeping"),
		filling: logging.NewEpisode(o.Log.With("tenant", o.Tenant), "keeping etcd below its quota"),
	}
	s.batch.Stop()
	if o.Sweep == 0 {
		s.due.Stop()
	}
	return s
}

func (s *sweep) stop() {
	s.due.Stop()
	s.batch.Stop()
}

// sweep has marked what is to be swept, if it is this publisher's to do.
func (d *daemon) sweep() {
	d.sweeps.due.Reset(d.options.Sweep)
	if d.leads() && !d.sweeps.asked && d.sweeps.garbage == nil {
		d.sweeps.asked, d.sweeps.begin = true, time.Now()
		d.sweeps.marker.asks <- struct{}{}
	}
}

// leads reports whether the head is this publisher's to go on from.
func (d *daemon) leads() bool {
	return d.live && d.stands() && (d.election == nil || !d.seat.IsZero())
}

// swept takes what was marked.
func (d *daemon) swept(ctx context.Context, answer marked) {
	s := d.sweeps
	s.asked, s.tries, s.went = false, 0, store.Count{}
	d.space = answer.space
	d.warnOfSpace(answer.space)
	if answer.err != nil {
		d.notSwept(ctx, answer.err)
		return
	}
	s.garbage = answer.garbage
	d.sweepBatch(ctx)
}

// sweepBatch removes a batch of what was marked.
func (d *daemon) sweepBatch(ctx context.Context) {
	s := d.sweeps
	if s.garbage == nil {
		return
	}
	if !d.leads() {
		s.garbage = nil
		return
	}
	if s.garbage.Empty() {
		d.endSweep()
		return
	}
	if d.keeper.asked && s.tries < sweepTries {
		s.tries++ // A keyframe that is being staged relies on what is there.
		s.batch.Reset(sweepAgain)
		return
	}
	begin := time.Now()
	went, err := s.garbage.Remove(ctx, d.commits(), d.view)
	s.went = s.went.Add(went)
	switch {
	case err == nil:
		s.tries = 0
		s.batch.Reset(store.SweepRest(time.Since(begin)))
	case (errors.Is(err, store.ErrLostRace) || d.reregistered(ctx, err)) && s.tries < sweepTries:
		s.tries++ // The feed brings the head that is there now.
		s.batch.Reset(sweepAgain)
	default:
		s.garbage = nil
		d.notSwept(ctx, err)
	}
}

// endSweep tells what went.
func (d *daemon) endSweep() {
	s := d.sweeps
	s.failing.Ended()
	if s.went != (store.Count{}) {
		d.options.Log.Info("swept", "tenant", d.options.Tenant, "records", s.went.Records, "packs", s.went.Packs, "bytes", s.went.Bytes,
			"oldest", s.garbage.Oldest, "duration_ms", time.Since(s.begin).Milliseconds())
		if d.options.Swept != nil {
			d.options.Swept(s.went)
		}
	}
	s.garbage = nil
	if d.leads() {
		d.keeper.ask(d.commits(), d.view) // it had to wait
	}
}

// notSwept notes why a sweep did not come to its end: the next one goes on with it. That others
// write all the time, or that another leads, is no error.
func (d *daemon) notSwept(ctx context.Context, err error) {
	if ctx.Err() == nil && !errors.Is(err, store.ErrLostRace) && !errors.Is(err, store.ErrNotLeader) {
		d.sweeps.failing.Failed(err)
	}
}

// warnOfSpace warns while etcd is nearly full.
func (d *daemon) warnOfSpace(space store.Space) {
	if !space.NearlyFull() {
		d.sweeps.filling.Ended()
		return
	}
	d.sweeps.filling.Failed(errNearlyFull, "bytes", space.Used, "quota", space.Quota, "in_use", space.InUse)
}

// errNearlyFull tells what to do before etcd refuses writes.
var errNearlyFull = errors.New("etcd has used more than 80% of its quota: compact and defragment it, retain less, or raise its --quota-backend-bytes")
