package supervise

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"
)

// beatEvery is how often the supervisor itself shows that it is not stuck.
const beatEvery = 5 * time.Second

// Supervisor runs a set of services. It is for one call of Run.
type Supervisor struct {
	options Options
	reload  chan struct{} // capacity 1; holds a token while a reload is asked for
	failing chan struct{} // capacity 1; holds a token when a run ended with an error
	changed chan struct{} // capacity 1; never closed
	began   bool          // nothing that fails ends the whole any more; Run's alone

	mu    sync.Mutex // guards what follows
	units []*unit    // in the order of the configuration; also those that are being ended
	beat  time.Time  // of Run's own loop
}

// New returns a supervisor.
func New(o Options) *Supervisor {
	return &Supervisor{
		options: o, beat: time.Now(),
		reload: make(chan struct{}, 1), failing: make(chan struct{}, 1), changed: make(chan struct{}, 1),
	}
}

// Reload makes Run read the configuration again.
func (s *Supervisor) Reload() { signal(s.reload) }

// Look makes every service look at all that it works on.
func (s *Supervisor) Look() {
	for _, u := range s.list() {
		u.lookNow()
	}
}

// Changed holds a token when Health may have changed in more than a beat.
func (s *Supervisor) Changed() <-chan struct{} { return s.changed }

// Health is what is known of all services.
type Health struct {
	// Ready says that all services are, but for those that were tried and failed: they
	// are no reason to hold the others back.
	Ready bool
	// Beat is the last time at which nothing was known to be stuck.
	Beat time.Time
	// Services are in the order of the configuration.
	Services []ServiceHealth
}

// ServiceHealth is what is known of one service.
type ServiceHealth struct {
	Name   string
	Good   bool   // it has told that what it keeps is in order
	Status string // empty until it has told one
	Err    error  // why it does not run at the moment; nil if it does
}

// Health returns what is known now.
func (s *Supervisor) Health() Health {
	s.mu.Lock()
	h := Health{Beat: s.beat}
	s.mu.Unlock()
	ready, pending := 0, 0
	for _, u := range s.list() {
		is := u.health()
		switch {
		case is.ready:
			ready++
		case is.err == nil:
			pending++
		}
		if !is.idle && is.beat.Before(h.Beat) {
			h.Beat = is.beat
		}
		h.Services = append(h.Services, ServiceHealth{Name: u.service.Name, Good: is.good, Status: is.status, Err: is.err})
	}
	h.Ready = ready > 0 && pending == 0
	return h
}

// Run runs the services until ctx ends and all of them have. It returns the errors of
// all services if none could begin, and what they returned after ctx had ended.
func (s *Supervisor) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.adopt(ctx, s.options.First)
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		s.beats()
		select {
		case <-ctx.Done():
			return s.end(s.list())
		case <-tick.C:
		case <-s.reload:
			s.loadAgain(ctx)
		case <-s.failing:
			if err := s.neverBegan(); err != nil {
				cancel()
				return errors.Join(err, s.end(s.list()))
			}
		}
	}
}

// loadAgain reads the configuration again and makes the set equal to it.
func (s *Supervisor) loadAgain(ctx context.Context) {
	if s.options.Reloading != nil {
		s.options.Reloading()
	}
	if set, err := s.options.Load(); err == nil {
		s.began = true
		s.adopt(ctx, set)
	}
	if s.options.Reloaded != nil {
		s.options.Reloaded()
	}
	signal(s.changed)
}

// adopt makes the running services those of the set.
func (s *Supervisor) adopt(ctx context.Context, set Set) {
	var going, next []*unit
	running := make(map[string]*unit)
	for _, u := range s.list() {
		running[u.service.Name] = u
	}
	for _, want := range set.Services {
		u := running[want.Name]
		if u == nil || !reflect.DeepEqual(u.service.Settings, want.Settings) {
			u = &unit{service: want, tell: func() { signal(s.changed) }, failing: func() { signal(s.failing) }}
		} else {
			delete(running, want.Name)
		}
		next = append(next, u)
	}
	for _, u := range s.list() {
		if running[u.service.Name] == u {
			going = append(going, u)
		}
	}
	if err := s.end(going); err != nil {
		going[0].service.Log.Error("ended", "error", err)
	}
	if set.Settled != nil {
		set.Settled()
	}
	for _, u := range next {
		if u.ended == nil {
			u.start(ctx)
		}
	}
	s.mu.Lock()
	s.units = next
	s.mu.Unlock()
	signal(s.changed)
}

// end tells units to end, and waits until all have. It beats meanwhile: whether one of
// them is stuck shows in that one's own beats.
func (s *Supervisor) end(units []*unit) error {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for _, u := range units {
		u.cancel()
	}
	var errs []error
	for _, u := range units {
		for waiting := true; waiting; {
			select {
			case <-u.ended:
				waiting = false
			case <-tick.C:
				s.beats()
			}
		}
		if err := u.health().final; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", u.service.Name, err))
		}
	}
	return errors.Join(errs...)
}

// neverBegan returns the errors of all services if each of them failed before any had
// begun.
func (s *Supervisor) neverBegan() error {
	var errs []error
	for _, u := range s.list() {
		is := u.health()
		s.began = s.began || is.begun
		if s.began || is.err == nil {
			return nil
		}
		errs = append(errs, is.err)
	}
	return errors.Join(errs...)
}

func (s *Supervisor) beats() {
	s.mu.Lock()
	s.beat = time.Now()
	s.mu.Unlock()
}

func (s *Supervisor) list() []*unit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.units
}

// signal puts a token into a channel of capacity 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
