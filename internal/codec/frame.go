package codec

import "github.com/klauspost/compress/zstd"

// extent looks at the block headers of a zstd frame (RFC 8878, 3.1.1.2), of which h is
// the header. It returns the most bytes that they can make, and whether they are one whole
// frame: the decoder would go on with another one behind it, which is for itself.
func extent(h zstd.Header, frame []byte) (most uint64, whole bool) {
	const blockHeader, raw, runLength = 3, 0, 1
	rest := frame[h.HeaderSize:]
	for last := false; !last; {
		if len(rest) < blockHeader {
			return 0, false
		}
		head := uint32(rest[0]) | uint32(rest[1])<<8 | uint32(rest[2])<<16
		last = head&1 != 0
		size := uint64(head >> 3)
		stored, made := size, size
		switch head >> 1 & 3 {
		case raw:
		case runLength:
			stored = 1 // the byte that is repeated
		default:
			made = block
		}
		if uint64(len(rest)) < blockHeader+stored {
			return 0, false
		}
		rest = rest[blockHeader+stored:]
		most += made
	}
	checksum := 0
	if h.HasCheckSum {
		checksum = 4
	}
	return most, len(rest) == checksum
}
