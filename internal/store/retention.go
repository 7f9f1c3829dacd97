package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// Retention says how much of a tenant's history is kept: what either Generations or Age
// keeps. What a channel or rollout points to is kept besides, and always all that leads from
// the keyframe or founding below to what is kept.
type Retention struct {
	Generations uint64        // the newest so many; 0 counts as 1
	Age         time.Duration // those that are younger, by their publishers' clocks
	// Young is for how long packs that nothing names are left alone: somebody may be about to
	// commit what names them. A commit whose packs were removed is not lost, but has to be
	// made anew.
	Young time.Duration
}

// Kept tells where the history begins that is kept.
type Kept struct {
	Oldest uint64 // generation whose record is kept
	Wanted uint64 // the oldest generation that is to be kept: Oldest is what it rests on
	Why    string // what wants it, such as "retain_generations" or "channel stable"
}

// kept returns what is kept of the history at the view.
func (s *Store) kept(ctx context.Context, view View, keep Retention) (Kept, error) {
	head := view.Head
	wanted := head.Position.Generation - min(max(keep.Generations, 1), head.Position.Generation) + 1
	kept := Kept{Wanted: wanted, Why: "retain_generations"}
	if keep.Age > 0 {
		first, ok, err := s.firstSince(ctx, view, time.Now().Add(-keep.Age))
		if err != nil {
			return kept, err
		}
		if ok && first.generation < kept.Wanted {
			kept.Wanted, kept.Why = first.generation, "retain_age"
		}
	}
	oldest, err := s.restsOn(ctx, view, kept.Wanted)
	if err != nil {
		return kept, err
	}
	kept.Oldest = oldest
	for _, p := range pointers(head.Head) {
		if p.generation >= kept.Wanted {
			continue
		}
		oldest, err := s.restsOn(ctx, view, p.generation)
		if err != nil {
			return kept, err
		}
		kept.Wanted, kept.Why, kept.Oldest = p.generation, p.who, min(kept.Oldest, oldest)
	}
	return kept, nil
}

// pointer is what points to a generation of the history.
type pointer struct {
	who        string
	generation uint64
	commit     diff.Hash
}

// pointers returns all that a head points to.
func pointers(h codec.Head) []pointer {
	var all []pointer
	for _, c := range h.Channels {
		all = append(all, pointer{"channel " + c.Name, c.Generation, c.Commit})
	}
	if h.Ahead != nil {
		all = append(all, pointer{"the rollout of channel " + h.Ahead.Channel, h.Ahead.Generation, h.Ahead.Commit})
	}
	return all
}

// restsOn returns the generation from which on records are needed to read a generation, or,
// if it is not there, the next that is: that of the keyframe or founding below it, or the
// oldest that is left.
func (s *Store) restsOn(ctx context.Context, view View, generation uint64) (uint64, error) {
	head := view.Head
	page, err := s.storedRecords(ctx, view, generation, head.Position.Generation, 1)
	if err != nil {
		return 0, err
	}
	if len(page) == 0 {
		return 0, fmt.Errorf("%w: there is no record of generation %d, which the head names", ErrDamaged, head.Position.Generation)
	}
	r, err := s.coder.DecodeRecord(page[0].data)
	if err != nil {
		return 0, fmt.Errorf("record of generation %d: %w", page[0].generation, damagedUnlessNewer(err))
	}
	if r.Tenant != head.Position.Tenant {
		return page[0].generation, nil // nobody can read it
	}
	oldest, _, err := s.nearest(ctx, view, 0, head.Position.Generation, clientv3.SortAscend)
	if err != nil {
		return 0, err
	}
	base := r.Keyframe.Generation
	switch newest := head.Keyframe.Generation; {
	case newest > 0 && newest <= r.Generation:
		base = newest // it may not have been there when r was made
	case base > 0:
	case r.Generation >= head.Founding:
		base = head.Founding
	default:
		if base, err = s.foundingOf(ctx, view, r); errors.Is(err, errOld) {
			base, err = oldest, nil
		}
	}
	return max(base, oldest), err
}
