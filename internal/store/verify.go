package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sort"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// Checked counts what Verify looked at.
type Checked struct {
	Records, Keyframes, Packs, Contents int
	// Bytes is the size of the packs as stored, and of the contents.
	Bytes int64
	// Old counts the records that cannot be read, since what they rest on was removed: a sweep
	// is removing them, or was interrupted.
	Old int
	// Orphans are the packs that nothing names: a sweep removes them once they are old
	// enough. They may be of a commit that is being made.
	Orphans []diff.Hash
}

// VerifyOptions say who is told what Verify finds. Both functions must be set.
type VerifyOptions struct {
	// Wrong is told of each thing that is not right.
	Wrong func(error)
	// Progress is told how many of the records, packs or contents were checked.
	Progress func(what string, done, total int)
}

// Verify checks all that the history at the view consists of: that each record decodes
// and follows the one before it; that each tree has its digest, from keyframe to
// keyframe; that each pack is there and has its hash; and that each content of the
// head's tree can be had and has its hash; that what channels point to can be had; and that
// nothing else lies there but packs that nothing names, which are counted. It goes on after what is wrong, and tells
// it. Its error is what became of a call, or wraps ErrNoHead.
func (s *Store) Verify(ctx context.Context, view View, o VerifyOptions) (Checked, error) {
	v := &verification{store: s, view: view, VerifyOptions: o, named: make(map[codec.PackRef]bool), records: make(map[uint64]*codec.Record)}
	if view.Err != nil {
		return v.checked, v.note(damagedUnlessNewer(view.Err))
	}
	if view.Head == nil {
		return v.checked, ErrNoHead
	}
	for _, step := range []func(context.Context) error{v.readRecords, v.walkTrees, v.readPointers, v.readPacks, v.fetchContents, v.listKeys} {
		if err := step(ctx); err != nil {
			return v.checked, err
		}
	}
	return v.checked, nil
}

// verification is one run of Verify.
type verification struct {
	VerifyOptions
	store   *Store
	view    View
	checked Checked

	generations []uint64 // that have a record, ascending
	// records are those that decode, without their lists.
	records map[uint64]*codec.Record

	packs []packNamed
	named map[codec.PackRef]bool
}

// packNamed is a pack, and who named it first.
type packNamed struct {
	ref      codec.PackRef
	by       string
	contents bool // it holds contents; else a keyframe or a part of a list
}

// note tells what is wrong in etcd, and returns any other error.
func (v *verification) note(err error) error {
	for _, kind := range []error{ErrDamaged, ErrGone, ErrForeignTenant, ErrRewound, codec.ErrNewer} {
		if errors.Is(err, kind) {
			v.Wrong(err)
			return nil
		}
	}
	return err
}

// readRecords reads every record up to the head, the oldest first.
func (v *verification) readRecords(ctx context.Context) error {
	head := v.view.Head
	var last *codec.Record
	for from := uint64(0); from <= head.Position.Generation; {
		page, err := v.store.storedRecords(ctx, v.view, from, head.Position.Generation, recordPage)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, stored := range page {
			from = stored.generation + 1
			v.generations = append(v.generations, stored.generation)
			v.checked.Records++
			r, err := v.record(ctx, stored, last)
			if err := v.note(err); err != nil {
				return err
			}
			if last = r; r != nil {
				r.List = codec.List{}
				v.records[stored.generation] = r
			}
			v.Progress("records", int(stored.generation), int(head.Position.Generation))
		}
	}
	if err := v.nameKeyframe(ctx, head.Keyframe); err != nil {
		return err
	}
	if r := v.records[head.Position.Generation]; r == nil || r.Position() != head.Position {
		return v.note(fmt.Errorf("%w: the head names commit %v of generation %d, and that is not there", ErrDamaged, head.Position.Commit, head.Position.Generation))
	}
	return nil
}

