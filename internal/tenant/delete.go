package tenant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// Looks at a tenant whose keys are all gone: a leader that was just deposed may have stood
// for election anew, and a host reported, before either knew.
const (
	lookAgain = 200 * time.Millisecond
	looks     = 3
	// stirring is for how long keys may come back before that is given up.
	stirring = time.Minute
)

// Deletion says what Delete does and did.
type Deletion struct {
	// Who deletes, as the tombstone is to say.
	Who string
	// Progress is told, if it is set, how many keys are gone, of so many.
	Progress func(done, total int64)
}

// Delete deletes a tenant and returns how many keys went, the registration not among them;
// also one whose deletion did not come to its end. It tries again while etcd is away, until
// ctx ends: then the rest is done by calling it again. It returns ErrNone if there is
// nothing to delete, with the tombstone of the tenant that there was, if there was one.
func Delete(ctx context.Context, etcd *store.Client, name string, d Deletion) (gone int64, tomb codec.Tombstone, err error) {
	s := etcd.Tenant(name)
	on, gone, err := d.bury(ctx, s, name)
	if err != nil {
		return gone, deletedBefore(on), err
	}
	total, quiet := on.Keys, 0
	var empty time.Time // when nothing was left for the first time
	for quiet < looks {
		if !empty.IsZero() && time.Since(empty) > stirring {
			return gone, *on.Registration.Deleted(), fmt.Errorf("%w: something still writes keys of it: find out what does, and delete it again", ErrLeft)
		}
		n, err := s.Clear(ctx, on.Registration)
		if err != nil {
			return gone, *on.Registration.Deleted(), fmt.Errorf("%w, %d keys are gone: %w; delete it again to go on", ErrLeft, gone, err)
		}
		gone += int64(n)
		if d.Progress != nil {
			d.Progress(gone, max(gone, total))
		}
		if quiet++; n > 0 {
			quiet = 0
			continue
		}
		if empty.IsZero() {
			empty = time.Now()
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookAgain):
		}
	}
	next := on.Registration.Registration
	next.Tombstones = slices.Clone(next.Tombstones)
	next.Tombstones[len(next.Tombstones)-1].Cleared = instant()
	on.View = store.View{}
	r, err := s.Register(ctx, on, next, false)
	if err != nil {
		return gone, *on.Registration.Deleted(), err
	}
	return gone, *r.Deleted(), nil
}

func deletedBefore(on store.Standing) codec.Tombstone {
	if tomb := on.Registration.Deleted(); tomb != nil {
		return *tomb
	}
	return codec.Tombstone{}
}

func instant() time.Time { return time.Now().UTC().Truncate(time.Second) }

// bury puts the tombstone and deletes the head, if that was not done before. It returns
// the tenant as it is then, but for the number of its keys, and how many went.
func (d Deletion) bury(ctx context.Context, s *store.Store, name string) (on store.Standing, gone int64, err error) {
	for {
		if on, err = s.Standing(ctx); err != nil {
			return on, 0, err
		}
		t := Tenant{name, on}
		switch t.State() {
		case "none", "deleted":
			return on, 0, fmt.Errorf("tenant %q: %w", name, ErrNone)
		case "deleting":
			if on.View.Head == nil && on.View.Err == nil {
				return on, 0, nil
			}
		}
		id := t.ID()
		if on.View.Head != nil {
			id = on.View.Head.Position.Tenant
		}
		if on.View.Head != nil || on.View.Err != nil {
			gone = 1
		}
		next := on.Registration.Registration
		next.ID = diff.TenantID{}
		next.Tombstones = append(slices.Clone(next.Tombstones), codec.Tombstone{ID: id, Generation: t.generation(), Time: instant(), By: d.Who})
		next.Tombstones = next.Tombstones[max(0, len(next.Tombstones)-codec.MaxTombstones):]
		r, err := s.Register(ctx, on, next, true)
		if err == nil {
			on.Registration, on.View = r, store.View{}
			return on, gone, nil
		}
		if !errors.Is(err, store.ErrRegistration) && !errors.Is(err, store.ErrLostRace) || ctx.Err() != nil {
			return on, 0, err
		}
	}
}
