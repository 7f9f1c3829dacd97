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

const (
	// maxWalk is how many generations are caught up record by record although a
	// newer keyframe is there.
	maxWalk = 1024
	// recordPage is how many records are read at a time: nearly all have less than 1 KiB, and
	// none of ours has more than 300 KiB, since what is more lies in packs.
	recordPage = 128
	// mostChanges is how many changes of records are held in memory before they are applied.
	mostChanges = 50_000
)

// Have is what somebody has of a tenant: a position, and the tree at it.
type Have struct {
	Position diff.Position
	Tree     diff.Tree
}

// Version is a tenant's tree at the head, and where its contents lie.
type Version struct {
	Head *Head
	Tree diff.Tree
	// Since is when the oldest of the records that led to it was made, by its publisher's
	// clock; zero if none did, or a keyframe stands for some.
	Since time.Time

	store    *Store
	revision int64
	// places tells where contents lie: all of the tree if complete is set, else those
	// that came after what one had.
	places   map[diff.Hash]place
	complete bool
}

// Position returns the head's position.
func (v *Version) Position() diff.Position { return v.Head.Position }

// Resolve returns the version at the view's head for somebody who has the given
// one; the zero Have has nothing. It reads no more than what lies between: the
// records that came with the view, or a range of records, or a keyframe and what
// came after it. Everything that it returns has been verified.
//
// It returns an error that wraps ErrNoHead, ErrForeignTenant, ErrRewound, ErrGone,
// ErrDamaged, codec.ErrNewer, or what became of the call.
func (s *Store) Resolve(ctx context.Context, have Have, view View) (*Version, error) {
	return s.ResolveEach(ctx, have, view, nil)
}

// ResolveEach is Resolve, and calls each, if it is set, with every record that it reads
// on the way and the tree that the record leads to. It may begin again from an older
// generation, and leaves out those that a keyframe stands for.
func (s *Store) ResolveEach(ctx context.Context, have Have, view View, each func(r *codec.Record, tree diff.Tree)) (*Version, error) {
	if view.Err != nil {
		return nil, damagedUnlessNewer(view.Err)
	}
	head := view.Head
	if head == nil {
		return nil, ErrNoHead
	}
	w := newWalk(s, head, view.revision)
	if each != nil {
		w.visit = func(r *codec.Record, _ diff.Tree) { each(r, w.tree) }
	}
	if have.Position.IsZero() {
		return w.fromBase(ctx)
	}
	at, to := have.Position, head.Position
	switch {
	case at.Tenant != to.Tenant:
		return nil, fmt.Errorf("%w: etcd has %v, here is %v", ErrForeignTenant, to.Tenant, at.Tenant)
	case at == to:
		return w.version(have.Tree, false)
	case at.Generation < head.Founding:
		return w.fromBase(ctx)
	case at.Generation >= to.Generation:
		return nil, fmt.Errorf("%w: etcd is at generation %d, here is %d", ErrRewound, to.Generation, at.Generation)
	}
	if ok, err := w.fromWatch(have, view.records); err != nil || ok {
		if err != nil {
			return nil, err
		}
		return w.version(w.tree, false)
	}
	return w.fromRecords(ctx, have)
}

// Advance returns the version at the view's head, like Resolve for somebody who has v,
// and goes on knowing where contents lie. v must not be used any more.
func (v *Version) Advance(ctx context.Context, view View) (*Version, error) {
	from := v.Position()
	if view.Head == nil || view.Head.Position.Tenant != from.Tenant || from.Generation < view.Head.Founding ||
		from.Generation > view.Head.Position.Generation {
		return v.store.Resolve(ctx, Have{}, view)
	}
	w := newWalk(v.store, view.Head, view.revision)
	w.at, w.tree, w.places = from, v.Tree, v.places
	if w.at != w.head.Position {
		if err := w.records(ctx, from.Generation, w.head.Position.Generation); err != nil {
			return nil, err
		}
	}
	return w.arrived(v.complete)
}

// walk leads from a tree over records to the head.
type walk struct {
	store    *Store
	head     *Head
	revision int64

	at     diff.Position
	tree   diff.Tree
	places map[diff.Hash]place

	since time.Time // of the oldest record that was walked

	visit func(r *codec.Record, before diff.Tree) // is told of each step; may be nil
}

func newWalk(s *Store, head *Head, revision int64) *walk {
	return &walk{store: s, head: head, revision: revision, places: make(map[diff.Hash]place)}
}

// version returns the version that the walk has reached.
func (w *walk) version(tree diff.Tree, complete bool) (*Version, error) {
	if tree.Digest() != w.head.Digest {
		return nil, fmt.Errorf("%w: the tree at generation %d does not have the head's digest", ErrDamaged, w.head.Position.Generation)
	}
	return &Version{Head: w.head, Tree: tree, Since: w.since, store: w.store, revision: w.revision, places: w.places, complete: complete}, nil
}

