package store

import (
	"context"
	"fmt"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// Fetch calls put once for each distinct wanted content, in no particular order and
// from one goroutine. The content was verified against its hash; it is valid during
// the call only. An error of put ends it and is returned.
//
// Contents that did not change lately are looked up from the keyframe on. It returns
// an error that wraps ErrGone or ErrDamaged, or what became of the call.
func (v *Version) Fetch(ctx context.Context, wanted []diff.Entry, have func(diff.Hash) []byte, put func(diff.Entry, []byte) error) error {
	if err := v.locate(ctx, wanted); err != nil {
		return err
	}
	seen := make(map[diff.Hash]bool, len(wanted))
	var packed fetch
	for _, e := range wanted {
		if seen[e.Hash] {
			continue
		}
		seen[e.Hash] = true
		place, ok := v.places[e.Hash]
		if !ok && e.Size > 0 {
			return fmt.Errorf("%w: no record tells where the content %v lies", ErrDamaged, e.Hash)
		}
		use := func(content []byte) error {
			if diff.Sum(content) != e.Hash || int64(len(content)) != e.Size {
				return fmt.Errorf("%w: content %v does not have its hash", ErrDamaged, e.Hash)
			}
			return put(e, content)
		}
		if len(place.Packs) > 0 {
			packed.add(place, e.Size, use)
		} else if err := use(place.Whole); err != nil {
			return err
		}
	}
	return packed.run(ctx, v.store, v.revision)
}

// locate makes sure that v knows where the wanted contents lie.
func (v *Version) locate(ctx context.Context, wanted []diff.Entry) error {
	if v.complete {
		return nil
	}
	for _, e := range wanted {
		if _, ok := v.places[e.Hash]; ok || e.Size == 0 {
			continue
		}
		w := walk{store: v.store, head: v.Head, revision: v.revision, places: v.places}
		all, err := w.fromBase(ctx)
		if err != nil {
			return err
		}
		v.places, v.complete = all.places, true
		return nil
	}
	return nil
}
