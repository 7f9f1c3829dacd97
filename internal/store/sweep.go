package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

const (
	// sweptRecords is how many generations' records go in one Txn: each host gets an event
	// for each.
	sweptRecords = 128
	// sweptPacks is how many packs go in one Txn. etcd takes 128 operations and comparisons.
	sweptPacks = 64
	// packKeys is how many packs' keys are read at a time.
	packKeys = 1000
)

// Sweeper finds and removes what of a tenant's history is not kept, and the packs that
// nothing names which is kept. It is for one goroutine at a time.
type Sweeper struct {
	store  *Store
	keep   Retention
	naming naming
}

// NewSweeper returns a sweeper that knows nothing of the history yet.
func (s *Store) NewSweeper(keep Retention) *Sweeper { return &Sweeper{store: s, keep: keep} }

// Count counts records and packs, and their bytes as stored.
type Count struct {
	Records, Packs int
	Bytes          int64
}

// Add adds up two counts.
func (c Count) Add(more Count) Count {
	return Count{c.Records + more.Records, c.Packs + more.Packs, c.Bytes + more.Bytes}
}

// Garbage is what may be removed, as it was at a view. It is of no use any more once the
// sweeper has marked anew.
type Garbage struct {
	Kept
	Found Count
	// Young counts the packs that nothing names and that are left alone for now.
	Young int

	sweeper *Sweeper
	view    View
	fence   fence
	records []sweptRange
	packs   []sweptPack
}

// sweptRange is records that go in one Txn: all below a generation.
type sweptRange struct {
	below uint64
	Count
}

// sweptPack is a pack that is to go, as it was put.
type sweptPack struct {
	hash        diff.Hash
	modRevision int64
	bytes       int64
}

// Empty reports whether nothing is left to be removed.
func (g *Garbage) Empty() bool { return len(g.records) == 0 && len(g.packs) == 0 }

// Mark finds out what may be removed of what is there at the view. It only reads: the
// records and keyframes that were not read before, and what is to go. It returns an error
// that wraps ErrNoHead, ErrDamaged, ErrGone or codec.ErrNewer, or what became of a call:
// nothing is removed from a history that is not whole.
func (w *Sweeper) Mark(ctx context.Context, view View) (*Garbage, error) {
	if view.Err != nil {
		return nil, damagedUnlessNewer(view.Err)
	}
	if view.Head == nil {
		return nil, ErrNoHead
	}
	s := w.store
	g := &Garbage{sweeper: w, view: view}
	var err error
	if g.fence, err = s.readFence(ctx); err != nil {
		return nil, err
	}
	if g.Kept, err = s.kept(ctx, view, w.keep); err != nil {
		return nil, err
	}
	if err = w.naming.catchUp(ctx, s, view, g.Oldest); err != nil {
		return nil, err
	}
	w.naming.forget(g.Oldest)
	if err = g.markRecords(ctx, s); err != nil {
		return nil, err
	}
	return g, g.markPacks(ctx, s)
}

// markRecords finds the records that are too old.
func (g *Garbage) markRecords(ctx context.Context, s *Store) error {
	for from := uint64(0); from < g.Oldest; {
		page, err := s.storedRecords(ctx, g.view, from, g.Oldest-1, sweptRecords)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		from = page[len(page)-1].generation + 1
		r := sweptRange{below: from, Count: Count{Records: len(page)}}
		for _, stored := range page {
			r.Bytes += int64(len(stored.data))
		}
		g.records = append(g.records, r)
		g.Found = g.Found.Add(r.Count)
	}
	return nil
}

// markPacks finds the packs that nothing names, and how large they are.
func (g *Garbage) markPacks(ctx context.Context, s *Store) error {
	before := g.view.revision
	if young := g.sweeper.keep.Young; young > 0 {
		var err error
		if before, err = s.putBefore(ctx, g.view, time.Now().Add(-young)); err != nil {
			return err
		}
	}
	err := s.eachPackKey(ctx, g.view, func(hash diff.Hash, modRevision int64) {
		switch {
		case g.sweeper.named(hash):
		case modRevision > before:
			g.Young++
		default:
			g.packs = append(g.packs, sweptPack{hash: hash, modRevision: modRevision})
		}
	})
	if err != nil {
		return err
	}
	for i := range g.packs {
		data, err := s.getPack(ctx, codec.PackRef{Hash: g.packs[i].hash}, g.view.revision)
		if err != nil {
			return err
		}
		g.packs[i].bytes = int64(len(data))
		g.Found = g.Found.Add(Count{Packs: 1, Bytes: int64(len(data))})
	}
	return nil
}

// named reports whether anything names a pack that is kept.
func (w *Sweeper) named(hash diff.Hash) bool {
	_, ok := w.naming.newest[hash]
	return ok
}

