package fleet

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/store"
)

// Life is whether a host lives.
type Life string

// What a host's life can be.
const (
	Up        Life = "up"
	Down      Life = "down"      // no process gives a sign of life
	Duplicate Life = "duplicate" // several do: what they say cannot be told apart
)

// Host is what is known of a host.
type Host struct {
	ID     string
	Life   Life
	Report codec.Host // zero if Err is set
	Lives  []codec.Alive
	// Err is set if its report could not be understood.
	Err error
}

// Publisher is a publisher that lives. Its Instance is that of the heads which it commits,
// its Name the machine's.
type Publisher = codec.Alive

// Fleet is all hosts and publishers of a tenant, and its head.
type Fleet struct {
	View       store.View
	Hosts      []Host // in the order of their ids
	Publishers []Publisher
}

// Find returns the host of that id.
func (f Fleet) Find(id string) (Host, bool) {
	i, ok := slices.BinarySearchFunc(f.Hosts, id, func(h Host, id string) int { return strings.Compare(h.ID, id) })
	if !ok {
		return Host{}, false
	}
	return f.Hosts[i], true
}

// Publishes returns the publisher that made the head, if it lives; of a rollback, which has an
// instance of its own, one that lives and goes on beside it.
func (f Fleet) Publishes() (Publisher, bool) {
	if f.View.Head == nil {
		return Publisher{}, false
	}
	i := slices.IndexFunc(f.Publishers, func(p Publisher) bool { return p.Instance == f.View.Head.Instance })
	if i < 0 && f.View.Head.Rollback > 0 && len(f.Publishers) > 0 {
		i = 0
	}
	if i < 0 {
		return Publisher{}, false
	}
	return f.Publishers[i], true
}

// Read returns the fleet as it is now. The error is what became of the call; what cannot be
// understood is told of each host, and of the head in View.Err.
func Read(ctx context.Context, s *store.Store) (Fleet, error) {
	seen, err := s.Hosts(ctx)
	if err != nil {
		return Fleet{}, err
	}
	view, err := s.View(ctx)
	return of(seen, view), err
}

// Forget takes away what a host has said of itself, so that it counts no more. It returns
// store.ErrAlive while a process goes by its id, and store.ErrGone if there is no such host.
func Forget(ctx context.Context, s *store.Store, id string) error { return s.ForgetHost(ctx, id) }

// of makes a fleet of what was seen.
func of(seen store.Hosts, view store.View) Fleet {
	f := Fleet{View: view, Publishers: seen.Publishers}
	for id, r := range seen.Reports {
		h := Host{ID: id, Lives: seen.Lives[id], Err: r.Err, Report: r.Host}
		switch len(h.Lives) {
		case 0:
			h.Life = Down
		case 1:
			h.Life = Up
		default:
			h.Life = Duplicate
		}
		f.Hosts = append(f.Hosts, h)
	}
	slices.SortFunc(f.Hosts, func(a, b Host) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(f.Publishers, func(a, b Publisher) int { return strings.Compare(a.Instance, b.Instance) })
	return f
}

// Feed holds what Follow saw last.
type Feed struct {
	head  *store.Feed
	hosts *store.HostFeed
}

// NewFeed returns an empty Feed.
func NewFeed() *Feed { return &Feed{head: store.NewFeed(), hosts: store.NewHostFeed()} }

// HeadChanged and HostsChanged hold a token while there is something new to take.
func (f *Feed) HeadChanged() <-chan struct{} { return f.head.Changed() }

// HostsChanged is said with HeadChanged.
func (f *Feed) HostsChanged() <-chan struct{} { return f.hosts.Changed() }

// Take returns the fleet as it was seen last; ok is false until all was read once.
func (f *Feed) Take() (fleet Fleet, ok bool) {
	view, ok := f.head.Take()
	seen, also := f.hosts.Take()
	if !ok || !also {
		return Fleet{}, false
	}
	return of(seen, view), true
}

// Err returns why etcd is not being followed at the moment; nil if it is.
func (f *Feed) Err() error {
	if err := f.head.Err(); err != nil {
		return err
	}
	return f.hosts.Err()
}

// Follow keeps f filled until ctx ends, then returns nil. It never gives up.
func Follow(ctx context.Context, s *store.Store, f *Feed) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Follow(ctx, f.head) })
	g.Go(func() error { return s.FollowHosts(ctx, f.hosts) })
	return g.Wait()
}
