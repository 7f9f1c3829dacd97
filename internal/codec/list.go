package codec

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/confsyncd/confsyncd/internal/codec/wirepb"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// Limits of lists.
const (
	// MaxFileSize bounds the content of one file in bytes.
	MaxFileSize = 64 << 20
	// MaxList bounds the message of a record, a keyframe or a part in bytes.
	MaxList = 4 << 20
	// inlineList is up to how many bytes a list's changes stand in the record or
	// keyframe itself, so that it fits a Txn beside others.
	inlineList = 256 << 10
	// partSize is how many bytes of changes make a part; their stored bytes stay
	// below MaxPack even if they cannot be compressed.
	partSize = 480 << 10
)

// Change says what stands at a path from now on: New, or nothing if New is zero.
type Change struct {
	Path    string
	New     diff.Entry
	Content Content // where New's content lies; zero if that is known, or it has none
}

// Content tells where the bytes of a file or symlink lie: here, or in packs, or what
// patch makes a file's of another content. The zero Content of an entry with a size
// says that they came before: the parent's tree holds them, or a record since the
// newest keyframe or founding; they are found by their hash. So a move costs no bytes.
// Keyframes and foundings, before which nothing came, tell of every content where it
// lies whole.
type Content struct {
	Whole  []byte
	Packs  []PackRef // a run of packs
	Offset int64     // in the first of them, decompressed, in bytes
	// Patch, if it is set, says that what lies in Packs, or here in Patch.Frame, is to
	// be given to DecodePatch.
	Patch *Patch
}

// IsZero reports whether c tells no place.
func (c Content) IsZero() bool { return len(c.Whole) == 0 && len(c.Packs) == 0 && c.Patch == nil }

// List is the changes of a record or keyframe, in the order of diff.ComparePaths.
type List struct {
	Changes []Change
	// Parts names the packs that hold further changes, in order. A decoded list is
	// complete once each was given to Coder.AddPart.
	Parts []PackRef
	// Packs names all packs that the contents lie in.
	Packs []PackRef

	// whole says that the list makes a tree from nothing: it deletes nothing, and
	// tells where every content lies.
	whole bool
}

// encodeList puts changes into a message, or into parts that are handed to stage
// if they are too many. See List for whole.
func (c *Coder) encodeList(changes []Change, whole bool, stage func(Pack) error) (*wirepb.List, error) {
	list := &wirepb.List{}
	places := make(map[PackRef]uint32)
	var run []*wirepb.Change
	size, parts := 0, false
	for i := range changes {
		if err := changes[i].fits(whole); err != nil {
			return nil, fmt.Errorf("encode list: %w", err)
		}
		m := changeToWire(&changes[i], list, places)
		n := proto.Size(m) + 4
		if limit := inlineList; !parts && size+n > limit {
			parts = true
		}
		if parts && size+n > partSize && len(run) > 0 {
			if err := c.encodePart(list, run, stage); err != nil {
				return nil, err
			}
			run, size = nil, 0
		}
		run, size = append(run, m), size+n
	}
	if !parts {
		list.Changes = run
		return list, nil
	}
	return list, c.encodePart(list, run, stage)
}

func (c *Coder) encodePart(list *wirepb.List, run []*wirepb.Change, stage func(Pack) error) error {
	part := &wirepb.Part{Changes: run}
	data, err := c.seal(kindPart, part)
	if err != nil {
		return err
	}
	ref := PackRef{Hash: diff.Sum(data), Size: int64(proto.Size(part))}
	list.Parts = append(list.Parts, packToWire(ref))
	return stage(Pack{Ref: ref, Data: data})
}

// fits returns an error if a list of this sort cannot hold ch.
func (ch *Change) fits(whole bool) error {
	switch {
	case whole && ch.New.Kind == diff.None:
		return fmt.Errorf("deletion of %q from a whole tree", ch.Path)
	case whole && ch.New.Size > 0 && ch.Content.IsZero():
		return fmt.Errorf("no content for %q in a whole tree", ch.Path)
	case ch.Content.Patch == nil:
		return nil
	case whole:
		return fmt.Errorf("a patch for %q in a whole tree", ch.Path)
	case ch.New.Kind != diff.File:
		return fmt.Errorf("a patch for the %v %q", ch.New.Kind, ch.Path)
	}
	return ch.Content.Patch.fits(ch)
}

// changeToWire encodes ch; packs that are new to the list get a place in it.
func changeToWire(ch *Change, list *wirepb.List, places map[PackRef]uint32) *wirepb.Change {
	m := &wirepb.Change{Path: []byte(ch.Path), Kind: uint32(ch.New.Kind), Mode: ch.New.Mode, Size: uint64(ch.New.Size)}
	if !ch.New.HasContent() {
		return m
	}
	m.Hash = ch.New.Hash[:]
	if ch.New.Size == 0 || ch.Content.IsZero() {
		return m
	}
	m.Content = &wirepb.Content{Whole: ch.Content.Whole, Offset: uint64(ch.Content.Offset), Patch: ch.Content.Patch.toWire()}
	for _, ref := range ch.Content.Packs {
		place, ok := places[ref]
		if !ok {
			place = uint32(len(list.Packs))
			places[ref] = place
			list.Packs = append(list.Packs, packToWire(ref))
		}
		m.Content.Packs = append(m.Content.Packs, place)
	}
	return m
}

// decodeList reads what stands in the message itself. See List for whole.
func decodeList(m *wirepb.List, whole bool, f *fields) List {
	l := List{whole: whole}
	for _, ref := range m.GetPacks() {
		l.Packs = append(l.Packs, f.pack(ref, MaxPackContent))
	}
	for _, ref := range m.GetParts() {
		l.Parts = append(l.Parts, f.pack(ref, MaxList))
	}
	f.check(len(l.Parts) == 0 || len(m.GetChanges()) == 0, "changes beside parts")
	l.add(m.GetChanges(), f)
	return l
}

