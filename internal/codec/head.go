package codec

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/confsyncd/confsyncd/internal/codec/wirepb"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// maxHead bounds a head in bytes: every host receives it with every commit.
const maxHead = 4 << 10

// MaxName bounds the names of publishers and instances in bytes.
const MaxName = 255

// Head says what the newest commit of a tenant is.
type Head struct {
	Position diff.Position
	// Digest is the tree digest at Position.
	Digest diff.Hash
	// Founding is the newest generation at which the history began anew; its
	// record holds the whole tree. The first commit is one.
	Founding uint64
	// Keyframe is the newest keyframe; zero if there was none since the founding.
	Keyframe KeyframeRef
	// Publisher is the name under which the commit was made, and Instance tells
	// one directory on one machine from another of that name.
	Publisher, Instance string
	// Channels are in the order of their names; see On for a head without any.
	Channels []Channel
	// Ahead is the rollout that is under way, nil if there is none.
	Ahead *Ahead
	// Rollback is the generation whose tree a rollback brought back, for as long as what was
	// committed since is only edits on top of that; else 0. The directory that its publisher
	// has is another tree then.
	Rollback uint64
}

// KeyframeRef names a keyframe: the generation whose tree it holds, and the pack in
// which its list lies. The zero KeyframeRef names none.
type KeyframeRef struct {
	Generation uint64
	Pack       PackRef
}

// IsZero reports whether r names no keyframe.
func (r KeyframeRef) IsZero() bool { return r == KeyframeRef{} }

// EncodeHead returns the stored bytes of h. The same head always gives the same
// bytes, on which compare-and-swap relies.
func EncodeHead(h Head) ([]byte, error) {
	if len(h.Publisher) > MaxName || len(h.Instance) > MaxName {
		return nil, fmt.Errorf("encode head: the publisher's name or instance is over %d bytes", MaxName)
	}
	if err := checkChannels(h); err != nil {
		return nil, fmt.Errorf("encode head: %w", err)
	}
	plain, err := proto.MarshalOptions{Deterministic: true}.Marshal(&wirepb.Head{
		Tenant:     h.Position.Tenant[:],
		Generation: h.Position.Generation,
		Commit:     h.Position.Commit[:],
		Digest:     h.Digest[:],
		Founding:   h.Founding,
		Keyframe:   keyframeToWire(h.Keyframe),
		Publisher:  h.Publisher,
		Instance:   h.Instance,
		Channels:   channelsToWire(h.Channels),
		Ahead:      aheadToWire(h.Ahead),
		Rollback:   h.Rollback,
	})
	if err != nil {
		return nil, fmt.Errorf("encode head: %w", err)
	}
	if len(plain) > maxHead {
		return nil, fmt.Errorf("encode head: %d bytes are over %d: every host receives it with every commit", len(plain), maxHead)
	}
	return envelope{kind: kindHead, stored: storedPlain, size: uint64(len(plain)), body: plain}.append(nil), nil
}

// DecodeHead reads what EncodeHead wrote. It returns an error that wraps ErrDamaged
// or ErrNewer.
func DecodeHead(b []byte) (Head, error) {
	var h Head
	e, err := open(b, kindHead, maxHead)
	if err != nil {
		return h, err
	}
	if e.stored != storedPlain || uint64(len(e.body)) != e.size {
		return h, fmt.Errorf("%w: head is not of its declared size", ErrDamaged)
	}
	var m wirepb.Head
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(e.body, &m); err != nil {
		return h, fmt.Errorf("%w: head does not decode", ErrDamaged)
	}
	f := fields{of: kindHead}
	h.Position = diff.Position{Tenant: f.tenant(m.Tenant), Generation: m.Generation, Commit: f.hash("commit id", m.Commit)}
	h.Digest = f.hash("digest", m.Digest)
	h.Founding = m.Founding
	h.Keyframe = f.keyframe(m.Keyframe)
	h.Publisher, h.Instance = f.name(m.Publisher), f.name(m.Instance)
	h.Channels, h.Ahead = f.channels(m.Channels, m.Generation), f.ahead(m.Ahead, m.Generation)
	h.Rollback = m.Rollback
	f.check(m.Generation > 0, "generation 0")
	f.check(m.Rollback < m.Generation, "rollback to what was not there yet")
	f.check(m.Founding > 0 && m.Founding <= m.Generation, "founding beyond its generation")
	f.check(h.Keyframe.Generation <= m.Generation, "keyframe beyond its generation")
	return h, f.err
}
