package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// keptWhileRebuilding bounds in bytes what is kept of the contents, and of the packs,
// that were used last: files that were edited together have their frames side by side,
// and copies that were edited apart share their bases.
const keptWhileRebuilding = 16 << 20

// rebuild makes contents of patches, base by base from one that somebody holds or that
// lies whole in etcd. A content and its base are in memory at a time, and what is kept.
type rebuild struct {
	version *Version
	have    func(diff.Hash) []byte
	// made is called with each content that is made, those on the way included.
	made func(diff.Hash, []byte) error

	contents *recent[diff.Hash]
	packs    *recent[codec.PackRef]
}

func (v *Version) rebuild(have func(diff.Hash) []byte, made func(diff.Hash, []byte) error) *rebuild {
	if have == nil {
		have = func(diff.Hash) []byte { return nil }
	}
	return &rebuild{
		version: v, have: have, made: made,
		contents: newRecent[diff.Hash](keptWhileRebuilding), packs: newRecent[codec.PackRef](keptWhileRebuilding),
	}
}

// content returns the content of that hash, verified.
func (r *rebuild) content(ctx context.Context, hash diff.Hash) ([]byte, error) {
	chain, content, err := r.chain(ctx, hash)
	if err != nil {
		return nil, err
	}
	for _, next := range slices.Backward(chain) {
		p := r.version.places[next]
		frame, err := r.stored(ctx, p)
		if err != nil {
			return nil, err
		}
		if content, err = codec.DecodePatch(content, frame, p.size); err != nil {
			return nil, fmt.Errorf("content %v: %w", next, damaged(err))
		}
		if err := p.verify(next, content); err != nil {
			return nil, err
		}
		r.contents.put(next, content)
		if err := r.made(next, content); err != nil {
			return nil, err
		}
	}
	return content, nil
}

// chain returns the contents that are to be made of patches, that of the given hash
// first, and what the last of them is made of.
func (r *rebuild) chain(ctx context.Context, hash diff.Hash) (chain []diff.Hash, base []byte, err error) {
	v := r.version
	for at := hash; ; {
		if b, ok := r.held(at); ok {
			return chain, b, nil
		}
		p, ok := v.places[at]
		ok = ok && len(chain) <= len(v.places) // else they lead in a circle
		switch {
		case !ok && !v.complete:
			if err := v.locateAll(ctx); err != nil {
				return nil, nil, err
			}
			chain, at = nil, hash // a keyframe may have it whole
		case !ok:
			return nil, nil, fmt.Errorf("%w: no record tells where the content %v lies", ErrDamaged, at)
		case p.Patch != nil:
			chain, at = append(chain, at), p.Patch.Base
		default:
			b, err := r.stored(ctx, p)
			if err == nil {
				err = p.verify(at, b)
			}
			if err == nil {
				r.contents.put(at, b)
			}
			return chain, b, err
		}
	}
}

// held returns a content that need not be read.
func (r *rebuild) held(hash diff.Hash) ([]byte, bool) {
	if hash == diff.Sum(nil) {
		return nil, true
	}
	if b, ok := r.contents.get(hash); ok {
		return b, true
	}
	b := r.have(hash)
	if b == nil || diff.Sum(b) != hash {
		return nil, false
	}
	r.contents.put(hash, b)
	return b, true
}

// stored returns what lies at a place: a content, or the frame of a patch.
func (r *rebuild) stored(ctx context.Context, p place) ([]byte, error) {
	if len(p.Packs) == 0 {
		if p.Patch != nil {
			return p.Patch.Frame, nil
		}
		return p.Whole, nil
	}
	size, from := p.stored(), p.Offset
	var gathered []byte
	for _, ref := range p.Packs {
		plain, err := r.pack(ctx, ref)
		if err != nil {
			return nil, err
		}
		rest := plain[min(from, int64(len(plain))):]
		rest = rest[:min(int64(len(rest)), size-int64(len(gathered)))]
		gathered, from = append(gathered, rest...), 0
	}
	return gathered, nil
}

func (r *rebuild) pack(ctx context.Context, ref codec.PackRef) ([]byte, error) {
	if plain, ok := r.packs.get(ref); ok {
		return plain, nil
	}
	s := r.version.store
	data, err := s.getPack(ctx, ref, r.version.revision)
	if err != nil {
		return nil, err
	}
	plain, err := s.coder.DecodePack(ref, data)
	if err != nil {
		return nil, damaged(err)
	}
	r.packs.put(ref, plain)
	return plain, nil
}
