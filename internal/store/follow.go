package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/confsyncd/confsyncd/internal/logging"
)

const (
	// followLast bounds the wait between tries to follow, so that hosts are back well
	// within 20 s.
	followLast = 5 * time.Second
	// recheck is how often the head is read besides the watch, which can die
	// silently; jittered by a quarter.
	recheck = 2 * time.Minute
	// reconnectJitter spreads what many hosts do after etcd came back.
	reconnectJitter = 2 * time.Second
	// queueRecords and queueBytes bound what a Feed holds for a slow taker. Beyond,
	// records are dropped, and the taker reads them from etcd.
	queueRecords = 1024
	queueBytes   = 8 << 20
)

// Feed holds what Follow saw last. It is level-triggered: who takes slowly sees the
// newest head, not every one.
type Feed struct {
	changed chan struct{} // capacity 1; never closed

	mu    sync.Mutex // guards what follows
	view  View
	seen  bool // view was filled at least once
	begun uint64
	bytes int // of view.records
	err   error
}

// NewFeed returns an empty Feed.
func NewFeed() *Feed { return &Feed{changed: make(chan struct{}, 1)} }

// Changed holds a token while there is something new to take.
func (f *Feed) Changed() <-chan struct{} { return f.changed }

// Take returns what was seen last, whether it is new or not, and forgets the records
// that came with it. ok is false until the head was read once.
func (f *Feed) Take() (v View, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v = f.view
	f.view.records, f.view.Anew, f.bytes = nil, false, 0
	return v, f.seen
}

// Begun returns how often Follow has begun: once, and after each connection that was lost.
func (f *Feed) Begun() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.begun
}

// Err returns why etcd is not being followed at the moment; nil if it is.
func (f *Feed) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *Feed) signal() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// begin starts anew from a head that was read.
func (f *Feed) begin(v View) {
	f.mu.Lock()
	f.view, f.seen, f.bytes, f.err = v, true, 0, nil
	f.view.Anew = true
	f.begun++
	f.mu.Unlock()
	f.signal()
}

func (f *Feed) lost(err error) {
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
	f.signal()
}

// position returns the revision and head of what was seen last.
func (f *Feed) position() (revision int64, head *Head) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.view.revision, f.view.Head
}

// confirm reports whether what was seen last is not older than now. If it is just the
// same, what it holds is known to hold at now's revision too: reading there works even
// after a compaction.
func (f *Feed) confirm(now View) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.view.Head.Same(now.Head) {
		f.view.revision = max(f.view.revision, now.revision)
		return true
	}
	return f.view.revision >= now.revision
}

// add takes the events of one watch response. One revision is never split over
// responses, so that a head never comes without its record.
func (f *Feed) add(resp clientv3.WatchResponse, headKey string) {
	f.mu.Lock()
	for _, ev := range resp.Events {
		v := &f.view
		v.revision = max(v.revision, ev.Kv.ModRevision)
		switch {
		case string(ev.Kv.Key) == headKey && ev.Type == clientv3.EventTypeDelete:
			v.Head, v.Err = nil, nil
		case string(ev.Kv.Key) == headKey:
			v.setHead(ev.Kv.Value, ev.Kv.ModRevision)
		case ev.Type == clientv3.EventTypePut:
			v.records = append(v.records, ev.Kv.Value)
			f.bytes += len(ev.Kv.Value)
		}
	}
	if len(f.view.records) > queueRecords || f.bytes > queueBytes {
		f.view.records, f.bytes = nil, 0
	}
	f.mu.Unlock()
	f.signal()
}

// Reasons to begin again from the head.
var (
	errReconnect   = errors.New("connection lost")
	errReplaced    = errors.New("another etcd answers")
	errSilent      = errors.New("watch brought nothing although the head moved")
	errUnconfirmed = errors.New("etcd did not confirm the watch")
)