// record checks one record, and names the packs that it refers to. It returns nil if it
// is not of this history, or does not decode.
func (v *verification) record(ctx context.Context, stored storedRecord, last *codec.Record) (*codec.Record, error) {
	r, err := v.store.coder.DecodeRecord(stored.data)
	if err != nil {
		return nil, fmt.Errorf("record of generation %d: %w", stored.generation, damagedUnlessNewer(err))
	}
	if r.Tenant != v.view.Head.Position.Tenant {
		return nil, nil // of a tenant that had the name before
	}
	at := fmt.Sprintf("generation %d", stored.generation)
	for _, ref := range r.List.Parts {
		v.name(ref, at, false)
	}
	if err = v.nameKeyframe(ctx, r.Keyframe); err != nil {
		return nil, err
	}
	err = v.store.completeList(ctx, &r.List, v.view.revision)
	for _, ref := range r.List.Packs {
		v.name(ref, at, true)
	}
	switch {
	case r.Generation != stored.generation:
		return nil, fmt.Errorf("%w: the record of %s says that it is of %d", ErrDamaged, at, r.Generation)
	case err != nil:
		return r, fmt.Errorf("record of %s: %w", at, err)
	case r.Founding, last == nil && v.checked.Records == 1: // what is older was removed for its age
	case last == nil || last.Generation+1 != r.Generation:
		return r, fmt.Errorf("%s: its parent is not there: %w", at, ErrGone)
	case last.Commit != r.Parent:
		return r, fmt.Errorf("%w: the record of %s names another parent than generation %d", ErrDamaged, at, last.Generation)
	}
	return r, nil
}

// name notes a pack that is to be checked.
func (v *verification) name(ref codec.PackRef, by string, contents bool) {
	if !v.named[ref] {
		v.named[ref] = true
		v.packs = append(v.packs, packNamed{ref, by, contents})
	}
}

// nameKeyframe names a keyframe, and all that it refers to. One whose generation has no record
// is not in use: it was removed for its age, or is about to be.
func (v *verification) nameKeyframe(ctx context.Context, ref codec.KeyframeRef) error {
	if ref.IsZero() || v.named[ref.Pack] || len(v.generations) > 0 && ref.Generation < v.generations[0] {
		return nil
	}
	v.checked.Keyframes++
	by := fmt.Sprintf("the keyframe of generation %d", ref.Generation)
	v.name(ref.Pack, by, false)
	data, err := v.store.getPack(ctx, ref.Pack, v.view.revision)
	if errors.Is(err, ErrGone) {
		return nil // readPacks tells it
	}
	if err != nil {
		return err
	}
	k, err := v.store.coder.DecodeKeyframe(ref, data)
	if err != nil {
		return v.note(fmt.Errorf("%s: %w", by, damagedUnlessNewer(err)))
	}
	for _, part := range k.List.Parts {
		v.name(part, by, false)
	}
	for _, pack := range k.List.Packs {
		v.name(pack, by, true)
	}
	return nil
}

// readPointers reads the trees that channels and rollouts point to.
func (v *verification) readPointers(ctx context.Context) error {
	for _, p := range pointers(v.view.Head.Head) {
		version, err := v.store.At(ctx, v.view, p.generation)
		if err == nil && version.Position().Commit != p.commit {
			err = fmt.Errorf("%w: generation %d is commit %v, it names %v", ErrDamaged, p.generation, version.Position().Commit, p.commit)
		}
		if err != nil {
			if err = v.note(fmt.Errorf("%s: %w", p.who, err)); err != nil {
				return err
			}
		}
	}
	return nil
}

// listKeys looks for what should not be there.
func (v *verification) listKeys(ctx context.Context) error {
	head := v.view.Head.Position.Generation
	beyond, there, err := v.store.nearest(ctx, v.view, head+1, math.MaxUint64, clientv3.SortAscend)
	if err != nil {
		return err
	}
	if there {
		v.Wrong(fmt.Errorf("%w: there is a record of generation %d, beyond the head", ErrDamaged, beyond))
	}
	named := make(map[diff.Hash]bool, len(v.named))
	for ref := range v.named {
		named[ref.Hash] = true
	}
	return v.store.eachPackKey(ctx, v.view, func(hash diff.Hash, _ int64) {
		if !named[hash] {
			v.checked.Orphans = append(v.checked.Orphans, hash)
		}
	})
}

