package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"
)

// maxWindow bounds what the zstd decoder may set aside for a frame, whatever the
// frame asks for.
const maxWindow = 8 << 20

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

// plain returns the envelope's body decompressed. It allocates the declared size
// and at most maxWindow besides.
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
	c.decoding.Lock()
	defer c.decoding.Unlock()
	if c.dec == nil {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecodeBuffersBelow(0))
		if err != nil {
			panic(err) // the options are constants
		}
		c.dec = dec
	}
	if err := c.dec.Reset(bytes.NewReader(e.body)); err != nil {
		return nil, fmt.Errorf("%w: %v does not decompress: %w", ErrDamaged, e.kind, err)
	}
	return readExactly(c.dec, e)
}

// readExactly reads the declared number of bytes, and makes sure that no more come.
// The buffer grows with what really arrives, so that a short body cannot make us
// allocate the size that it declares.
func readExactly(r io.Reader, e envelope) ([]byte, error) {
	var buf bytes.Buffer
	buf.Grow(int(min(e.size, 64*uint64(len(e.body))+1024)) + bytes.MinRead)
	n, err := buf.ReadFrom(io.LimitReader(r, int64(e.size)+1))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %v does not decompress: %w", ErrDamaged, e.kind, err)
	}
	if uint64(n) != e.size {
		return nil, fmt.Errorf("%w: %v does not decompress to the %d bytes that it declares", ErrDamaged, e.kind, e.size)
	}
	return buf.Bytes(), nil
}
