package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// At returns the version at a generation that is still there; 0 is the head. The
// version's Head is what the head was then, as far as the record tells: its Founding is
// 0 where that is not known, and it is never Same as another.
//
// It returns an error that wraps ErrNoHead, ErrGone if the generation is not there,
// ErrForeignTenant if it is of another tenant of the same name, ErrDamaged,
// codec.ErrNewer, or what became of the call.
func (s *Store) At(ctx context.Context, view View, generation uint64) (*Version, error) {
	if view.Err != nil || view.Head == nil || generation == 0 || generation == view.Head.Position.Generation {
		return s.Resolve(ctx, Have{}, view)
	}
	r, err := s.retained(ctx, view, generation)
	if err != nil {
		return nil, err
	}
	head, err := s.headAt(ctx, view, r)
	if err != nil {
		return nil, err
	}
	w := newWalk(s, head, view.revision)
	return w.fromBase(ctx)
}

// Commit is one generation of the history.
type Commit struct {
	// Record has a complete list, without contents.
	Record *codec.Record
	// Changes lead from the generation before, or from the empty tree if the record is a
	// founding.
	Changes []diff.Change
	// Bytes is the size of the contents that came with it, before compression.
	Bytes int64
	// Keyframe is set if a keyframe of the generation is known.
	Keyframe bool
}

// Commits yields the generations between from and to that are there, both included,
// the newest first; a to of 0 or beyond the head is the head. It ends where the
// tenant's history begins, and after an error, which is one of those of At.
//
// Generations are read from one keyframe or founding to the next, and what lies between
// two of them is in memory at a time.
func (s *Store) Commits(ctx context.Context, view View, from, to uint64) iter.Seq2[*Commit, error] {
	return func(yield func(*Commit, error) bool) {
		switch {
		case view.Err != nil:
			yield(nil, damagedUnlessNewer(view.Err))
			return
		case view.Head == nil:
			yield(nil, ErrNoHead)
			return
		}
		h := history{store: s, view: view, from: max(from, 1), keyframe: view.Head.Keyframe}
		next := view.Head.Position.Generation
		if to > 0 && to < next {
			next = to
			// Only to know whether there is a keyframe of it: if this is gone, there is none.
			if above, _, err := s.Record(ctx, view, to+1); err == nil {
				h.keyframe = above.Keyframe
			}
		}
		for begun := false; next >= h.from; begun = true {
			var commits []*Commit
			var err error
			if commits, next, err = h.stretch(ctx, next); errors.Is(err, errOld) && begun {
				return // a sweep is about to remove what is older
			} else if err != nil {
				yield(nil, err)
				return
			}
			for _, c := range slices.Backward(commits) {
				if !yield(c, nil) {
					return
				}
			}
		}
	}
}

// history is a reading of the history, from the newest generation down.
type history struct {
	store *Store
	view  View
	from  uint64 // older generations are not wanted

	keyframe codec.KeyframeRef // the newest that is named above what was read
	parent   diff.Hash         // of the oldest generation that was read; zero if it is not to be checked
}

// stretch returns the commits from the newest at or below the generation down to the
// keyframe or founding that it rests on, the oldest first, and the generation to go on
// from: 0 if there is none.
func (h *history) stretch(ctx context.Context, top uint64) ([]*Commit, uint64, error) {
	r, err := h.store.newestBelow(ctx, h.view, top)
	if err != nil || r == nil || r.Tenant != h.view.Head.Position.Tenant {
		return nil, 0, err
	}
	if !h.parent.IsZero() && r.Commit != h.parent {
		return nil, 0, fmt.Errorf("%w: the record above generation %d has another parent", ErrDamaged, r.Generation)
	}
	head, err := h.store.headAt(ctx, h.view, r)
	if err != nil {
		return nil, 0, err
	}
	base := head.Founding
	if !head.Keyframe.IsZero() {
		base = head.Keyframe.Generation
	}
	if base == r.Generation && !r.Founding {
		return nil, 0, nil // how it came about was removed for its age
	}
	var commits []*Commit
	w := newWalk(h.store, head, h.view.revision)
	w.visit = func(r *codec.Record, before diff.Tree) {
		clear(w.places) // nobody asks for contents
		if r.Generation >= h.from {
			commits = append(commits, newCommit(r, before, w.tree))
		}
	}
	if _, err := w.fromBase(ctx); err != nil {
		return nil, 0, err
	}
	for i, c := range commits {
		named := h.keyframe
		if i+1 < len(commits) {
			named = commits[i+1].Record.Keyframe
		}
		c.Keyframe = named.Generation == c.Record.Generation
	}
	h.keyframe = head.Keyframe
	if len(commits) > 0 {
		h.parent = diff.Hash{}
		if !commits[0].Record.Founding {
			h.parent = commits[0].Record.Parent
		}
	}
	if !head.Keyframe.IsZero() {
		return commits, base, nil
	}
	return commits, base - 1, nil
}

