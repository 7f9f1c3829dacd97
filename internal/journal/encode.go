package journal

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// The file: header, a frame of kind state, then frames of the other kinds.
//
//	header = magic (6 bytes) version (2 bytes)
//	frame  = CRC-32C over all that follows (4 bytes) length of payload (4 bytes) kind (1 byte) payload
//
// Fixed-size numbers are big-endian, all others varints as in encoding/binary.
const (
	magic       = "CSYNCJ"
	version     = 1
	headerSize  = len(magic) + 2
	frameHeader = 9
)

// The kinds of frames.
const (
	kindState   byte = 1 // a snapshot
	kindNext    byte = 2
	kindAt      byte = 3
	kindAdvance byte = 4
)

// The flags of a state and, but for the first, of a pending alone.
const (
	wholeFlag byte = 1 // State.All equals Managed and is not stored
	backFlag  byte = 2 // Pending.Back
	pruneFlag byte = 4 // Pending.Prune comes last
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// encodeFile returns a file that holds s and, unless it is nil, p.
func encodeFile(s State, p *Pending) []byte {
	b := binary.BigEndian.AppendUint16([]byte(magic), version)
	b = append(b, frame(kindState, encodeState(s))...)
	if p != nil {
		b = append(b, frame(kindNext, encodePending(p))...)
	}
	return b
}

func frame(kind byte, payload []byte) []byte {
	b := make([]byte, 4, frameHeader+len(payload))
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = append(b, kind)
	b = append(b, payload...)
	binary.BigEndian.PutUint32(b, checksum(b[4:]))
	return b
}

func encodeState(s State) []byte {
	b := appendMeta(nil, s.Meta)
	b = appendPosition(b, s.Position)
	whole := s.All.Digest() == s.Managed.Digest()
	b = append(b, flag(whole, wholeFlag))
	b = appendTree(b, s.Managed)
	if !whole {
		b = appendTree(b, s.All)
	}
	b = appendPaths(b, s.Left)
	return appendPaths(b, s.Suspect)
}

func encodePending(p *Pending) []byte {
	b := appendMeta(nil, p.Meta)
	b = appendPosition(b, p.Position)
	prune := len(p.Prune) > 0
	b = append(b, flag(p.whole, wholeFlag)|flag(p.Back, backFlag)|flag(prune, pruneFlag))
	b = appendChanges(b, p.Changes)
	if !p.whole {
		b = appendChanges(b, p.AllChanges)
	}
	b = appendPaths(b, p.Leave)
	if prune {
		b = appendPaths(b, p.Prune)
	}
	return b
}

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

func appendMeta(b []byte, m Meta) []byte {
	for _, s := range []string{m.Tenant, m.Prefix, m.Selection, m.Instance} {
		b = appendString(b, s)
	}
	b = binary.AppendVarint(b, m.UID)
	return binary.AppendVarint(b, m.GID)
}

func appendPosition(b []byte, p diff.Position) []byte {
	b = append(b, p.Tenant[:]...)
	b = binary.AppendUvarint(b, p.Generation)
	return append(b, p.Commit[:]...)
}

func appendTree(b []byte, t diff.Tree) []byte {
	b = binary.AppendUvarint(b, uint64(t.Len()))
	for path, e := range t.All() {
		b = appendEntry(appendString(b, path), e)
	}
	return b
}

func appendChanges(b []byte, changes []diff.Change) []byte {
	b = binary.AppendUvarint(b, uint64(len(changes)))
	for _, c := range changes {
		b = appendString(b, c.Path)
		b = appendEntry(b, c.Old)
		b = appendEntry(b, c.New)
	}
	return b
}

func appendEntry(b []byte, e diff.Entry) []byte {
	b = append(b, byte(e.Kind))
	if e.Kind == diff.None {
		return b
	}
	b = binary.AppendUvarint(b, uint64(e.Mode))
	if !e.HasContent() {
		return b
	}
	b = binary.AppendUvarint(b, uint64(e.Size))
	return append(b, e.Hash[:]...)
}

func appendPaths(b []byte, paths []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(paths)))
	for _, p := range paths {
		b = appendString(b, p)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}
