package store

import (
	"context"
	"fmt"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// place tells where a content of size bytes lies.
type place struct {
	codec.Content
	size int64
}

// stored returns how many bytes lie there: those of the content, or of a patch's frame.
func (p place) stored() int64 {
	if p.Patch != nil {
		return p.Patch.Size
	}
	return p.size
}

// verify returns ErrDamaged unless content is the one of that hash.
func (p place) verify(hash diff.Hash, content []byte) error {
	if diff.Sum(content) != hash || int64(len(content)) != p.size {
		return fmt.Errorf("%w: content %v does not have its hash", ErrDamaged, hash)
	}
	return nil
}

// Fetch calls put once for each distinct wanted content, in no particular order and
// from one goroutine. The content was verified against its hash; it is valid during
// the call only. An error of put ends it and is returned.
//
// have, which may be nil, returns a content that the caller holds, else nil: what
// patches apply to. It is verified before it is used; a base that the caller does not
// hold is rebuilt from etcd. Besides a content and its base, up to 40 MiB are held.
//
// Contents that did not change lately are looked up from the keyframe on. It returns
// an error that wraps ErrGone or ErrDamaged, or what became of the call.
func (v *Version) Fetch(ctx context.Context, wanted []diff.Entry, have func(diff.Hash) []byte, put func(diff.Entry, []byte) error) error {
	if err := v.locate(ctx, wanted); err != nil {
		return err
	}
	waiting := make(map[diff.Hash]diff.Entry, len(wanted))
	var packed fetch
	var patched []diff.Hash
	for _, e := range wanted {
		if _, twice := waiting[e.Hash]; twice {
			continue
		}
		waiting[e.Hash] = e
		p, ok := v.places[e.Hash]
		p.size = e.Size
		switch {
		case !ok && e.Size > 0:
			return fmt.Errorf("%w: no record tells where the content %v lies", ErrDamaged, e.Hash)
		case p.Patch != nil:
			patched = append(patched, e.Hash)
			continue
		}
		use := func(content []byte) error {
			if err := p.verify(e.Hash, content); err != nil {
				return err
			}
			return put(e, content)
		}
		if len(p.Packs) > 0 {
			packed.add(p.Content, e.Size, use)
		} else if err := use(p.Whole); err != nil {
			return err
		}
	}
	if err := packed.run(ctx, v.store, v.revision); err != nil {
		return err
	}
	return v.fetchPatched(ctx, patched, waiting, have, put)
}

// fetchPatched hands over the contents of which etcd has patches.
func (v *Version) fetchPatched(ctx context.Context, patched []diff.Hash, entries map[diff.Hash]diff.Entry, have func(diff.Hash) []byte, put func(diff.Entry, []byte) error) error {
	waiting := make(map[diff.Hash]bool, len(patched))
	for _, hash := range patched {
		waiting[hash] = true
	}
	give := func(hash diff.Hash, content []byte) error {
		if !waiting[hash] {
			return nil
		}
		delete(waiting, hash)
		return put(entries[hash], content)
	}
	r := v.rebuild(have, give)
	for _, hash := range patched {
		if !waiting[hash] {
			continue
		}
		content, err := r.content(ctx, hash)
		if err == nil {
			err = give(hash, content) // the caller held it, or a keyframe has it whole
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// locate makes sure that v knows where the wanted contents lie.
func (v *Version) locate(ctx context.Context, wanted []diff.Entry) error {
	for _, e := range wanted {
		if _, ok := v.places[e.Hash]; !ok && e.Size > 0 && !v.complete {
			return v.locateAll(ctx)
		}
	}
	return nil
}

// locateAll finds out where all contents lie, from the keyframe on.
func (v *Version) locateAll(ctx context.Context) error {
	w := newWalk(v.store, v.Head, v.revision)
	all, err := w.fromBase(ctx)
	if err != nil {
		return err
	}
	v.places, v.complete = all.places, true
	return nil
}
