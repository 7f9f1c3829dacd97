//go:build faults

package faults

import (
	"encoding/binary"
	"slices"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// envelope puts a body into the frame that every value has (internal/codec/envelope.go).
func envelope(kind, stored byte, size uint64, body []byte) []byte {
	b := append([]byte("CSYD"), codec.Format, kind, stored, 0)
	b = binary.AppendUvarint(b, size)
	return append(b, body...)
}

// opened takes an envelope apart.
func opened(b []byte) (kind, stored byte, size uint64, body []byte) {
	kind, stored, b = b[5], b[6], b[8:] // There are no signatures.
	size, n := binary.Uvarint(b)
	return kind, stored, size, b[n:]
}

// inflating is a zstd frame of so many blocks of 128 KiB each, 4 bytes long, that ask for
// a window of 2 to the power of window bytes (RFC 8878, 3.1.1: a frame without its size,
// of RLE blocks).
func inflating(blocks int, window byte) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, (window - 10) << 3}
	for i := range blocks {
		header := uint32(128<<10)<<3 | 1<<1
		if i == blocks-1 {
			header |= 1
		}
		b = append(b, byte(header), byte(header>>8), byte(header>>16), 0)
	}
	return b
}

// packOf names stored bytes, whatever they are.
func packOf(stored []byte, size int64) codec.Pack {
	return codec.Pack{Ref: codec.PackRef{Hash: diff.Sum(stored), Size: size}, Data: stored}
}

// inParts is a stored record whose list lies in one part (internal/codec/wirepb/wire.proto).
func inParts(r *codec.Record, part codec.PackRef) []byte {
	field := func(number int, value []byte) []byte {
		b := binary.AppendUvarint(nil, uint64(number<<3|2))
		return append(binary.AppendUvarint(b, uint64(len(value))), value...)
	}
	number := func(number int, value uint64) []byte {
		return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(number<<3)), value)
	}
	ref := slices.Concat(field(1, part.Hash[:]), number(2, uint64(part.Size)))
	m := slices.Concat(field(1, r.Tenant[:]), number(2, r.Generation), field(3, r.Parent[:]), field(7, []byte(r.Publisher)),
		field(8, []byte(r.Instance)), field(9, r.Digest[:]), field(11, field(2, ref)))
	return envelope('R', 0, uint64(len(m)), m)
}