// AddPart appends the changes of a list's next part, whose stored bytes are given.
// It returns an error that wraps ErrDamaged or ErrNewer, and diff.ErrPath or
// diff.ErrEntry where a change is malformed.
func (c *Coder) AddPart(l *List, ref PackRef, stored []byte) error {
	if diff.Sum(stored) != ref.Hash {
		return fmt.Errorf("%w: list part %v does not have its hash", ErrDamaged, ref.Hash)
	}
	var m wirepb.Part
	e, err := c.unseal(stored, kindPart, MaxList, &m)
	if err != nil {
		return fmt.Errorf("list part %v: %w", ref.Hash, err)
	}
	f := fields{of: kindPart}
	f.check(e.size == uint64(ref.Size), "%d bytes where %d belong", e.size, ref.Size)
	l.add(m.Changes, &f)
	return f.err
}

func (l *List) add(changes []*wirepb.Change, f *fields) {
	l.Changes = slices.Grow(l.Changes, len(changes))
	for _, m := range changes {
		if f.err != nil {
			return
		}
		ch := Change{Path: string(m.Path)}
		f.fail(diff.CheckPath(ch.Path))
		if n := len(l.Changes); n > 0 && diff.ComparePaths(l.Changes[n-1].Path, ch.Path) >= 0 {
			f.fault("paths out of order at %q", ch.Path)
		}
		ch.New = l.entry(m, f)
		ch.Content = l.content(m, f)
		if err := ch.fits(l.whole); err != nil {
			f.fault("%v", err)
		}
		l.Changes = append(l.Changes, ch)
	}
}

func (l *List) entry(m *wirepb.Change, f *fields) diff.Entry {
	if m.Kind == uint32(diff.None) {
		if m.Mode != 0 || m.Size != 0 || len(m.Hash) != 0 || m.Content != nil {
			f.fault("a deletion of %q that holds something", m.Path)
		}
		return diff.Entry{}
	}
	if m.Kind > 255 {
		f.fault("unknown kind %d of %q", m.Kind, m.Path)
	}
	if m.Size > MaxFileSize {
		f.fault("%q of %d bytes, at most %d are allowed", m.Path, m.Size, MaxFileSize)
	}
	e := diff.Entry{Kind: diff.Kind(m.Kind), Mode: m.Mode, Size: int64(m.Size)}
	if e.HasContent() {
		e.Hash = f.hash("content hash", m.Hash)
	} else {
		if len(m.Hash) != 0 {
			f.fault("a hash for the directory %q", m.Path)
		}
	}
	if err := e.Check(); err != nil {
		f.fail(fmt.Errorf("%q: %w", m.Path, err))
	}
	return e
}

func (l *List) content(m *wirepb.Change, f *fields) Content {
	w := m.Content
	if w == nil {
		return Content{} // it came before; see fits
	}
	if m.Size == 0 {
		f.fault("content for %q of 0 bytes", m.Path)
	}
	c, size := Content{}, m.Size
	if w.Patch != nil {
		c.Patch = patchFromWire(w.Patch, f)
		size = uint64(c.Patch.Size)
		if len(w.Whole) != 0 {
			f.fault("content of %q both whole and as a patch", m.Path)
		}
	}
	switch {
	case len(w.Packs) > 0:
		l.inPacks(&c, w, m.Path, size, f)
	case c.Patch != nil:
		if w.Offset != 0 || len(c.Patch.Frame) == 0 {
			f.fault("a patch for %q without a frame", m.Path)
		}
	default:
		if uint64(len(w.Whole)) != size || w.Offset != 0 {
			f.fault("%d bytes of content for %q of %d bytes", len(w.Whole), m.Path, size)
		}
		c.Whole = w.Whole
	}
	return c
}

// inPacks reads where in packs the size bytes lie that c tells of.
func (l *List) inPacks(c *Content, w *wirepb.Content, path []byte, size uint64, f *fields) {
	if len(w.Whole) != 0 || len(w.GetPatch().GetFrame()) != 0 {
		f.fault("content of %q both here and in packs", path)
	}
	c.Offset, c.Packs = int64(w.Offset), l.run(w.Packs, path, f)
	if len(c.Packs) == 0 {
		return
	}
	var held uint64
	for _, ref := range c.Packs {
		held += uint64(ref.Size)
	}
	first, last := uint64(c.Packs[0].Size), uint64(c.Packs[len(c.Packs)-1].Size)
	if w.Offset >= first || size > held-w.Offset {
		f.fault("content of %q beyond its packs", path)
	}
	if w.Offset+size <= held-last {
		f.fault("content of %q in fewer packs than it names", path)
	}
}

// run returns the packs at the given places. Neighbours in the table share its
// memory: nearly every content of a large list lies in one pack or in a run of them.
func (l *List) run(places []uint32, path []byte, f *fields) []PackRef {
	first, adjacent := int(places[0]), true
	for i, p := range places {
		if int(p) >= len(l.Packs) {
			f.fault("content of %q in the pack %d of %d", path, p, len(l.Packs))
			return nil
		}
		adjacent = adjacent && int(p) == first+i
	}
	if adjacent {
		return l.Packs[first : first+len(places) : first+len(places)]
	}
	refs := make([]PackRef, len(places))
	for i, p := range places {
		refs[i] = l.Packs[p]
	}
	return refs
}

// Diff returns the changes as diff.Tree.With takes them.
func (l *List) Diff() []diff.Change {
	changes := make([]diff.Change, len(l.Changes))
	for i, ch := range l.Changes {
		changes[i] = diff.Change{Path: ch.Path, New: ch.New}
	}
	return changes
}
