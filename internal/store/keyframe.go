package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

const (
	// keyframeEvery is after how many generations a keyframe is due in any case: they are
	// walked in 0.2 s, while a keyframe of 10,000 files has a megabyte.
	keyframeEvery = 8192
	// keyframeFloor is how many bytes of records a host can be asked to read without
	// a keyframe, however small the tree is.
	keyframeFloor = 64 << 10
	// keyframeShare is how many times as many bytes as a keyframe the records must have for it
	// to be made only so that they can be removed: it takes a sixteenth of them at most.
	keyframeShare = 16
	// keyframesRetained is how many keyframes are made for that while as many generations come
	// as are retained: what is kept besides, since it leads to those, is a quarter of them.
	keyframesRetained = 4
)

// Weight tells whether a keyframe is due: when the records since the last outweigh
// it. It is kept by the publisher, for one goroutine.
type Weight struct {
	head     diff.Position // that the sums are for
	keyframe int64         // bytes of the newest keyframe or founding, with its packs
	records  int64         // bytes of the records since, with their packs
	base     uint64        // the generation of that keyframe or founding
	list     int64         // bytes of that keyframe or founding alone
	// loose are the sizes of the contents that no pack since has whole, by path: a keyframe has
	// to put them.
	loose map[string]int64
}

// Due reports whether a keyframe is due at the head, if so many generations are retained: 0
// are all. Then none is made so that records may be removed.
func (w *Weight) Due(head *Head, retained uint64) bool {
	since := head.Position.Generation - w.base
	return w.head == head.Position && (w.records > max(w.keyframe, keyframeFloor) || since >= keyframeEvery ||
		retained > 0 && since*keyframesRetained >= retained && w.records > keyframeShare*w.cost())
}

// cost returns how many bytes a keyframe takes that reuses what lies in packs.
func (w *Weight) cost() int64 {
	n := w.list
	for _, size := range w.loose {
		n += size
	}
	return n
}

// note notes what a keyframe would have to put of a list's contents.
func (w *Weight) note(l *codec.List) {
	for i := range l.Changes {
		switch c := &l.Changes[i]; {
		case c.New.Kind == diff.None:
			delete(w.loose, c.Path)
		case c.Content.Patch != nil || len(c.Content.Whole) > 0:
			w.loose[c.Path] = c.New.Size
		}
	}
}

// rebuildCost is how many bytes that patches make weigh as much as one that is read: a
// host that lacks a base makes every version since the keyframe, at about 1 GB/s.
const rebuildCost = 128

// weigh returns a list's bytes, but for what lies in the record itself: packs count
// decompressed, for records and keyframes alike, and patches for what they make.
func weigh(l *codec.List) int64 {
	var n int64
	for i := range l.Changes {
		if l.Changes[i].Content.Patch != nil {
			n += l.Changes[i].New.Size / rebuildCost
		}
	}
	for _, ref := range l.Parts {
		n += ref.Size
	}
	for _, ref := range l.Packs {
		n += ref.Size
	}
	return n
}

// Weigh brings the sums up to the view's head. After the first time it reads the
// records that are new, but for that of a head which was committed here.
func (s *Store) Weigh(ctx context.Context, w *Weight, view View) error {
	head := view.Head
	base := max(head.Founding, head.Keyframe.Generation)
	sum := *w
	if sum.base != base || sum.head.Generation > head.Position.Generation || sum.head.Tenant != head.Position.Tenant {
		sum = Weight{base: base, loose: make(map[string]int64)}
		if err := s.weighBase(ctx, &sum, view); err != nil {
			return err
		}
	}
	for next := max(sum.head.Generation, base) + 1; next <= head.Position.Generation; {
		page := [][]byte{head.record}
		if next < head.Position.Generation || head.record == nil {
			var err error
			if page, err = s.recordPage(ctx, next, head.Position.Generation, view.revision); err != nil {
				return err
			}
		}
		if len(page) == 0 {
			return fmt.Errorf("generation %d: %w", next, errGap)
		}
		for _, raw := range page {
			r, err := s.coder.DecodeRecord(raw)
			if err != nil {
				return damagedUnlessNewer(err)
			}
			sum.records += int64(len(raw)) + weigh(&r.List)
			sum.note(&r.List)
			next = r.Generation + 1
		}
	}
	sum.head = head.Position
	*w = sum
	return nil
}

func (s *Store) weighBase(ctx context.Context, sum *Weight, view View) error {
	if ref := view.Head.Keyframe; !ref.IsZero() {
		data, err := s.getPack(ctx, ref.Pack, view.revision)
		if err != nil {
			return err
		}
		k, err := s.coder.DecodeKeyframe(ref, data)
		if err != nil {
			return damagedUnlessNewer(err)
		}
		sum.keyframe, sum.list = int64(len(data))+weigh(&k.List), int64(len(data))+parts(&k.List)
		return nil
	}
	r, n, err := s.Record(ctx, view, view.Head.Founding)
	if err != nil {
		return err
	}
	sum.keyframe, sum.list = int64(n)+weigh(&r.List), int64(n)+parts(&r.List)
	return nil
}

