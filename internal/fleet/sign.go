package fleet

import (
	"context"
	"os"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/logging"
	"github.com/confsyncd/confsyncd/internal/store"
)

// Sign is the sign of life of a publisher. It is for one call of Run.
type Sign struct {
	options  Options
	instance chan string // capacity 1; never closed
	set      bool        // by whoever calls Set
}

// NewSign returns a sign of life. It does not touch etcd.
func NewSign(o Options) *Sign { return &Sign{options: o, instance: make(chan string, 1)} }

// Set says which instance lives; only the first that is not empty counts. It never waits, and
// is for one goroutine.
func (s *Sign) Set(instance string) {
	if !s.set && instance != "" {
		s.set = true
		s.instance <- instance
	}
}

// Run gives the sign from when the instance is known until ctx ends, then takes it away and
// returns nil.
func (s *Sign) Run(ctx context.Context) error {
	o := s.options
	if o.Off {
		return nil
	}
	who := codec.Alive{Name: o.Name, PID: os.Getpid(), Since: time.Now().UTC().Truncate(time.Millisecond)}
	select {
	case <-ctx.Done():
		return nil
	case who.Instance = <-s.instance:
	}
	failing := logging.NewEpisode(o.Log.With("tenant", o.Tenant), "giving a sign of life")
	var pace store.Backoff
	for ctx.Err() == nil {
		life, err := o.Store.PublisherLives(ctx, who, o.TTL)
		if err != nil {
			failing.Failed(err)
			_ = pace.Wait(ctx) // The loop looks whether it has ended.
			continue
		}
		failing.Ended()
		pace.Reset()
		select {
		case <-ctx.Done():
		case <-life.Lost():
		}
		_ = life.End(ctx) // Else it ends with its lease.
	}
	return nil
}