// fromWatch walks the records that the watch brought. It returns false if they do not
// lead from what one has to the head.
func (w *walk) fromWatch(have Have, records [][]byte) (bool, error) {
	w.at, w.tree = have.Position, have.Tree
	for _, raw := range records {
		r, err := w.store.coder.DecodeRecord(raw)
		if err != nil {
			return false, damagedUnlessNewer(err)
		}
		if r.Generation <= w.at.Generation {
			continue
		}
		if r.Founding || r.Generation != w.at.Generation+1 || r.Parent != w.at.Commit || len(r.List.Parts) > 0 {
			return false, nil
		}
		if err := w.step(r); err != nil {
			return false, err
		}
	}
	return w.at == w.head.Position, nil
}

// fromRecords walks the records between what one has and the head, or takes the
// keyframe if they are too many or no longer all there.
func (w *walk) fromRecords(ctx context.Context, have Have) (*Version, error) {
	w.at, w.tree = have.Position, have.Tree
	clear(w.places)
	far := w.head.Position.Generation - w.at.Generation
	end := w.head.Position.Generation
	if far > maxWalk && w.head.Keyframe.Generation > w.at.Generation {
		end = w.at.Generation // only see whether the history still holds where we are
	}
	err := w.records(ctx, w.at.Generation, end)
	switch {
	case errors.Is(err, errGap):
		return w.fromBase(ctx)
	case err != nil:
		return nil, err
	case end < w.head.Position.Generation:
		return w.fromBase(ctx)
	}
	return w.arrived(false)
}

// fromBase begins at the newest keyframe, or at the founding.
func (w *walk) fromBase(ctx context.Context) (*Version, error) {
	w.at, w.tree = diff.Position{}, diff.Tree{}
	clear(w.places)
	from := w.head.Founding
	if !w.head.Keyframe.IsZero() {
		if err := w.keyframe(ctx); err != nil {
			return nil, err
		}
		from = w.head.Keyframe.Generation
	}
	if err := w.records(ctx, from, w.head.Position.Generation); err != nil {
		return nil, err
	}
	w.since = time.Time{}
	return w.arrived(true)
}

// arrived returns the version that the records lead to.
func (w *walk) arrived(complete bool) (*Version, error) {
	if w.at != w.head.Position {
		return nil, fmt.Errorf("%w: the records lead to commit %v, the head names %v", ErrDamaged, w.at.Commit, w.head.Position.Commit)
	}
	return w.version(w.tree, complete)
}

// keyframe takes the head's keyframe.
func (w *walk) keyframe(ctx context.Context) error {
	data, err := w.store.getPack(ctx, w.head.Keyframe.Pack, w.revision)
	if err != nil {
		return fmt.Errorf("keyframe of generation %d: %w", w.head.Keyframe.Generation, err)
	}
	k, err := w.store.coder.DecodeKeyframe(w.head.Keyframe, data)
	if err != nil {
		return damagedUnlessNewer(err)
	}
	if err := w.store.completeList(ctx, &k.List, w.revision); err != nil {
		return fmt.Errorf("keyframe of generation %d: %w", k.Position.Generation, err)
	}
	w.at, w.tree = k.Position, diff.Tree{}
	return w.apply(&k.List, k.Position, k.Digest)
}

// errGap says that a record is not there.
var errGap = fmt.Errorf("record: %w", ErrGone)

// records walks the records of the generations from and to and all between. That of
// from itself may be where the walk already is: then it only must be the same.
func (w *walk) records(ctx context.Context, from, to uint64) error {
	for next := from; next <= to; {
		page, err := w.store.recordPage(ctx, next, to, w.revision)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return fmt.Errorf("generation %d: %w", next, errGap)
		}
		var following []*codec.Record
		changes := 0
		for _, raw := range page {
			r, err := w.store.coder.DecodeRecord(raw)
			if err != nil {
				return fmt.Errorf("record of generation %d: %w", next, damagedUnlessNewer(err))
			}
			if r.Generation != next {
				return fmt.Errorf("generation %d: %w", next, errGap)
			}
			if next == w.at.Generation {
				if r.Position() != w.at {
					return fmt.Errorf("%w: etcd has another commit at generation %d", ErrRewound, next)
				}
			} else {
				if err := w.store.completeList(ctx, &r.List, w.revision); err != nil {
					return fmt.Errorf("record of generation %d: %w", next, err)
				}
				following, changes = append(following, r), changes+len(r.List.Changes)
			}
			if changes > mostChanges {
				if err := w.steps(following); err != nil {
					return err
				}
				following, changes = nil, 0
			}
			next++
		}
		if err := w.steps(following); err != nil {
			return err
		}
	}
	return nil
}

// steps applies records to where the walk is: at once where nobody is told of each, so that
// a directory in which many generations change something is made anew once.
func (w *walk) steps(records []*codec.Record) error {
	if w.visit == nil && len(records) > 1 && w.leap(records) {
		return nil
	}
	for _, r := range records {
		if err := w.step(r); err != nil {
			return err
		}
	}
	return nil
}

