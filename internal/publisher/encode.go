package publisher

import (
	"context"
	"fmt"
	"slices"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
)

const (
	// inlineBytes is up to how many bytes of contents and patches travel inside the
	// record itself, so that hosts need nothing but the event; beyond, all of them go
	// into packs.
	inlineBytes = 16 << 10
	// patchFloor is from how many bytes on a file is worth the making of a patch.
	patchFloor = 128
)

// contents finds the changes' contents a place in the record or in packs, as patches
// where that is less. Content that the changes take away elsewhere, or that keeps its
// path, is not sent again: readers have it, or find it by its hash. At a founding
// everything is sent, whole.
func (p *Publisher) contents(ctx context.Context, changes []diff.Change, on standing, stage func(codec.Pack) error) (contents, error) {
	sent := make([]codec.Change, len(changes)) // What parts point into stays where it is.
	for i, c := range changes {
		sent[i] = codec.Change{Path: c.Path, New: c.New}
	}
	first, places := firsts(changes, on.founding)
	l := load{stage: stage, parts: make([]part, 0, len(places))}
	var out contents
	lost := make(map[diff.Hash]bool)
	p.asking = etcdBudget
	err := p.read(ctx, changes, places, func(read content) error {
		c := changes[read.change]
		p.reading = c.Path
		if p.leaves(c, on, read.err) {
			lost[c.New.Hash] = true
			return nil
		}
		if read.err != nil {
			return read.err
		}
		out.bytes += c.New.Size
		patch := p.patch(ctx, c, on.founding, read.bytes)
		return l.add(&sent[read.change], read.bytes, patch)
	})
	if err == nil {
		err = l.close()
	}
	if err != nil {
		return contents{}, err
	}
	for i, c := range changes {
		from, ok := first[c.New.Hash]
		switch {
		case !ok || !c.New.HasContent() || c.New.Size == 0:
		case lost[c.New.Hash] && !p.leaves(c, on, scan.ErrChanged):
			return contents{}, fmt.Errorf("read %q: %w", c.Path, scan.ErrChanged)
		case lost[c.New.Hash]:
			out.left = append(out.left, c.Path)
		case sent[from].Content.Patch == nil || c.New.Kind == diff.File:
			// A symlink cannot come as a patch; readers find its content by the hash.
			sent[i].Content = sent[from].Content
		}
	}
	out.changes = sent
	if len(out.left) > 0 {
		out.left = withPredecessors(out.left, changes)
		out.changes = slices.DeleteFunc(sent, func(c codec.Change) bool {
			_, is := slices.BinarySearchFunc(out.left, c.Path, diff.ComparePaths)
			return is
		})
	}
	return out, nil
}

// withPredecessors returns, in order, what is left to a later commit: if that is a new file,
// then also what goes away, since it may be what the file comes in the place of.
func withPredecessors(left []string, changes []diff.Change) []string {
	isNew := func(c diff.Change) bool {
		_, is := slices.BinarySearchFunc(left, c.Path, diff.ComparePaths)
		return is && c.Old.Kind == diff.None
	}
	if !slices.ContainsFunc(changes, isNew) {
		return left
	}
	for _, c := range changes {
		if c.Deleted() {
			left = append(left, c.Path)
		}
	}
	slices.SortFunc(left, diff.ComparePaths)
	return left
}

// firsts returns, for each content that is to be sent, the place of the first change to it,
// by hash and in order.
func firsts(changes []diff.Change, founding bool) (map[diff.Hash]int, []int) {
	known := make(map[diff.Hash]bool)
	if !founding {
		for _, c := range changes {
			if c.Old.HasContent() {
				known[c.Old.Hash] = true
			}
		}
	}
	first := make(map[diff.Hash]int, len(changes))
	places := make([]int, 0, len(changes))
	for i, c := range changes {
		if !c.New.HasContent() || c.New.Size == 0 || known[c.New.Hash] {
			continue
		}
		if _, ok := first[c.New.Hash]; !ok {
			first[c.New.Hash] = i
			places = append(places, i)
		}
	}
	return first, places
}

// contents is what a commit sends.
type contents struct {
	changes []codec.Change
	bytes   int64    // of the contents, before they are made less
	left    []string // paths that are left to a later commit, in order
}

// patch returns the patch that leads from the old content to the new one, nil if there
// is none that is worth it.
func (p *Publisher) patch(ctx context.Context, c diff.Change, founding bool, content []byte) *codec.Patch {
	if founding || !patchable(c) {
		return nil
	}
	base := p.base(ctx, c.Old)
	if base == nil {
		return nil
	}
	frame, ok := p.coder.EncodePatch(base, content)
	if !ok {
		return nil
	}
	return &codec.Patch{Base: c.Old.Hash, Frame: frame, Size: int64(len(frame))}
}

// load gathers what a commit sends: for the record until that is too much, then for
// packs.
type load struct {
	stage  func(codec.Pack) error
	parts  []part
	bytes  int           // of the parts' data
	packer *codec.Packer // nil while all of it fits into the record
}

// part is a content, or the frame of a patch.
type part struct {
	change *codec.Change
	patch  *codec.Patch
	data   []byte     // nil once it is in a pack
	spot   codec.Spot // there
}

// add gives the change its content, or the patch if it is not nil. Its place is told by
// close.
func (l *load) add(change *codec.Change, content []byte, patch *codec.Patch) error {
	p := part{change: change, patch: patch, data: content}
	if patch != nil {
		p.data = patch.Frame
	}
	l.parts = append(l.parts, p)
	if l.packer != nil {
		return l.pack(&l.parts[len(l.parts)-1])
	}
	if l.bytes += len(p.data); l.bytes <= inlineBytes {
		return nil
	}
	l.packer = codec.NewPacker(l.stage)
	for i := range l.parts {
		if err := l.pack(&l.parts[i]); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) pack(p *part) (err error) {
	if p.spot, err = l.packer.Add(p.data); err != nil {
		return fmt.Errorf("pack %q: %w", p.change.Path, err)
	}
	if p.data = nil; p.patch != nil {
		p.patch.Frame = nil
	}
	return nil
}

// close tells the changes where their contents lie.
func (l *load) close() error {
	if l.packer != nil {
		if err := l.packer.Close(); err != nil {
			return err
		}
	}
	for _, p := range l.parts {
		switch {
		case l.packer != nil:
			p.change.Content = l.packer.Content(p.spot)
		case p.patch == nil:
			p.change.Content.Whole = p.data
		}
		p.change.Content.Patch = p.patch
	}
	return nil
}