// eachPackKey calls each with every pack, and the revision at which it was put last.
func (s *Store) eachPackKey(ctx context.Context, view View, each func(hash diff.Hash, modRevision int64)) error {
	prefix := s.keys.packs()
	for from, more := prefix, true; more; {
		var resp *clientv3.GetResponse
		err := s.call(ctx, "list packs of "+s.tenant, false, func(ctx context.Context, etcd *clientv3.Client) (err error) {
			resp, err = etcd.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), clientv3.WithRev(view.revision),
				clientv3.WithKeysOnly(), clientv3.WithLimit(packKeys))
			return err
		})
		if err != nil {
			return err
		}
		for _, kv := range resp.Kvs {
			if hash, ok := s.keys.packHash(string(kv.Key)); ok {
				each(hash, kv.ModRevision)
			}
			from = string(kv.Key) + "\x00"
		}
		more = resp.More
	}
	return nil
}

// Remove removes a part of what was marked, in one Txn that compares the view's head and
// moves the fence, and returns what went. The records go first, the oldest before all, and
// then the packs: so each that is there can be read up to its generation, at any instant. The
// view is as new as is known; if its head is another than that which was marked, what its
// commits name is kept.
//
// It returns an error that wraps ErrLostRace if the head is another one by now, or what led
// to the mark does no longer hold: read the head, and call it again, or mark anew;
// ErrNotLeader if s is a leader's store whose seat is gone; or what became of a call. After
// an error that is Temporary the Txn may have been applied.
func (g *Garbage) Remove(ctx context.Context, s *Store, view View) (Count, error) {
	if err := g.follow(ctx, s, view); err != nil || g.Empty() {
		return Count{}, err
	}
	var ops []clientv3.Op
	var compare []clientv3.Cmp
	var going Count
	var put int64
	batch := g.packs[:min(len(g.packs), sweptPacks)]
	if len(g.records) > 0 {
		batch, going = nil, g.records[0].Count
		ops = append(ops, clientv3.OpDelete(s.keys.log(0), clientv3.WithRange(s.keys.log(g.records[0].below))))
	}
	for _, p := range batch {
		key := s.keys.pack(p.hash)
		ops = append(ops, clientv3.OpDelete(key))
		compare = append(compare, clientv3.Compare(clientv3.ModRevision(key), "=", p.modRevision))
		going = going.Add(Count{Packs: 1, Bytes: p.bytes})
		put = max(put, p.modRevision)
	}
	ops, compare = append(ops, g.fence.moved(put)), append(compare, g.fence.unmoved())
	resp, err := s.txn(ctx, "sweep", s.headIs(view.Head), ops, compare...)
	if err != nil {
		if errors.Is(err, ErrLostRace) {
			return Count{}, errors.Join(err, g.refresh(ctx, s, batch))
		}
		return Count{}, err
	}
	g.fence = fence{key: g.fence.key, modRevision: resp.Header.Revision, removed: max(g.fence.removed, put), revision: resp.Header.Revision}
	g.packs = g.packs[len(batch):]
	if len(g.records) > 0 {
		g.records = g.records[1:]
	}
	return going, nil
}

// follow takes in what was committed since the mark.
func (g *Garbage) follow(ctx context.Context, s *Store, view View) error {
	switch {
	case view.Err != nil:
		return damagedUnlessNewer(view.Err)
	case view.Head == nil || view.Head.Position.Tenant != g.view.Head.Position.Tenant || view.Head.Founding != g.view.Head.Founding,
		view.Head.Position.Generation < g.view.Head.Position.Generation:
		return fmt.Errorf("sweep: %w", ErrLostRace)
	case view.Head.Same(g.view.Head):
		return nil
	}
	for _, p := range pointers(view.Head.Head) {
		if p.generation < g.Wanted {
			return fmt.Errorf("sweep: %w: %s points to generation %d", ErrLostRace, p.who, p.generation)
		}
	}
	err := g.sweeper.naming.catchUp(ctx, s, view, g.Oldest)
	if errors.Is(err, errGap) {
		return fmt.Errorf("sweep: %w: another has removed more: %w", ErrLostRace, err)
	}
	if err != nil {
		return err
	}
	g.packs = slices.DeleteFunc(g.packs, func(p sweptPack) bool { return g.sweeper.named(p.hash) })
	g.view = view
	return nil
}

// refresh reads the fence, and which packs of a batch are still as they were marked.
func (g *Garbage) refresh(ctx context.Context, s *Store, batch []sweptPack) error {
	var err error
	if g.fence, err = s.readFence(ctx); err != nil || len(batch) == 0 {
		return err
	}
	gets := make([]clientv3.Op, len(batch))
	for i, p := range batch {
		gets[i] = clientv3.OpGet(s.keys.pack(p.hash), clientv3.WithKeysOnly())
	}
	same := make(map[diff.Hash]bool)
	err = s.call(ctx, "look for packs of "+s.tenant, false, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Txn(ctx).Then(gets...).Commit()
		if err != nil {
			return err
		}
		for i, r := range resp.Responses {
			kvs := r.GetResponseRange().Kvs
			same[batch[i].hash] = len(kvs) > 0 && kvs[0].ModRevision == batch[i].modRevision
		}
		return nil
	})
	if err == nil {
		g.packs = slices.DeleteFunc(g.packs, func(p sweptPack) bool {
			is, asked := same[p.hash]
			return asked && !is
		})
	}
	return err
}
