package codec

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// Limits of packs, in bytes.
const (
	// MaxPack bounds a pack's stored bytes. Two of them fit into one Txn.
	MaxPack = 512 << 10
	// MaxPackContent bounds what a pack holds when decompressed, and so what a
	// reader must set aside for one.
	MaxPackContent = 8 << 20
)

// block is the most that the zstd encoder gathers before it writes something.
const block = 128 << 10

// piece is how much goes to the encoder at a time.
const piece = 32 << 10

// Pack is one value under pub/packs.
type Pack struct {
	Ref  PackRef
	Data []byte // as stored
}

// PackRef names a pack.
type PackRef struct {
	Hash diff.Hash // SHA-256 of the stored bytes
	Size int64     // of what it holds, decompressed, in bytes
}

// Packer lays contents one after another into packs: many small ones share a pack
// and are compressed together, a large one spans several. It is for one goroutine.
type Packer struct {
	emit func(Pack) error
	enc  *zstd.Encoder
	out  bytes.Buffer
	size int64 // bytes in the pack at hand, decompressed
	refs []PackRef
}

// Spot is a content's place among the packs of one Packer.
type Spot struct {
	first, last int
	offset      int64
}

// NewPacker returns a Packer that hands each full pack to emit, which may keep it.
func NewPacker(emit func(Pack) error) *Packer {
	p := &Packer{emit: emit}
	// One goroutine: what Write takes is compressed when it returns, but for one block.
	enc, err := zstd.NewWriter(&p.out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(maxWindow), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are constants
	}
	p.enc = enc
	return p
}

// Add lays content into the packs. Contents should come in the order of their
// paths, since what lies together compresses together. An empty content lies in no
// pack.
func (p *Packer) Add(content []byte) (Spot, error) {
	if len(content) == 0 {
		return Spot{last: -1}, nil
	}
	if p.full(min(len(content), piece)) {
		if err := p.cut(); err != nil {
			return Spot{}, err
		}
	}
	s := Spot{first: len(p.refs), offset: p.size}
	for len(content) > 0 {
		n := min(len(content), piece)
		if p.full(n) {
			if err := p.cut(); err != nil {
				return Spot{}, err
			}
		}
		if _, err := p.enc.Write(content[:n]); err != nil {
			return Spot{}, fmt.Errorf("compress pack: %w", err)
		}
		p.size += int64(n)
		content = content[n:]
	}
	s.last = len(p.refs)
	return s, nil
}

// full reports whether n more bytes could take the pack at hand over a limit, even
// if neither they nor what the encoder has gathered can be compressed.
func (p *Packer) full(n int) bool {
	const overhead = 64 // envelope, frame header, block headers, checksum
	gathered := int(p.size % block)
	return p.out.Len()+gathered+n+overhead > MaxPack || p.size+int64(n) > MaxPackContent
}

// cut ends the pack at hand and begins another.
func (p *Packer) cut() error {
	if p.size == 0 {
		return nil
	}
	if err := p.enc.Close(); err != nil {
		return fmt.Errorf("compress pack: %w", err)
	}
	data := envelope{kind: kindPack, stored: storedZstd, size: uint64(p.size), body: p.out.Bytes()}.append(nil)
	pack := Pack{Ref: PackRef{Hash: diff.Sum(data), Size: p.size}, Data: data}
	p.refs = append(p.refs, pack.Ref)
	p.size = 0
	p.out.Reset()
	p.enc.Reset(&p.out)
	return p.emit(pack)
}

// Close emits the last pack. Nothing may be added afterwards.
func (p *Packer) Close() error { return p.cut() }

// Content returns where the content at s lies. It may be called after Close only.
func (p *Packer) Content(s Spot) Content {
	return Content{Packs: p.refs[s.first : s.last+1], Offset: s.offset}
}

// DecodePack checks stored bytes against ref, then decompresses them. It returns an
// error that wraps ErrDamaged or ErrNewer.
func (c *Coder) DecodePack(ref PackRef, stored []byte) ([]byte, error) {
	if diff.Sum(stored) != ref.Hash {
		return nil, fmt.Errorf("%w: pack %v does not have its hash", ErrDamaged, ref.Hash)
	}
	e, err := open(stored, kindPack, MaxPackContent)
	if err != nil {
		return nil, fmt.Errorf("pack %v: %w", ref.Hash, err)
	}
	if e.size != uint64(ref.Size) {
		return nil, fmt.Errorf("%w: pack %v holds %d bytes where %d belong", ErrDamaged, ref.Hash, e.size, ref.Size)
	}
	return c.plain(e)
}
