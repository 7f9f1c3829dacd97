package codec

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec/wirepb"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// MaxMessage bounds a commit's message in bytes.
const MaxMessage = 4 << 10

// Record is one changeset: made once, never altered.
type Record struct {
	Tenant     diff.TenantID
	Generation uint64
	// Parent is the commit id of what it changes; zero if it is the first.
	Parent diff.Hash
	// Founding says that the list starts from the empty tree: the history begins
	// anew here, and whatever another tree had besides is gone.
	Founding            bool
	Time                time.Time
	Publisher, Instance string
	Message             string
	// Digest is the tree's after the changes.
	Digest diff.Hash
	// Keyframe is the newest keyframe at or below the generation, since the
	// founding; zero if there is none.
	Keyframe KeyframeRef
	List     List

	// Commit is the commit id. It is set by encoding and decoding.
	Commit diff.Hash
}

// Position returns what the record leads to.
func (r *Record) Position() diff.Position {
	return diff.Position{Tenant: r.Tenant, Generation: r.Generation, Commit: r.Commit}
}

// EncodeRecord returns the record's stored bytes and sets r.Commit. Where the list
// is too long for one value its parts are handed to stage first.
func (c *Coder) EncodeRecord(r *Record, stage func(Pack) error) ([]byte, error) {
	if len(r.Publisher) > MaxName || len(r.Instance) > MaxName {
		return nil, fmt.Errorf("encode record: the publisher's name or instance is over %d bytes", MaxName)
	}
	if len(r.Message) > MaxMessage {
		return nil, fmt.Errorf("encode record: the message has %d bytes, at most %d are allowed", len(r.Message), MaxMessage)
	}
	list, err := c.encodeList(r.List.Changes, r.Founding, stage)
	if err != nil {
		return nil, err
	}
	m := &wirepb.Record{
		Tenant:       r.Tenant[:],
		Generation:   r.Generation,
		Founding:     r.Founding,
		TimeUnixNano: r.Time.UnixNano(),
		Publisher:    r.Publisher,
		Instance:     r.Instance,
		Message:      r.Message,
		Digest:       r.Digest[:],
		Keyframe:     keyframeToWire(r.Keyframe),
		List:         list,
	}
	if !r.Parent.IsZero() {
		m.Parent = r.Parent[:]
	}
	data, err := c.seal(kindRecord, m)
	if err != nil {
		return nil, err
	}
	e, err := open(data, kindRecord, MaxList)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	r.Commit = commitID(e)
	return data, nil
}

// DecodeRecord reads what EncodeRecord wrote; the list's parts are still to be
// added. It returns an error that wraps ErrDamaged or ErrNewer, and diff.ErrPath or
// diff.ErrEntry where a change is malformed.
func (c *Coder) DecodeRecord(b []byte) (*Record, error) {
	var m wirepb.Record
	e, err := c.unseal(b, kindRecord, MaxList, &m)
	if err != nil {
		return nil, err
	}
	f := fields{of: kindRecord}
	r := &Record{
		Tenant:     f.tenant(m.Tenant),
		Generation: m.Generation,
		Founding:   m.Founding,
		Time:       time.Unix(0, m.TimeUnixNano).UTC(),
		Publisher:  f.name(m.Publisher),
		Instance:   f.name(m.Instance),
		Message:    m.Message,
		Digest:     f.hash("digest", m.Digest),
		Keyframe:   f.keyframe(m.Keyframe),
		List:       decodeList(m.List, m.Founding, &f),
		Commit:     commitID(e),
	}
	if len(m.Parent) > 0 {
		r.Parent = f.hash("parent", m.Parent)
	}
	f.check(r.Generation > 0, "generation 0")
	f.check(r.Keyframe.Generation <= r.Generation, "a keyframe beyond its generation")
	f.check(len(r.Message) <= MaxMessage, "a message of %d bytes", len(r.Message))
	f.check(r.Founding || !r.Parent.IsZero(), "neither parent nor founding")
	if f.err != nil {
		return nil, f.err
	}
	return r, nil
}

// commitID hashes the body as it is stored, so that it can be checked before
// anything is decompressed, and leaves out the signatures, which are made over it.
func commitID(e envelope) diff.Hash {
	h := sha256.New()
	h.Write([]byte("confsyncd commit 1\n"))
	h.Write(e.body)
	return diff.Hash(h.Sum(nil))
}