// Follow keeps f filled until ctx ends, then returns nil. It never gives up: while
// etcd is away or refuses, f.Err tells why.
func (s *Store) Follow(ctx context.Context, f *Feed) error {
	failing := logging.NewEpisode(s.client.cfg.Log.With("tenant", s.tenant), "following etcd")
	var pace Backoff
	for ctx.Err() == nil {
		began, err := s.followOnce(ctx, f, failing)
		if ctx.Err() != nil {
			break
		}
		f.lost(err)
		failing.Failed(err, "endpoints", s.client.Endpoints())
		wait := min(pace.Next(), followLast)
		if began {
			// It worked until now; so it did for every other host, and all are back at
			// the same time.
			pace.Reset()
			wait = rand.N(reconnectJitter)
		}
		if sleep(ctx, wait) != nil {
			break
		}
	}
	return nil
}

// followOnce reads the head and watches from there until something makes it begin
// again, which is what it returns. began tells whether the head could be read.
func (s *Store) followOnce(ctx context.Context, f *Feed, failing *logging.Episode) (began bool, err error) {
	view, err := s.View(ctx)
	if err != nil {
		return false, err
	}
	etcd, err := s.client.connect(ctx)
	if err != nil {
		return false, err
	}
	if conn := etcd.ActiveConnection(); conn.GetState() != connectivity.Ready {
		// A connection may call itself ready only after its first answer; or it was
		// lost since, and what was read no longer counts.
		conn.WaitForStateChange(ctx, connectivity.Connecting)
		if view, err = s.View(ctx); err != nil {
			return false, err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return s.watch(ctx, etcd, view, f, failing.Ended)
	})
	g.Go(func() error { return untilDisconnected(ctx, etcd.ActiveConnection()) })
	g.Go(func() error { return s.recheck(ctx, view, f) })
	g.Go(func() error {
		s.client.checkVersion(ctx)
		return nil
	})
	return true, g.Wait()
}

// watch feeds f with the view, once etcd has confirmed the watch, and then with what
// comes after the view's revision.
func (s *Store) watch(ctx context.Context, etcd *clientv3.Client, from View, f *Feed, confirmed func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	unconfirmed := time.AfterFunc(callTimeout, func() { cancel(errUnconfirmed) })
	defer unconfirmed.Stop()
	// Without a leader the watch of a cut-off member would stay open and silent.
	events := etcd.Watch(clientv3.WithRequireLeader(ctx), s.keys.head(), clientv3.WithRange(s.keys.logEnd()),
		clientv3.WithRev(from.revision+1), clientv3.WithCreatedNotify())
	newest := from.revision
	for resp := range events {
		switch {
		case resp.Err() != nil:
			return s.explain(classify("watch "+s.tenant, false, resp.Err()))
		case resp.Header.ClusterId != from.cluster || resp.Header.Revision < newest:
			return errReplaced
		case resp.Created:
			unconfirmed.Stop()
			f.begin(from)
			confirmed()
		case len(resp.Events) > 0:
			f.add(resp, s.keys.head())
			newest = resp.Header.Revision
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errReconnect
}

// untilDisconnected returns once the connection is no longer ready. clientv3 would
// resume the watch on another connection without asking what is there now: against
// an etcd that was wiped meanwhile it stays open and deaf.
func untilDisconnected(ctx context.Context, conn *grpc.ClientConn) error {
	for {
		state := conn.GetState()
		if state != connectivity.Ready {
			return errReconnect
		}
		if !conn.WaitForStateChange(ctx, state) {
			return ctx.Err()
		}
	}
}

// recheck reads the head now and then, and returns if the watch has not brought
// what is there.
func (s *Store) recheck(ctx context.Context, from View, f *Feed) error {
	for {
		if err := sleep(ctx, recheck*3/4+rand.N(recheck/2)); err != nil {
			return err
		}
		revision, _ := f.position()
		now, err := s.View(ctx)
		if err != nil {
			return err
		}
		if now.cluster != from.cluster || now.revision < revision {
			return fmt.Errorf("%w: its revision is %d after %d", errReplaced, now.revision, revision)
		}
		if f.confirm(now) {
			continue
		}
		// The event may be on its way.
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
		if !f.confirm(now) {
			return errSilent
		}
	}
}