// leap applies what is left of the records' changes in the end. The trees between are not
// made, and so not verified; the last is. It returns false, and has done nothing, if there
// is anything wrong: single steps tell in which record.
func (w *walk) leap(records []*codec.Record) bool {
	at, tree := w.at, w.tree
	left := make(map[string]diff.Entry)
	for _, r := range records {
		if w.follows(at, r) != nil {
			return false
		}
		if r.Founding {
			tree = diff.Tree{}
			clear(left)
		}
		for i := range r.List.Changes {
			c := &r.List.Changes[i]
			if c.New.Kind == diff.None && !stands(tree, left, c.Path) {
				return false
			}
			left[c.Path] = c.New
		}
		at = r.Position()
	}
	changes := make([]diff.Change, 0, len(left))
	for path, entry := range left {
		if _, there := tree.Get(path); there || entry.Kind != diff.None {
			changes = append(changes, diff.Change{Path: path, New: entry})
		}
	}
	tree, err := tree.With(changes)
	if err != nil || tree.Digest() != records[len(records)-1].Digest {
		return false
	}
	for _, r := range records {
		w.walked(r)
		w.locate(&r.List)
	}
	w.at, w.tree = at, tree
	return true
}

// stands reports whether a path is in a tree once changes were made to it.
func stands(tree diff.Tree, changed map[string]diff.Entry, path string) bool {
	if now, ok := changed[path]; ok {
		return now.Kind != diff.None
	}
	_, ok := tree.Get(path)
	return ok
}

// step applies one record to where the walk is.
func (w *walk) step(r *codec.Record) error {
	if err := w.follows(w.at, r); err != nil {
		return err
	}
	if r.Founding {
		w.tree = diff.Tree{}
	}
	before := w.tree
	if err := w.apply(&r.List, r.Position(), r.Digest); err != nil {
		return err
	}
	w.walked(r)
	if w.visit != nil {
		w.visit(r, before)
	}
	return nil
}

// walked notes a record that was.
func (w *walk) walked(r *codec.Record) {
	if w.since.IsZero() || r.Time.Before(w.since) {
		w.since = r.Time
	}
}

// follows returns ErrDamaged unless a record leads on from a position.
func (w *walk) follows(at diff.Position, r *codec.Record) error {
	switch {
	case r.Tenant != w.head.Position.Tenant:
		return fmt.Errorf("%w: the record of generation %d is of tenant %v", ErrDamaged, r.Generation, r.Tenant)
	case !r.Founding && (r.Generation != at.Generation+1 || r.Parent != at.Commit):
		return fmt.Errorf("%w: the record of generation %d does not follow generation %d", ErrDamaged, r.Generation, at.Generation)
	}
	return nil
}

func (w *walk) apply(l *codec.List, to diff.Position, digest diff.Hash) error {
	tree, err := w.tree.With(l.Diff())
	if err != nil {
		return fmt.Errorf("%w: generation %d: %w", ErrDamaged, to.Generation, err)
	}
	if tree.Digest() != digest {
		return fmt.Errorf("%w: the tree at generation %d does not have its digest", ErrDamaged, to.Generation)
	}
	w.locate(l)
	w.at, w.tree = to, tree
	return nil
}

// locate notes where the contents lie that come with a list.
func (w *walk) locate(l *codec.List) {
	for i := range l.Changes {
		c := &l.Changes[i]
		if c.New.Size > 0 && c.Content.IsZero() {
			continue // it came before, and lies where it lay
		}
		if !c.New.HasContent() {
			continue
		}
		// A content that comes back may be a patch of one that is a patch of it: where it
		// lay first, no base comes after what is made of it.
		if _, ok := w.places[c.New.Hash]; !ok || c.Content.Patch == nil {
			w.places[c.New.Hash] = place{c.Content, c.New.Size}
		}
	}
}

// recordPage reads the records of the generations from next to to, or the first of
// them.
func (s *Store) recordPage(ctx context.Context, next, to uint64, revision int64) ([][]byte, error) {
	var page [][]byte
	err := s.carry(ctx, "read records of "+s.tenant, false, func(ctx context.Context, etcd *clientv3.Client) (bytes int, err error) {
		resp, err := etcd.Get(ctx, s.keys.log(next), clientv3.WithRange(s.keys.log(to)+"\x00"),
			clientv3.WithRev(revision), clientv3.WithLimit(recordPage))
		if err != nil {
			return 0, err
		}
		page = page[:0]
		for _, kv := range resp.Kvs {
			page, bytes = append(page, kv.Value), bytes+len(kv.Value)
		}
		return bytes, nil
	})
	return page, err
}

// damagedUnlessNewer adds ErrDamaged to what the codec found, unless it is just
// newer.
func damagedUnlessNewer(err error) error {
	if err == nil || errors.Is(err, codec.ErrNewer) {
		return err
	}
	return damaged(err)
}
