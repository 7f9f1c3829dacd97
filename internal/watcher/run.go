package watcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lookEvery  = time.Second // how often the root's identity is checked
	retryEvery = time.Minute // how often missing watches are asked for again

	// coarse is what a timer of Go may be late: its netpoller waits in whole milliseconds
	// (epoll_wait(2)).
	coarse = time.Millisecond
)

// state is what Run last reported in the log.
type state int

const (
	watching state = iota
	polled         // some directories, or all
	blind          // the root is missing or unreadable
)

// run is what one Run owns; only its goroutine uses it.
type run struct {
	*Watcher
	set   *watches // nil while the root is missing or cannot be watched
	id    rootID   // of the root that set watches
	made  time.Time
	state state
	batch batch
	polls polls
}

// Run watches until ctx ends and then returns ctx.Err(), after everything that
// it started has ended. Whatever the file system does is reported by Degraded
// and in the log, and tried again. Call it once.
//
// The first signal asks for a scan of everything, and comes as soon as the
// watches stand, or cannot be had.
func (w *Watcher) Run(ctx context.Context) error {
	r := &run{Watcher: w}
	defer r.close()
	settled := time.NewTimer(time.Hour)
	defer settled.Stop()
	poll := time.NewTimer(time.Hour)
	defer poll.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()

	r.remake(ctx)
	r.signal(dirtySet{all: true})
	for ctx.Err() == nil {
		r.arm(settled, poll)
		select {
		case <-ctx.Done():
		case <-r.ready():
			// With no time to settle, a timer would only be late.
			r.note(ctx)
			if r.due() {
				r.settle(ctx)
			}
		case <-settled.C:
			r.rest()
			r.settle(ctx)
		case <-poll.C:
			r.signal(r.polls.take())
		case took := <-r.costs:
			r.polls.cost(took, time.Now())
		case <-look.C:
			r.look(ctx)
		case <-w.renewal:
			r.batch = batch{}
			r.remake(ctx)
			r.signal(dirtySet{all: true})
		}
	}
	return ctx.Err()
}

func (r *run) ready() <-chan struct{} {
	if r.set == nil {
		return nil
	}
	return r.set.queue.ready
}

// arm sets the timers to what is to come next.
func (r *run) arm(settled, poll *time.Timer) {
	settled.Stop()
	if !r.batch.empty() {
		settled.Reset(time.Until(r.batch.due(r.o.Settle, r.o.MaxDelay)) - coarse)
	}
	poll.Stop()
	if !r.polls.due.IsZero() {
		poll.Reset(time.Until(r.polls.due))
	}
}

func (r *run) note(ctx context.Context) {
	if r.set != nil && !r.set.note(ctx, &r.batch, time.Now()) {
		r.overflowed()
	}
}

// rest waits for what the timer has left until the batch is due, if it is that: nanosleep(2)
// is late by some 50 µs. Interrupted, it leaves the rest to the timer again.
func (r *run) rest() {
	if r.batch.empty() {
		return
	}
	if left := time.Until(r.batch.due(r.o.Settle, r.o.MaxDelay)); left > 0 && left <= coarse {
		ts := unix.NsecToTimespec(left.Nanoseconds())
		_ = unix.Nanosleep(&ts, nil)
	}
}

// settle signals the batch if it is due, with what lies in the queue counted.
func (r *run) settle(ctx context.Context) {
	r.note(ctx)
	if !r.due() {
		return
	}
	b := r.batch
	r.batch = batch{}
	if b.remake {
		r.remake(ctx)
		b.addAll()
	}
	r.signal(b.dirtySet)
}

// due reports whether the batch has settled, or has waited long enough.
func (r *run) due() bool {
	return !r.batch.empty() && !time.Now().Before(r.batch.due(r.o.Settle, r.o.MaxDelay))
}

// look notices what raises no event: a root missing, replaced or mounted over,
// and watches that may be had again.
//
// RACE: a root replaced and put back between two looks, both times by moving a
// symlink or a parent, goes unseen; the watches are still on the right
// directories unless they were made in between.
func (r *run) look(ctx context.Context) {
	id, err := identify(r.o.Dir)
	if err != nil {
		if r.set != nil {
			r.lose(err)
			r.batch = batch{}
			r.signal(dirtySet{all: true})
		}
		return
	}
	retry := r.set != nil && r.set.unwatched > 0 && time.Since(r.made) >= retryEvery
	if r.set != nil && id == r.id && !retry {
		return
	}
	r.batch.remake = false
	if r.remake(ctx) {
		r.batch.addAll()
		r.batch.touch(time.Now())
	}
}

// remake replaces the watches and reports whether there are any now. Who calls
// it scans everything afterwards: nothing was seen in between.
func (r *run) remake(ctx context.Context) bool {
	r.close()
	r.made = time.Now()
	id, err := identify(r.o.Dir)
	if err != nil {
		r.lose(err)
		return false
	}
	set, err := r.openWatches(ctx)
	if err != nil {
		r.lose(err)
		return false
	}
	r.set, r.id = set, id
	r.o.Log.Debug("watches made anew", "path", r.o.Dir, "watches", set.count,
		"unreadable", set.unreadable, "duration_ms", time.Since(r.made).Milliseconds())
	r.polls.plan(whole(set.polled), time.Now())
	if err := set.degraded(); err != nil {
		r.report(polled, err)
	} else {
		r.report(watching, nil)
	}
	return true
}

// lose records that the root is not watched. If it is there, all of it is polled.
func (r *run) lose(err error) {
	r.close()
	if gone(err) {
		r.polls.plan(nil, time.Now())
		r.report(blind, fmt.Errorf("watch %s: %w", r.o.Dir, err))
		return
	}
	r.polls.plan([]string{"/"}, time.Now())
	r.report(polled, polling(r.o.Dir, fmt.Errorf("it is not watched: %w", err)))
}

// gone reports whether err says that there is nothing to poll either.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) || errors.Is(err, unix.ENOTDIR)
}

// report keeps Degraded up to date and logs once per episode.
func (r *run) report(s state, err error) {
	directories := 0
	if r.set != nil {
		directories = r.set.count
	}
	r.Watcher.set(directories, s, err)
	if s == r.state {
		return
	}
	r.state = s
	switch s {
	case watching:
		r.o.Log.Info("everything is watched again", "path", r.o.Dir)
	case polled:
		r.o.Log.Warn("changes may be noticed late", "path", r.o.Dir, "error", err)
	case blind:
		r.o.Log.Warn("changes may go unnoticed until the next full scan", "path", r.o.Dir, "error", err)
	}
}

func (r *run) close() {
	if r.set != nil {
		r.set.close()
		r.set = nil
	}
}
