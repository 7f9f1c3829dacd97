package fleet

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/logging"
	"github.com/confsyncd/confsyncd/internal/store"
)

const (
	// recheck is how often a host looks whether etcd still has what it said; jittered.
	recheck = time.Minute
	// refusedAgain is when a host tries again that is not allowed to report.
	refusedAgain = time.Minute
	// longestReason is what is told of a reason, in bytes: a report has its bound, see
	// codec.MaxHost, and the host's own status says it in full.
	longestReason = 512
)

// Options say who reports, and where.
type Options struct {
	Off    bool // nothing is said
	Tenant string
	Store  *store.Store
	ID     string            // of the host
	Labels map[string]string // "role": "web"
	Name   string            // of the machine
	// TTL is for how long the host counts as up without a sign of life.
	TTL     time.Duration
	Version string // of confsyncd
	// StateDir remembers which process was the last: so one that follows a process that was killed
	// is not taken for another beside it.
	StateDir string
	Log      hclog.Logger
}

// Reporter tells what a process's targets of one tenant are at.
type Reporter struct {
	options  Options
	instance string
	failing  *logging.Episode
	changed  chan struct{} // capacity 1; never closed
	turn     chan struct{} // capacity 1: who reports for all holds the token
	recheck  time.Duration

	mu        sync.Mutex // guards what follows
	targets   map[string]codec.HostTarget
	attending map[string]int  // how often, by target; a new agent may begin before the old one ends
	left      map[string]bool // targets that nobody looks after any more, while others are

	// What follows is of whoever holds the turn.
	life   *store.Life // nil if there is none
	said   codec.Host  // without Time; zero if nothing was said, or etcd lost it
	pace   pace        // when something is said
	looked time.Time   // when it was last seen that etcd has it
	lock   *os.File    // on the memory of the last process; nil if it is not ours
}

// NewReporter returns a reporter. It does not touch etcd.
func NewReporter(o Options) *Reporter {
	return &Reporter{
		options: o, instance: newInstance(), failing: logging.NewEpisode(o.Log.With("tenant", o.Tenant), "reporting this host"),
		changed: make(chan struct{}, 1), turn: make(chan struct{}, 1), pace: pace{pause: pause, settle: settle}, recheck: recheck, targets: make(map[string]codec.HostTarget),
		attending: make(map[string]int), left: make(map[string]bool),
	}
}

// Set says what a target is at; Since is filled in. It never waits. What is said of a target
// after it was looked after for the last time is not heard.
func (r *Reporter) Set(t codec.HostTarget) {
	t.Reason = cut(t.Reason)
	if t.Hook != nil {
		hook := *t.Hook
		hook.Reason = cut(hook.Reason)
		t.Hook = &hook
	}
	r.mu.Lock()
	if r.left[t.Dir] {
		r.mu.Unlock()
		return
	}
	before, known := r.targets[t.Dir]
	t.Since = before.Since
	if !known || before.State != t.State {
		t.Since = time.Now().UTC().Truncate(time.Millisecond)
	}
	r.targets[t.Dir] = t
	r.mu.Unlock()
	if !known || !reflect.DeepEqual(before, t) {
		r.wake()
	}
}

// cut shortens a reason.
func cut(reason string) string {
	if len(reason) <= longestReason {
		return reason
	}
	return strings.ToValidUTF8(reason[:longestReason], "") + "…"
}

func (r *Reporter) wake() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// Attend reports for as long as a target is looked after: until ctx ends, then it returns
// nil. Of all that attend one does the work. When the last ends, the host's sign of life does,
// and what it said stays.
func (r *Reporter) Attend(ctx context.Context, dir string) error {
	if r.options.Off {
		return nil
	}
	r.join(dir)
	select {
	case <-ctx.Done():
	case r.turn <- struct{}{}:
		r.loop(ctx)
		<-r.turn
	}
	if r.leave(dir) {
		r.turn <- struct{}{}
		r.end(ctx)
		<-r.turn
	} else {
		r.wake()
	}
	return nil
}

func (r *Reporter) join(dir string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attending[dir]++
	delete(r.left, dir)
}

// leave reports whether nobody attends any more; else the target is told of no more.
func (r *Reporter) leave(dir string) (last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.attending[dir]--; r.attending[dir] > 0 {
		return false
	}
	if delete(r.attending, dir); len(r.attending) == 0 {
		return true
	}
	delete(r.targets, dir)
	r.left[dir] = true
	return false
}