// newCommit makes a Commit of a record that led from one tree to another, and takes
// the contents out of it.
func newCommit(r *codec.Record, before, after diff.Tree) *Commit {
	c := &Commit{Record: r, Changes: diff.Compare(before, after)}
	came := make(map[diff.Hash]bool)
	for i := range r.List.Changes {
		ch := &r.List.Changes[i]
		if !ch.Content.IsZero() && !came[ch.New.Hash] {
			came[ch.New.Hash] = true
			c.Bytes += ch.New.Size
		}
		ch.Content = codec.Content{}
	}
	return c
}

// retained reads the record of a generation that somebody asked for.
func (s *Store) retained(ctx context.Context, view View, generation uint64) (*codec.Record, error) {
	tenant := view.Head.Position.Tenant
	if generation < view.Head.Position.Generation {
		page, err := s.recordPage(ctx, generation, generation, view.revision)
		if err != nil {
			return nil, err
		}
		if len(page) > 0 {
			r, err := s.coder.DecodeRecord(page[0])
			switch {
			case err != nil:
				return nil, fmt.Errorf("record of generation %d: %w", generation, damagedUnlessNewer(err))
			case r.Generation != generation:
				return nil, fmt.Errorf("%w: the record of generation %d says that it is of %d", ErrDamaged, generation, r.Generation)
			case r.Tenant != tenant:
				return nil, fmt.Errorf("generation %d: %w: the head has %v, it has %v", generation, ErrForeignTenant, tenant, r.Tenant)
			}
			return r, nil
		}
	}
	there, err := s.describeRetained(ctx, view, generation)
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("generation %d: %w: %s", generation, ErrGone, there)
}

// headAt returns what the head was when r was the newest record. If the keyframe or founding
// that it rested on was removed for its age, it rests on a younger keyframe, of its own
// generation at most. It returns an error that wraps ErrGone if there is none.
func (s *Store) headAt(ctx context.Context, view View, r *codec.Record) (*Head, error) {
	h, err := s.headThen(ctx, view, r)
	if err == nil {
		err = s.restsOnRecords(ctx, view, h)
	}
	if !errors.Is(err, errOld) {
		return h, err
	}
	young, err := s.keyframeSince(ctx, view, r)
	if err != nil {
		return nil, err
	}
	return &Head{Head: codec.Head{
		Position: r.Position(), Digest: r.Digest, Keyframe: young, Publisher: r.Publisher, Instance: r.Instance,
		Founding: foundingAbove(view.Head, r),
	}}, nil
}

// errOld says that what a generation rests on is not there, nor anything older.
var errOld = fmt.Errorf("what it rests on was removed for its age: %w", ErrGone)

// restsOnRecords returns errOld if the generation that a head rests on is older than all that
// is there. That it is missing otherwise is for those to tell who read it.
func (s *Store) restsOnRecords(ctx context.Context, view View, h *Head) error {
	base := h.Founding
	if !h.Keyframe.IsZero() {
		base = h.Keyframe.Generation
	}
	oldest, ok, err := s.nearest(ctx, view, 0, h.Position.Generation, clientv3.SortAscend)
	if err == nil && ok && oldest > base {
		err = errOld
	}
	return err
}

// foundingAbove returns the view's founding if a record came after it, else 0.
func foundingAbove(head *Head, r *codec.Record) uint64 {
	if r.Generation >= head.Founding {
		return head.Founding
	}
	return 0
}

// keyframeSince returns the keyframe that was made of a record's generation, or below it, when
// there were records above it already: they name it.
func (s *Store) keyframeSince(ctx context.Context, view View, r *codec.Record) (codec.KeyframeRef, error) {
	gone := fmt.Errorf("generation %d: %w", r.Generation, errOld)
	oldest, _, err := s.nearest(ctx, view, 0, r.Generation, clientv3.SortAscend)
	if err != nil {
		return codec.KeyframeRef{}, err
	}
	// Others may be named on the way that are gone as well.
	young := func(k codec.KeyframeRef) bool { return k.Generation >= oldest }
	for next := r.Generation + 1; next <= view.Head.Position.Generation; {
		page, err := s.storedRecords(ctx, view, next, view.Head.Position.Generation, recordPage)
		if err != nil {
			return codec.KeyframeRef{}, err
		}
		for _, stored := range page {
			above, err := s.coder.DecodeRecord(stored.data)
			switch {
			case err != nil:
				return codec.KeyframeRef{}, fmt.Errorf("record of generation %d: %w", stored.generation, damagedUnlessNewer(err))
			case above.Founding, young(above.Keyframe) && above.Keyframe.Generation > r.Generation:
				return codec.KeyframeRef{}, gone
			case young(above.Keyframe):
				return above.Keyframe, nil
			}
			next = stored.generation + 1
		}
		if len(page) == 0 {
			return codec.KeyframeRef{}, gone
		}
	}
	if k := view.Head.Keyframe; young(k) && k.Generation <= r.Generation {
		return k, nil
	}
	return codec.KeyframeRef{}, gone
}

