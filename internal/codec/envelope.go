package codec

import (
	"encoding/binary"
	"fmt"
)

// kind tells what an envelope holds.
type kind byte

const (
	kindHead     kind = 'H'
	kindRecord   kind = 'R'
	kindKeyframe kind = 'K'
	kindPart     kind = 'L'
	kindPack     kind = 'P'
)

func (k kind) String() string {
	switch k {
	case kindHead:
		return "head"
	case kindRecord:
		return "record"
	case kindKeyframe:
		return "keyframe"
	case kindPart:
		return "list part"
	case kindPack:
		return "pack"
	}
	return fmt.Sprintf("kind %q", byte(k))
}

// Format is the newest format version that this package reads, and the one that it
// writes.
const Format = 1

const magic = "CSYD"

// The ways in which a body is stored.
const (
	storedPlain = 0
	storedZstd  = 1
)

// envelope is the frame around every value:
//
//	"CSYD"      4 bytes
//	format      1 byte
//	kind        1 byte
//	stored      1 byte: 0 plain, 1 zstd
//	signatures  uvarint length, then that many bytes; empty in format 1
//	size        uvarint: the body's length when decompressed
//	body        the rest
type envelope struct {
	kind       kind
	stored     byte
	signatures []byte
	size       uint64
	body       []byte
}

func (e envelope) append(b []byte) []byte {
	b = append(b, magic...)
	b = append(b, Format, byte(e.kind), e.stored)
	b = binary.AppendUvarint(b, uint64(len(e.signatures)))
	b = append(b, e.signatures...)
	b = binary.AppendUvarint(b, e.size)
	return append(b, e.body...)
}

// open reads an envelope of the wanted kind whose body may have up to limit bytes
// when decompressed. The result points into b.
func open(b []byte, want kind, limit uint64) (envelope, error) {
	var e envelope
	if len(b) < len(magic)+3 || string(b[:len(magic)]) != magic {
		return e, fmt.Errorf("%w: not a confsyncd %v", ErrDamaged, want)
	}
	b = b[len(magic):]
	if b[0] > Format {
		return e, fmt.Errorf("%w: the %v needs at least format %d, this confsyncd reads up to %d: upgrade it", ErrNewer, want, b[0], Format)
	}
	if b[0] == 0 {
		return e, fmt.Errorf("%w: %v of format 0", ErrDamaged, want)
	}
	e.kind, e.stored, b = kind(b[1]), b[2], b[3:]
	if e.kind != want {
		return e, fmt.Errorf("%w: a %v where a %v belongs", ErrDamaged, e.kind, want)
	}
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return e, fmt.Errorf("%w: %v cut in its signatures", ErrDamaged, want)
	}
	e.signatures, b = b[used:used+int(n)], b[used+int(n):]
	e.size, used = binary.Uvarint(b)
	if used <= 0 {
		return e, fmt.Errorf("%w: %v cut in its size", ErrDamaged, want)
	}
	if e.size > limit {
		return e, fmt.Errorf("%w: %v declares %d bytes, at most %d are allowed", ErrDamaged, want, e.size, limit)
	}
	e.body = b[used:]
	return e, nil
}
