package codec

import (
	"fmt"
	"math/bits"

	"github.com/klauspost/compress/zstd"

	"github.com/confsyncd/confsyncd/internal/codec/wirepb"
	"github.com/confsyncd/confsyncd/internal/diff"
)

const (
	// quickPatch is up to how many bytes of base and result together a patch is made
	// with small tables, in 0.02 ms instead of 2. Beyond, they would lose the base.
	quickPatch = 128 << 10
	// patchOverhead is what a record holds of a patch besides the frame, in bytes.
	patchOverhead = 2 + 32
	// surely is how many times smaller than its result a patch must be to be taken
	// without a look at how far the result itself can be compressed.
	surely = 16
)

// Patch makes a file's content of another content, its base.
type Patch struct {
	Base  diff.Hash // SHA-256 of the base
	Frame []byte    // nil where it lies in packs
	Size  int64     // of the frame in bytes, wherever it lies
}

// EncodePatch returns the frame of which DecodePatch makes result again, given base. It
// returns false where no patch is possible, or none that is smaller than result is by
// itself when compressed. It takes memory of three to five times base and result
// together.
func (c *Coder) EncodePatch(base, result []byte) (frame []byte, ok bool) {
	if len(base) == 0 || len(base) > MaxFileSize || len(result) > MaxFileSize || len(result) <= patchOverhead {
		return nil, false
	}
	if len(base)+len(result) <= quickPatch {
		frame = c.quickly(base, result)
	} else {
		frame = newPatcher(zstd.SpeedBetterCompression, window(len(base)+len(result)), base).EncodeAll(result, nil)
	}
	size := len(frame) + patchOverhead
	return frame, size <= len(result)/surely || size < min(len(result), c.compressed(result))
}

// quickly is EncodePatch of what is small, by an encoder that is kept: to set its tables
// aside takes ten times as long as to use them.
func (c *Coder) quickly(base, result []byte) []byte {
	c.patching.Lock()
	defer c.patching.Unlock()
	if c.quick == nil {
		c.quick = newPatcher(zstd.SpeedFastest, quickPatch, base)
	} else if err := c.quick.ResetWithOptions(nil, zstd.WithEncoderDictRaw(0, base)); err != nil {
		panic(err) // a dictionary may be changed, and this one is short
	}
	return c.quick.EncodeAll(result, nil)
}

// newPatcher returns an encoder of patches of base.
func newPatcher(level zstd.EncoderLevel, window int, base []byte) *zstd.Encoder {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false),
		zstd.WithSingleSegment(true), // It makes short frames tell their size too.
		zstd.WithEncoderLevel(level), zstd.WithWindowSize(window), zstd.WithEncoderDictRaw(0, base))
	if err != nil {
		panic(err) // the options are within zstd's limits
	}
	return enc
}

// compressed returns the size of content when compressed by itself.
func (c *Coder) compressed(content []byte) int {
	c.encoding.Lock()
	defer c.encoding.Unlock()
	return len(c.encoder().EncodeAll(content, nil))
}

// window returns the least window in which size bytes lie.
func window(size int) int {
	return max(zstd.MinWindowSize, 1<<bits.Len(uint(size-1)))
}

// DecodePatch returns the content of size bytes that the frame makes of base, which may
// be empty. Whatever the frame says, it allocates no more than size and 2 MiB. What it
// returns is still to be checked against its hash. It returns an error that wraps
// ErrDamaged.
func DecodePatch(base, frame []byte, size int64) ([]byte, error) {
	if size < 0 || size > MaxFileSize {
		return nil, fmt.Errorf("%w: a patch that makes %d bytes, at most %d are allowed", ErrDamaged, size, MaxFileSize)
	}
	var h zstd.Header
	if err := h.Decode(frame); err != nil {
		return nil, fmt.Errorf("%w: patch does not decompress: %w", ErrDamaged, err)
	}
	if h.Skippable || !h.HasFCS || h.FrameContentSize != uint64(size) {
		return nil, fmt.Errorf("%w: a patch that does not declare the %d bytes that it is to make", ErrDamaged, size)
	}
	if _, whole := extent(h, frame); !whole {
		return nil, fmt.Errorf("%w: a patch that is not one whole frame", ErrDamaged)
	}
	limit := max(uint64(size), zstd.MinWindowSize)
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(limit), zstd.WithDecoderMaxMemory(limit), zstd.WithDecoderDictRaw(0, base))
	if err != nil {
		panic(err) // the options are within zstd's limits
	}
	// A frame that makes more is found out after a block too many, for which there is
	// room, so that a large result is never moved to where there is more.
	result, err := dec.DecodeAll(frame, make([]byte, 0, size+min(size/8, block)))
	if err != nil {
		return nil, fmt.Errorf("%w: patch does not decompress: %w", ErrDamaged, err)
	}
	if int64(len(result)) != size {
		return nil, fmt.Errorf("%w: a patch that makes %d bytes where %d belong", ErrDamaged, len(result), size)
	}
	return result, nil
}

// fits returns an error if p cannot be the content of ch.
func (p *Patch) fits(ch *Change) error {
	switch {
	case p.Base == ch.New.Hash:
		return fmt.Errorf("a patch for %q that applies to its own result", ch.Path)
	case p.Size <= 0 || p.Size >= ch.New.Size:
		return fmt.Errorf("a patch of %d bytes for %q of %d bytes", p.Size, ch.Path, ch.New.Size)
	case len(p.Frame) > 0 && p.Size != int64(len(p.Frame)):
		return fmt.Errorf("a patch of %d bytes for %q that has %d", p.Size, ch.Path, len(p.Frame))
	}
	return nil
}

// toWire encodes p, which may be nil.
func (p *Patch) toWire() *wirepb.Patch {
	switch {
	case p == nil:
		return nil
	case len(p.Frame) > 0:
		return &wirepb.Patch{Base: p.Base[:], Frame: p.Frame}
	}
	return &wirepb.Patch{Base: p.Base[:], Size: uint64(p.Size)}
}

func patchFromWire(m *wirepb.Patch, f *fields) *Patch {
	f.check(m.Size <= MaxFileSize, "a patch of %d bytes", m.Size)
	p := &Patch{Base: f.hash("patch's base", m.Base), Size: int64(m.Size)}
	if len(m.Frame) > 0 {
		f.check(m.Size == 0, "a patch that tells the size of its frame twice")
		p.Frame, p.Size = m.Frame, int64(len(m.Frame))
	}
	return p
}