// headThen returns what the head was when r was the newest record, as far as r tells.
func (s *Store) headThen(ctx context.Context, view View, r *codec.Record) (*Head, error) {
	if r.Position() == view.Head.Position && view.Head.Keyframe.Generation < r.Generation {
		return view.Head, nil
	}
	h := codec.Head{Position: r.Position(), Digest: r.Digest, Keyframe: r.Keyframe, Publisher: r.Publisher, Instance: r.Instance}
	if r.Keyframe.Generation == r.Generation {
		return nil, fmt.Errorf("%w: the record of generation %d names a keyframe that can only be younger", ErrDamaged, r.Generation)
	}
	h.Founding = foundingAbove(view.Head, r)
	if h.Founding == 0 && h.Keyframe.IsZero() {
		var err error
		if h.Founding, err = s.foundingOf(ctx, view, r); err != nil {
			return nil, err
		}
	}
	return &Head{Head: h}, nil
}

// foundingOf returns the generation that began the history of r, for which no keyframe
// is known.
func (s *Store) foundingOf(ctx context.Context, view View, r *codec.Record) (uint64, error) {
	for next := r; ; {
		if next.Founding {
			return next.Generation, nil
		}
		to := next.Generation - 1
		page, err := s.recordPage(ctx, next.Generation-min(to, recordPage), to, view.revision)
		if err != nil {
			return 0, err
		}
		for _, raw := range slices.Backward(page) {
			below, err := s.coder.DecodeRecord(raw)
			if err != nil {
				return 0, fmt.Errorf("record below generation %d: %w", next.Generation, damagedUnlessNewer(err))
			}
			if below.Generation != next.Generation-1 {
				break
			}
			if next = below; next.Founding {
				break
			}
		}
		if next.Generation > to {
			_, older, err := s.nearest(ctx, view, 0, to, clientv3.SortAscend)
			if err != nil {
				return 0, err
			}
			gap := errOld
			if older {
				gap = errGap
			}
			return 0, fmt.Errorf("generation %d: %w", to, gap)
		}
	}
}

// newestBelow reads the record of the newest generation at or below the given one, nil
// if there is none.
func (s *Store) newestBelow(ctx context.Context, view View, generation uint64) (*codec.Record, error) {
	if generation == 0 {
		return nil, nil
	}
	page, err := s.recordPage(ctx, generation, generation, view.revision)
	if err != nil {
		return nil, err
	}
	if len(page) == 0 {
		at, ok, err := s.nearest(ctx, view, 0, generation, clientv3.SortDescend)
		if err != nil || !ok {
			return nil, err
		}
		generation = at
		if page, err = s.recordPage(ctx, at, at, view.revision); err != nil || len(page) == 0 {
			return nil, err
		}
	}
	r, err := s.coder.DecodeRecord(page[0])
	if err == nil && r.Generation != generation {
		err = fmt.Errorf("it says that it is of %d", r.Generation)
	}
	if err != nil {
		return nil, fmt.Errorf("record of generation %d: %w", generation, damagedUnlessNewer(err))
	}
	return r, nil
}

// nearest returns the first generation, in that order, of those between from and to
// that have a record.
func (s *Store) nearest(ctx context.Context, view View, from, to uint64, order clientv3.SortOrder) (at uint64, ok bool, err error) {
	opts := []clientv3.OpOption{clientv3.WithRange(s.keys.log(to) + "\x00"), clientv3.WithRev(view.revision), clientv3.WithKeysOnly(), clientv3.WithLimit(1)}
	if order == clientv3.SortDescend {
		// etcd reads the whole range for this.
		opts = append(opts, clientv3.WithSort(clientv3.SortByKey, order))
	}
	err = s.call(ctx, "look for records of "+s.tenant, false, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Get(ctx, s.keys.log(from), opts...)
		if err != nil {
			return err
		}
		at, ok = 0, len(resp.Kvs) > 0
		if ok {
			at, ok = s.keys.generation(string(resp.Kvs[0].Key))
		}
		return nil
	})
	return at, ok, err
}

// describeRetained says which generations are there, to somebody who asked for one that
// is not.
func (s *Store) describeRetained(ctx context.Context, view View, generation uint64) (string, error) {
	newest := view.Head.Position.Generation
	oldest, _, err := s.nearest(ctx, view, 0, newest, clientv3.SortAscend)
	if err != nil {
		return "", err
	}
	if generation < oldest || generation > newest {
		return fmt.Sprintf("generations %d to %d are there", oldest, newest), nil
	}
	below, _, err := s.nearest(ctx, view, 0, generation, clientv3.SortDescend)
	if err != nil {
		return "", err
	}
	above, _, err := s.nearest(ctx, view, generation, newest, clientv3.SortAscend)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("generations %d to %d and %d to %d are there", oldest, below, above, newest), nil
}
