package codec

import (
	"github.com/confsyncd/confsyncd/internal/codec/wirepb"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// Keyframe is the whole tree at one generation, with all contents in packs, so that
// a host can begin there. It is stored as a pack.
type Keyframe struct {
	Position diff.Position
	Digest   diff.Hash
	List     List // every entry, as a change from the empty tree
}

// EncodeKeyframe hands the keyframe's packs to stage, the parts of its list first,
// and returns the reference to it.
func (c *Coder) EncodeKeyframe(k *Keyframe, stage func(Pack) error) (KeyframeRef, error) {
	list, err := c.encodeList(k.List.Changes, true, stage)
	if err != nil {
		return KeyframeRef{}, err
	}
	data, err := c.seal(kindKeyframe, &wirepb.Keyframe{
		Tenant:     k.Position.Tenant[:],
		Generation: k.Position.Generation,
		Commit:     k.Position.Commit[:],
		Digest:     k.Digest[:],
		List:       list,
	})
	if err != nil {
		return KeyframeRef{}, err
	}
	e, err := open(data, kindKeyframe, MaxList)
	if err != nil {
		return KeyframeRef{}, err
	}
	ref := PackRef{Hash: diff.Sum(data), Size: int64(e.size)}
	if err := stage(Pack{Ref: ref, Data: data}); err != nil {
		return KeyframeRef{}, err
	}
	return KeyframeRef{Generation: k.Position.Generation, Pack: ref}, nil
}

// DecodeKeyframe reads the keyframe that ref names; its list's parts are still to be
// added. It returns an error that wraps ErrDamaged or ErrNewer, and diff.ErrPath or
// diff.ErrEntry where an entry is malformed.
func (c *Coder) DecodeKeyframe(ref KeyframeRef, b []byte) (*Keyframe, error) {
	f := fields{of: kindKeyframe}
	f.check(diff.Sum(b) == ref.Pack.Hash, "another hash than its name")
	if f.err != nil {
		return nil, f.err
	}
	var m wirepb.Keyframe
	if _, err := c.unseal(b, kindKeyframe, MaxList, &m); err != nil {
		return nil, err
	}
	k := &Keyframe{
		Position: diff.Position{Tenant: f.tenant(m.Tenant), Generation: m.Generation, Commit: f.hash("commit id", m.Commit)},
		Digest:   f.hash("digest", m.Digest),
		List:     decodeList(m.List, true, &f),
	}
	f.check(k.Position.Generation == ref.Generation, "generation %d where %d belongs", k.Position.Generation, ref.Generation)
	if f.err != nil {
		return nil, f.err
	}
	return k, nil
}
