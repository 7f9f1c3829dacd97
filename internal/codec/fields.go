package codec

import (
	"fmt"

	"github.com/confsyncd/confsyncd/internal/codec/wirepb"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// fields checks decoded fields and remembers the first fault.
type fields struct {
	of  any // what it is that is decoded
	err error
}

func (f *fields) check(ok bool, format string, args ...any) {
	if !ok {
		f.fault(format, args...)
	}
}

// fault remembers what is wrong. Where there are thousands of fields it is called only then:
// to make arguments of strings sets memory aside.
func (f *fields) fault(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("%w: %v with %s", ErrDamaged, f.of, fmt.Sprintf(format, args...))
	}
}

// fail remembers err, which says by itself what is wrong.
func (f *fields) fail(err error) {
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("%v: %w", f.of, err)
	}
}

func (f *fields) hash(what string, b []byte) diff.Hash {
	var h diff.Hash
	if len(b) != len(h) {
		f.fault("a %s of %d bytes", what, len(b))
	}
	copy(h[:], b)
	return h
}

func (f *fields) tenant(b []byte) diff.TenantID {
	var id diff.TenantID
	f.check(len(b) == len(id), "a tenant id of %d bytes", len(b))
	copy(id[:], b)
	f.check(!id.IsZero(), "no tenant id")
	return id
}

func (f *fields) name(s string) string {
	f.check(len(s) <= MaxName, "a name of %d bytes", len(s))
	return s
}

func (f *fields) pack(m *wirepb.PackRef, limit uint64) PackRef {
	f.check(m.GetSize() > 0 && m.GetSize() <= limit, "a pack of %d bytes", m.GetSize())
	return PackRef{Hash: f.hash("pack's hash", m.GetHash()), Size: int64(m.GetSize())}
}

func (f *fields) keyframe(m *wirepb.KeyframeRef) KeyframeRef {
	if m == nil {
		return KeyframeRef{}
	}
	f.check(m.Generation > 0, "a keyframe without generation")
	return KeyframeRef{Generation: m.Generation, Pack: f.pack(m.Pack, MaxList)}
}

func keyframeToWire(r KeyframeRef) *wirepb.KeyframeRef {
	if r.IsZero() {
		return nil
	}
	return &wirepb.KeyframeRef{Generation: r.Generation, Pack: packToWire(r.Pack)}
}

func packToWire(r PackRef) *wirepb.PackRef {
	return &wirepb.PackRef{Hash: r.Hash[:], Size: uint64(r.Size)}
}