// walkTrees makes every tree, from keyframe to keyframe.
func (v *verification) walkTrees(ctx context.Context) error {
	h := history{store: v.store, view: v.view, from: v.view.Head.Position.Generation + 1} // no commit is wanted
	for next := v.view.Head.Position.Generation; ; {
		i := sort.Search(len(v.generations), func(i int) bool { return v.generations[i] > next })
		if i == 0 {
			return nil
		}
		top := v.generations[i-1]
		r, ok := v.records[top]
		if !ok {
			next = top - 1 // it was told, or is another tenant's
		} else if _, lower, err := h.stretch(ctx, top); err == nil {
			next = lower
		} else if errors.Is(err, errOld) && top < v.view.Head.Position.Generation {
			v.checked.Old = i
			return nil
		} else if err = v.note(fmt.Errorf("the trees up to generation %d: %w", top, err)); err != nil {
			return err
		} else {
			next = v.below(r)
		}
		if next == 0 {
			return nil
		}
	}
}

// below returns the generation below the stretch that a record ends.
func (v *verification) below(r *codec.Record) uint64 {
	if k := r.Keyframe.Generation; k > 0 && k < r.Generation {
		return k
	}
	g := r.Generation
	for v.records[g] != nil && !v.records[g].Founding {
		g--
	}
	if v.records[g] != nil {
		return g - 1
	}
	return g
}

// readPacks reads every pack that something refers to.
func (v *verification) readPacks(ctx context.Context) error {
	for i, p := range v.packs {
		data, err := v.store.getPack(ctx, p.ref, v.view.revision)
		switch {
		case err != nil:
		case p.contents:
			_, err = v.store.coder.DecodePack(p.ref, data)
			err = damagedUnlessNewer(err)
		case diff.Sum(data) != p.ref.Hash:
			err = fmt.Errorf("%w: pack %v does not have its hash", ErrDamaged, p.ref.Hash)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", p.by, err)
		}
		if err := v.note(err); err != nil {
			return err
		}
		v.checked.Packs++
		v.checked.Bytes += int64(len(data))
		v.Progress("packs", i+1, len(v.packs))
	}
	return nil
}

// fetchContents fetches every content of the head's tree.
func (v *verification) fetchContents(ctx context.Context) error {
	version, err := v.store.Resolve(ctx, Have{}, v.view)
	if err != nil {
		return v.note(fmt.Errorf("the tree of the head: %w", err))
	}
	paths := make(map[diff.Hash]string)
	var wanted []diff.Entry
	for path, e := range version.Tree.All() {
		if _, ok := paths[e.Hash]; !ok && e.HasContent() {
			paths[e.Hash] = path
			wanted = append(wanted, e)
		}
	}
	total := len(wanted)
	put := func(e diff.Entry, _ []byte) error {
		delete(paths, e.Hash)
		v.checked.Contents++
		v.checked.Bytes += e.Size
		v.Progress("contents", v.checked.Contents, total)
		return nil
	}
	nowhere := func(diff.Hash) []byte { return nil }
	err = v.quiet(version.Fetch(ctx, wanted, nowhere, put))
	if err != nil || len(paths) == 0 {
		return err
	}
	for _, e := range wanted { // one by one, to name each
		path, ok := paths[e.Hash]
		if !ok {
			continue
		}
		if err := version.Fetch(ctx, []diff.Entry{e}, nowhere, put); err != nil {
			if err = v.note(fmt.Errorf("content of %q: %w", path, err)); err != nil {
				return err
			}
		}
	}
	return nil
}

// quiet is note for what will be told more exactly.
func (v *verification) quiet(err error) error {
	told := *v
	told.Wrong = func(error) {}
	return told.note(err)
}
