package publisher

import (
	"context"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// comeback finds the contents of an older version a place in a record: what lies whole in packs
// is named there, and what lay in records travels again.
//
// Who reads the record may begin at a keyframe that was staged just before it and has nothing
// of the older version. So a place is told for all that the head's tree does not hold.
type comeback struct {
	now, then *store.Version
	draft     *store.Draft
	load      load
	coder     *codec.Coder
	reused    map[codec.PackRef]bool
}

func newComeback(now, then *store.Version, draft *store.Draft) *comeback {
	return &comeback{
		now: now, then: then, draft: draft, load: load{stage: draft.Stage}, coder: codec.NewCoder(), reused: make(map[codec.PackRef]bool),
	}
}

// contents returns what the record says of the changes that lead from the one version to the
// other.
func (c *comeback) contents(ctx context.Context, changes []diff.Change) ([]codec.Change, error) {
	sent := make([]codec.Change, len(changes)) // What parts point into stays where it is.
	known := hashes(c.now.Tree)
	first := make(map[diff.Hash]int)
	var again []int
	for i, ch := range changes {
		sent[i] = codec.Change{Path: ch.Path, New: ch.New}
		if !ch.New.HasContent() || ch.New.Size == 0 || known[ch.New.Hash] {
			continue
		}
		if _, twice := first[ch.New.Hash]; twice {
			continue
		}
		first[ch.New.Hash] = i
		lies, err := c.then.Where(ctx, ch.New)
		if err != nil {
			return nil, err
		}
		if len(lies.Packs) == 0 || lies.Patch != nil {
			again = append(again, i)
			continue
		}
		sent[i].Content = lies
		for _, ref := range lies.Packs {
			c.reused[ref] = true
		}
	}
	if err := c.send(ctx, changes, again, sent); err != nil {
		return nil, err
	}
	for i, ch := range changes {
		from, ok := first[ch.New.Hash]
		// A symlink cannot come as a patch; readers find its content by the hash.
		if ok && ch.New.HasContent() && (sent[from].Content.Patch == nil || ch.New.Kind == diff.File) {
			sent[i].Content = sent[from].Content
		}
	}
	packs := make([]codec.PackRef, 0, len(c.reused))
	for ref := range c.reused {
		packs = append(packs, ref)
	}
	return sent, c.draft.ReusePacks(ctx, packs)
}

// hashes returns the contents of a tree.
func hashes(t diff.Tree) map[diff.Hash]bool {
	known := make(map[diff.Hash]bool)
	for _, e := range t.All() {
		if e.HasContent() {
			known[e.Hash] = true
		}
	}
	return known
}

// send has the contents of changes travel again, as patches of what they replace where that is
// less.
func (c *comeback) send(ctx context.Context, changes []diff.Change, again []int, sent []codec.Change) error {
	c.load.parts = make([]part, 0, len(again))
	for len(again) > 0 {
		n, bytes := 0, int64(0)
		for n < len(again) && (n == 0 || bytes < rollbackGroup) {
			bytes += changes[again[n]].New.Size + changes[again[n]].Old.Size
			n++
		}
		if err := c.group(ctx, changes, again[:n], sent); err != nil {
			return err
		}
		again = again[n:]
	}
	return c.load.close()
}

func (c *comeback) group(ctx context.Context, changes []diff.Change, again []int, sent []codec.Change) error {
	var news, olds []diff.Entry
	for _, i := range again {
		news = append(news, changes[i].New)
		if patchable(changes[i]) {
			olds = append(olds, changes[i].Old)
		}
	}
	contents, err := fetched(ctx, c.then, news)
	if err != nil {
		return err
	}
	bases, err := fetched(ctx, c.now, olds)
	if err != nil {
		return err
	}
	for _, i := range again {
		var patch *codec.Patch
		content := contents[changes[i].New.Hash]
		if patchable(changes[i]) {
			if frame, ok := c.coder.EncodePatch(bases[changes[i].Old.Hash], content); ok {
				patch = &codec.Patch{Base: changes[i].Old.Hash, Frame: frame, Size: int64(len(frame))}
			}
		}
		if err := c.load.add(&sent[i], content, patch); err != nil {
			return err
		}
	}
	return nil
}

// patchable reports whether the new content may travel as a patch of the old one.
func patchable(c diff.Change) bool {
	return c.Old.Kind == diff.File && c.New.Kind == diff.File && c.Old.Size > 0 && c.New.Size >= patchFloor
}

// fetched reads contents of a version from etcd.
func fetched(ctx context.Context, v *store.Version, entries []diff.Entry) (map[diff.Hash][]byte, error) {
	contents := make(map[diff.Hash][]byte, len(entries))
	err := v.Fetch(ctx, entries, nil, func(e diff.Entry, content []byte) error {
		contents[e.Hash] = append([]byte{}, content...)
		return nil
	})
	return contents, err
}
