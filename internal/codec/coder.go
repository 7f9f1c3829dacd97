package codec

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"
)

// maxWindow bounds what the zstd decoder may set aside for a frame, whatever the
// frame asks for.
const maxWindow = 8 << 20

// muchHeld is how many bytes the decompressor may hold on to while it has nothing to do.
const muchHeld = 16 << 10

// Coder encodes and decodes. It keeps the compressor's and decompressor's tables
// between calls, so one Coder should serve a whole process. Its methods may be
// called from several goroutines; they take turns.
type Coder struct {
	encoding sync.Mutex    // guards enc
	enc      *zstd.Encoder // made when first needed

	patching sync.Mutex    // guards quick
	quick    *zstd.Encoder // made when first needed

	decoding sync.Mutex    // guards dec
	dec      *zstd.Decoder // made when first needed
}

// NewCoder returns a Coder. It holds no resources that must be released.
func NewCoder() *Coder { return &Coder{} }

// encoder returns the compressor; c.encoding is held.
func (c *Coder) encoder() *zstd.Encoder {
	if c.enc == nil {
		// One goroutine: the encoder then works in the caller's and leaves none behind.
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(maxWindow), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(err) // the options are constants
		}
		c.enc = enc
	}
	return c.enc
}

// seal puts a message into an envelope, compressed where that makes it smaller.
func (c *Coder) seal(k kind, m proto.Message) ([]byte, error) {
	plain, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %v: %w", k, err)
	}
	c.encoding.Lock()
	frame := c.encoder().EncodeAll(plain, nil)
	c.encoding.Unlock()
	e := envelope{kind: k, stored: storedZstd, size: uint64(len(plain)), body: frame}
	if len(frame) >= len(plain) {
		e.stored, e.body = storedPlain, plain
	}
	return e.append(nil), nil
}

// unseal opens an envelope of kind k and decodes its message into m.
func (c *Coder) unseal(b []byte, k kind, limit uint64, m proto.Message) (envelope, error) {
	e, err := open(b, k, limit)
	if err != nil {
		return e, err
	}
	plain, err := c.plain(e)
	if err != nil {
		return e, err
	}
	if err := sparse(k, plain); err != nil {
		return e, err
	}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(plain, m); err != nil {
		return e, fmt.Errorf("%w: %v does not decode", ErrDamaged, k)
	}
	return e, nil
}

// plain returns the envelope's body decompressed. It allocates the declared size and a
// block, and nothing if the body is too short to make that much.
func (c *Coder) plain(e envelope) ([]byte, error) {
	switch e.stored {
	case storedPlain:
		if uint64(len(e.body)) != e.size {
			return nil, fmt.Errorf("%w: %v of %d bytes declares %d", ErrDamaged, e.kind, len(e.body), e.size)
		}
		return e.body, nil
	case storedZstd:
	default:
		return nil, fmt.Errorf("%w: %v is stored in the unknown way %d", ErrDamaged, e.kind, e.stored)
	}
	var h zstd.Header
	if err := h.Decode(e.body); err != nil {
		return nil, fmt.Errorf("%w: %v does not decompress: %w", ErrDamaged, e.kind, err)
	}
	most, whole := extent(h, e.body)
	if h.Skippable || !whole {
		return nil, fmt.Errorf("%w: %v is not one whole frame", ErrDamaged, e.kind)
	}
	if most < e.size || h.HasFCS && h.FrameContentSize != e.size {
		return nil, fmt.Errorf("%w: %v does not decompress to the %d bytes that it declares", ErrDamaged, e.kind, e.size)
	}
	c.decoding.Lock()
	defer c.decoding.Unlock()
	// A frame that makes more is found out after a block too many, for which there is
	// room, so that nothing is moved to where there is more.
	plain, err := c.decoder().DecodeAll(e.body, make([]byte, 0, e.size+min(e.size/8, block)))
	if len(e.body) > muchHeld {
		c.dec = nil // It would hold the body until the next one, which may take hours to come.
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v does not decompress: %w", ErrDamaged, e.kind, err)
	}
	if uint64(len(plain)) != e.size {
		return nil, fmt.Errorf("%w: %v does not decompress to the %d bytes that it declares", ErrDamaged, e.kind, e.size)
	}
	return plain, nil
}

// decoder returns the decompressor; c.decoding is held. It decompresses into the buffer
// that it is given: a stream's decoder would keep a window of its own.
func (c *Coder) decoder() *zstd.Decoder {
	if c.dec == nil {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic(err) // the options are constants
		}
		c.dec = dec
	}
	return c.dec
}
