package election

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/logging"
	"github.com/confsyncd/confsyncd/internal/store"
)

// Options say who stands for election, and where.
type Options struct {
	Store *store.Store
	// Who is told to the others. No other living process may have the instance: a seat
	// that it holds at the start is taken for one that a killed process left behind.
	Who codec.Candidate
	// TTL is after what time without a sign of life a seat is lost, in whole seconds,
	// rounded up.
	TTL time.Duration
	Log hclog.Logger
}

// State is what is known of the election.
type State struct {
	// Seat is what commits compare, see store.LedBy; zero unless this process leads.
	Seat store.Seat
	// Leader is whoever leads; zero if nobody is known to.
	Leader codec.Candidate
}

// Leads reports whether this process leads.
func (s State) Leads() bool { return !s.Seat.IsZero() }

// Election is one process's part in an election. Its methods may be called from several
// goroutines.
type Election struct {
	options Options
	changed chan struct{} // capacity 1; never closed
	check   chan struct{} // capacity 1; never closed: tells the candidacy to look

	inherited bool       // the candidacy's alone: seats of before this process are dealt with
	left      store.Seat // the candidacy's alone: a seat that could not be given up

	mu    sync.Mutex // guards what follows
	eager bool       // it wants to lead
	seat  store.Seat // zero if it does not stand
	lost  bool       // the seat is gone
	known store.Candidates
	peers map[string]bool // instances that stood for election, in the time of this process
	names map[string]bool // of these publishers
}

// New returns an Election, in which the process does not stand before it is told to.
func New(o Options) *Election {
	return &Election{options: o, changed: make(chan struct{}, 1), check: make(chan struct{}, 1), peers: make(map[string]bool), names: make(map[string]bool)}
}

// Changed holds a token while the state may have changed.
func (e *Election) Changed() <-chan struct{} { return e.changed }

// State returns what is known now.
func (e *Election) State() State {
	e.mu.Lock()
	defer e.mu.Unlock()
	var s State
	if len(e.known.List) == 0 {
		return s
	}
	first := e.known.List[0]
	s.Leader = first.Candidate
	if first.Seat == e.seat && !e.lost {
		s.Seat = e.seat
	}
	return s
}

// Stand tells whether the process wants to lead. One that does not gives its seat up, and
// takes a new one, behind all others, when it does again.
func (e *Election) Stand(eager bool) {
	e.mu.Lock()
	was := e.eager
	e.eager = eager
	e.mu.Unlock()
	if was != eager {
		signal(e.check)
	}
}

// Deposed tells that a seat turned out to be gone.
func (e *Election) Deposed(seat store.Seat) {
	e.mu.Lock()
	e.lost = e.lost || e.seat == seat
	e.mu.Unlock()
	signal(e.check)
	signal(e.changed)
}

// Peer reports whether an instance was seen to stand for election.
func (e *Election) Peer(instance string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.peers[instance]
}

// Named reports whether a publisher of that name was seen to stand for election.
func (e *Election) Named(publisher string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.names[publisher]
}

// Run takes part until ctx ends, gives the seat up, for which it takes at most two seconds,
// and returns nil. etcd being away does not end it.
func (e *Election) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.repeat(ctx, "following the election", e.observe) })
	g.Go(func() error { return e.repeat(ctx, "standing for election", e.stand) })
	return g.Wait()
}

// repeat does what until ctx ends, with growing pauses after errors.
func (e *Election) repeat(ctx context.Context, subject string, what func(context.Context, func()) error) error {
	failing := logging.NewEpisode(e.options.Log, subject)
	var pace store.Backoff
	for ctx.Err() == nil {
		err := what(ctx, func() {
			failing.Ended()
			pace.Reset()
		})
		if err == nil || ctx.Err() != nil {
			continue
		}
		failing.Failed(err)
		select {
		case <-time.After(min(pace.Next(), e.options.TTL/2)):
		case <-ctx.Done():
		}
	}
	return nil
}

// observe reads the candidates, and waits until there may be others.
func (e *Election) observe(ctx context.Context, good func()) error {
	now, err := e.options.Store.Candidates(ctx)
	if err != nil {
		return err
	}
	good()
	e.mu.Lock()
	e.known = now
	for _, c := range now.List {
		e.peers[c.Instance], e.names[c.Publisher] = true, true
	}
	e.lost = e.lost || !e.seat.IsZero() && now.Covers(e.seat) && !now.Has(e.seat)
	lost := e.lost
	e.mu.Unlock()
	if lost {
		signal(e.check)
	}
	signal(e.changed)
	// A watch can be deaf without anybody knowing.
	ctx, cancel := context.WithTimeout(ctx, e.options.TTL/2)
	defer cancel()
	return e.options.Store.CandidatesChange(ctx, now)
}

var (
	errLease = errors.New("the lease ended: etcd did not hear of this process, or was replaced")
	errSeat  = errors.New("the seat is gone")
)

// stand waits until the process wants to lead, takes a seat, and keeps it for as long as
// that goes well.
func (e *Election) stand(ctx context.Context, good func()) (err error) {
	for eager, _ := e.look(); !eager; eager, _ = e.look() {
		select {
		case <-e.check:
		case <-ctx.Done():
			return nil
		}
	}
	if err := e.inherit(ctx); err != nil {
		return err
	}
	c, err := e.options.Store.Stand(ctx, e.options.Who, e.options.TTL)
	if err != nil {
		return err
	}
	good()
	e.sit(c.Seat())
	defer func() {
		e.sit(store.Seat{})
		if leaveErr := c.Leave(ctx); leaveErr != nil {
			e.left = c.Seat()
			if err == nil {
				e.options.Log.Warn("the seat could not be given up: it goes with its lease", "error", leaveErr)
			}
		}
	}()
	for {
		eager, lost := e.look()
		switch {
		case lost:
			return errSeat
		case !eager:
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.Lost():
			return errLease
		case <-e.check:
		}
	}
}

// look returns whether the process wants to lead, and whether its seat is gone.
func (e *Election) look() (eager, lost bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.eager, e.lost
}

// sit notes which seat the process has.
func (e *Election) sit(seat store.Seat) {
	e.mu.Lock()
	e.seat, e.lost = seat, false
	e.mu.Unlock()
	signal(e.changed)
}

// inherit takes seats away that this instance has: of a process that was killed, or of a
// candidacy of this one whose end etcd was not told of. Others' only once: where state was
// copied to another host, two processes that hold one instance do not do it in turns.
func (e *Election) inherit(ctx context.Context) error {
	now, err := e.options.Store.Candidates(ctx)
	if err != nil {
		return err
	}
	for _, c := range now.List {
		if c.Instance != e.options.Who.Instance || e.inherited && c.Seat != e.left {
			continue
		}
		if err := e.options.Store.Vacate(ctx, c.Seat); err != nil {
			return err
		}
	}
	e.inherited, e.left = true, store.Seat{}
	return nil
}

// signal puts a token into a channel of capacity 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