// loop reports until ctx ends.
func (r *Reporter) loop(ctx context.Context) {
	var again store.Backoff
	for ctx.Err() == nil {
		wait, err := r.step(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, store.ErrNoHead):
			wait = r.pace.pause // There is nothing that could be told of.
		case errors.Is(err, store.ErrRefused):
			r.failing.Failed(err)
			wait = refusedAgain
		case err != nil:
			r.failing.Failed(err)
			wait = max(again.Next(), r.pace.pause/2)
		default:
			again.Reset()
			r.failing.Ended()
		}
		var lost <-chan struct{}
		if r.life != nil {
			lost = r.life.Lost()
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-lost:
			// etcd may be another one, or have been away: others find out now too.
			r.lose(ctx)
		case <-r.changed:
		}
		timer.Stop()
	}
}

// lose gives up a sign of life that etcd has lost.
func (r *Reporter) lose(ctx context.Context) {
	r.options.Log.Warn("the host's sign of life has ended: it is given anew", "tenant", r.options.Tenant)
	_ = r.life.End(ctx) // It has ended.
	r.life, r.looked, r.pace.after = nil, time.Time{}, time.Time{}
}

// step says what is to be said now, and returns when to look again.
func (r *Reporter) step(ctx context.Context) (time.Duration, error) {
	now := time.Now()
	if r.life != nil && now.Sub(r.looked) >= r.recheck {
		if err := r.look(ctx); err != nil {
			return 0, err
		}
		r.looked = now.Add(rand.N(r.recheck / 4))
	}
	host := r.host()
	news := !reflect.DeepEqual(host, r.said)
	if !news && r.life != nil {
		r.pace.none()
		return time.Until(r.looked.Add(r.recheck)), nil
	}
	if wait := time.Until(r.pace.due(now, slices.ContainsFunc(host.Targets, underWay))); wait > 0 {
		return wait, nil
	}
	if err := r.live(ctx); err != nil {
		return 0, err
	}
	if news = !reflect.DeepEqual(host, r.said); news {
		said := host
		host.Time = time.Now().UTC().Truncate(time.Millisecond)
		r.pace.said(time.Now()) // whatever becomes of it
		if err := r.options.Store.Report(ctx, r.options.ID, host); err != nil {
			return 0, err
		}
		r.said = said
	}
	return time.Until(r.looked.Add(r.recheck)), nil
}

// underWay reports whether a target is about to be something else, by itself.
func underWay(t codec.HostTarget) bool {
	return t.State == "reloading" || t.Reason == "" && t.Applied < t.Seen
}

// host returns what is to be said.
func (r *Reporter) host() codec.Host {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.options
	h := codec.Host{Name: o.Name, Instance: r.instance, Version: o.Version, Labels: o.Labels, Targets: []codec.HostTarget{}}
	for _, dir := range slices.Sorted(maps.Keys(r.targets)) {
		h.Targets = append(h.Targets, r.targets[dir])
	}
	return h
}

// look looks whether etcd still has what was said.
func (r *Reporter) look(ctx context.Context) error {
	report, life, err := r.options.Store.Reported(ctx, r.options.ID, r.instance)
	if err != nil {
		return err
	}
	if !report {
		r.said = codec.Host{}
	}
	if !life {
		return r.life.Show(ctx)
	}
	return nil
}

// live gives a sign of life, if there is none.
func (r *Reporter) live(ctx context.Context) error {
	if r.life != nil {
		return nil
	}
	o := r.options
	former, err := r.remember()
	if err != nil {
		o.Log.Debug("the process before this one may count for a while", "tenant", o.Tenant, "error", err)
	}
	if former != "" && former != r.instance {
		if err := o.Store.Bury(ctx, o.ID, former); err != nil {
			return err
		}
	}
	who := codec.Alive{Instance: r.instance, Name: o.Name, PID: os.Getpid(), Since: time.Now().UTC().Truncate(time.Millisecond)}
	life, err := o.Store.HostLives(ctx, o.ID, who, o.TTL)
	if err != nil {
		return err
	}
	r.life, r.looked, r.said = life, time.Now().Add(rand.N(r.recheck/4)), codec.Host{}
	return nil
}

// end takes the sign of life away.
func (r *Reporter) end(ctx context.Context) {
	if r.life != nil {
		if err := r.life.End(ctx); err != nil {
			r.options.Log.Debug("the sign of life ends with its lease", "tenant", r.options.Tenant, "error", err)
		}
		r.life = nil
	}
	if r.lock != nil {
		_ = r.lock.Close() // What it says was written long ago.
		r.lock = nil
	}
}