// parts returns the bytes of a list that lie in packs, decompressed.
func parts(l *codec.List) (n int64) {
	for _, ref := range l.Parts {
		n += ref.Size
	}
	return n
}

// Keyframe is a keyframe that is staged. No head names it before PublishKeyframe.
type Keyframe struct {
	ref      codec.KeyframeRef
	tenant   diff.TenantID
	founding uint64
	packs    []clientv3.Cmp // that all its packs are still there
}

// StageKeyframe stages a keyframe of the view's head. Contents that lie whole in packs
// stay where they are; of those that records hold as patches have, which may be nil,
// saves rebuilding what the caller holds.
func (s *Store) StageKeyframe(ctx context.Context, view View, have func(diff.Hash) []byte) (*Keyframe, error) {
	head := view.Head
	fence, err := s.readFence(ctx)
	if err != nil {
		return nil, err
	}
	v, err := newWalk(s, head, view.revision).fromBase(ctx)
	if err != nil {
		return nil, err
	}
	draft := s.NewDraft(ctx, head)
	ref, err := s.stageKeyframe(ctx, v, have, draft)
	if err != nil {
		draft.Discard()
		return nil, err
	}
	draft.flush()
	err = draft.group.Wait()
	draft.stop()
	if err != nil {
		return nil, err
	}
	return &Keyframe{ref: ref, tenant: head.Position.Tenant, founding: head.Founding, packs: append(draft.stillThere(), fence.unmoved())}, nil
}

// PublishKeyframe replaces the head by one that names the keyframe, at the same
// position. Commits may have been made since it was staged; the caller knows that they
// follow from its position. It returns ErrLostRace if the history began anew meanwhile,
// if head is no longer the head, or if packs were removed or etcd was taken back, and
// ErrNotLeader if the store is a leader's whose seat is gone: the staged packs are garbage
// then.
func (s *Store) PublishKeyframe(ctx context.Context, head *Head, k *Keyframe) (*Head, error) {
	if head == nil || head.Position.Tenant != k.tenant || head.Founding != k.founding ||
		head.Position.Generation < k.ref.Generation || head.Keyframe.Generation >= k.ref.Generation {
		return nil, fmt.Errorf("publish keyframe: %w", ErrLostRace)
	}
	next := head.Head
	next.Keyframe = k.ref
	raw, err := codec.EncodeHead(next)
	if err != nil {
		return nil, err
	}
	revision, err := s.swap(ctx, "publish keyframe", s.headIs(head), []clientv3.Op{clientv3.OpPut(s.keys.head(), string(raw))}, k.packs...)
	if err != nil {
		return nil, err
	}
	return &Head{Head: next, raw: raw, modRevision: revision}, nil
}

func (s *Store) stageKeyframe(ctx context.Context, v *Version, have func(diff.Hash) []byte, draft *Draft) (codec.KeyframeRef, error) {
	k := &codec.Keyframe{Position: v.Position(), Digest: v.Tree.Digest()}
	packer := codec.NewPacker(draft.Stage)
	spots := make(map[diff.Hash]codec.Spot)
	r := v.rebuild(have, func(diff.Hash, []byte) error { return nil })
	for path, e := range v.Tree.All() {
		ch := codec.Change{Path: path, New: e}
		if e.HasContent() && e.Size > 0 {
			p, ok := v.places[e.Hash]
			if !ok {
				return codec.KeyframeRef{}, fmt.Errorf("%w: no record tells where the content of %q lies", ErrDamaged, path)
			}
			ch.Content = p.Content
			if _, done := spots[e.Hash]; !done && (len(p.Packs) == 0 || p.Patch != nil) {
				content, err := r.content(ctx, e.Hash)
				if err != nil {
					return codec.KeyframeRef{}, err
				}
				if spots[e.Hash], err = packer.Add(content); err != nil {
					return codec.KeyframeRef{}, err
				}
			}
		}
		k.List.Changes = append(k.List.Changes, ch)
	}
	if err := packer.Close(); err != nil {
		return codec.KeyframeRef{}, err
	}
	for i := range k.List.Changes {
		c := &k.List.Changes[i]
		if spot, ok := spots[c.New.Hash]; ok && c.New.HasContent() && c.New.Size > 0 {
			c.Content = packer.Content(spot)
		}
	}
	return s.coder.EncodeKeyframe(k, draft.Stage)
}
