package store

import (
	"context"
	"fmt"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// naming knows which packs the newest part of a history names. It is kept from one sweep to
// the next, so that each record and keyframe is read once.
type naming struct {
	from     uint64        // the oldest generation that was read
	at       diff.Position // the newest
	founding uint64
	// newest tells for each pack the newest generation whose record or keyframe names it.
	newest map[diff.Hash]uint64
}

// catchUp reads what leads from a generation to the view's head, but for what was read
// before. It returns an error that wraps ErrDamaged, ErrGone or codec.ErrNewer unless all of
// it is there and each record follows the one before: of a history that is not whole
// nothing is known.
func (n *naming) catchUp(ctx context.Context, s *Store, view View, from uint64) error {
	head := view.Head
	if n.newest == nil || n.at.Tenant != head.Position.Tenant || n.founding != head.Founding || from < n.from || from > n.at.Generation+1 ||
		head.Position.Generation < n.at.Generation || head.Position.Generation == n.at.Generation && head.Position != n.at {
		*n = naming{from: from, founding: head.Founding, newest: make(map[diff.Hash]uint64)}
	}
	// What fails leaves n as far as it got. Below from another sweep may have removed what is next.
	for next := max(n.from, n.at.Generation+1); next <= head.Position.Generation; {
		page, err := s.storedRecords(ctx, view, next, head.Position.Generation, recordPage)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return fmt.Errorf("generation %d: %w", next, errGap)
		}
		for _, stored := range page {
			if err := n.record(ctx, s, view, stored); err != nil {
				return fmt.Errorf("record of generation %d: %w", stored.generation, err)
			}
			next = stored.generation + 1
		}
	}
	if n.at != head.Position {
		at := n.at
		*n = naming{}
		return fmt.Errorf("%w: the records lead to commit %v, the head names %v", ErrDamaged, at.Commit, head.Position.Commit)
	}
	return n.keyframe(ctx, s, view, head.Keyframe)
}

// record takes in the next record.
func (n *naming) record(ctx context.Context, s *Store, view View, stored storedRecord) error {
	r, err := s.coder.DecodeRecord(stored.data)
	switch {
	case err != nil:
		return damagedUnlessNewer(err)
	case r.Generation != stored.generation:
		return fmt.Errorf("%w: it says that it is of generation %d", ErrDamaged, r.Generation)
	case r.Tenant != view.Head.Position.Tenant:
		return nil // of a tenant that had the name before, and that nobody can read
	case r.Founding, n.at.IsZero():
	case r.Generation != n.at.Generation+1:
		return errGap
	case r.Parent != n.at.Commit:
		return fmt.Errorf("%w: it does not follow generation %d", ErrDamaged, n.at.Generation)
	}
	n.list(&r.List, r.Generation)
	if err := n.keyframe(ctx, s, view, r.Keyframe); err != nil {
		return err
	}
	n.at = r.Position()
	return nil
}

// keyframe takes in a keyframe. One whose generation was not read is not in use: who began
// there would need its record.
func (n *naming) keyframe(ctx context.Context, s *Store, view View, ref codec.KeyframeRef) error {
	if ref.IsZero() || ref.Generation < n.from || n.newest[ref.Pack.Hash] >= ref.Generation {
		return nil
	}
	data, err := s.getPack(ctx, ref.Pack, view.revision)
	if err != nil {
		return fmt.Errorf("keyframe of generation %d: %w", ref.Generation, err)
	}
	k, err := s.coder.DecodeKeyframe(ref, data)
	if err != nil {
		return damagedUnlessNewer(err)
	}
	n.list(&k.List, ref.Generation)
	n.name(ref.Pack, ref.Generation)
	return nil
}

func (n *naming) list(l *codec.List, generation uint64) {
	for _, ref := range l.Parts {
		n.name(ref, generation)
	}
	for _, ref := range l.Packs {
		n.name(ref, generation)
	}
}

func (n *naming) name(ref codec.PackRef, generation uint64) {
	n.newest[ref.Hash] = max(n.newest[ref.Hash], generation)
}

// forget drops what only generations below that one name.
func (n *naming) forget(below uint64) {
	for hash, newest := range n.newest {
		if newest < below {
			delete(n.newest, hash)
		}
	}
	n.from = max(n.from, below)
}
