package codec

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// settings returns size bytes of what configuration files look like.
func settings(r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	for b.Len() < size {
		fmt.Fprintf(&b, "upstream_%d = 10.%d.%d.%d:%d # weight %d, checked every %ds\n",
			r.IntN(500), r.IntN(4), r.IntN(256), r.IntN(256), 1024+r.IntN(60000), r.IntN(100), r.IntN(60))
	}
	return b.Bytes()[:size]
}

// edited returns content with one line more in its midst.
func edited(content []byte, line string) []byte {
	at := len(content)/2 + bytes.IndexByte(content[len(content)/2:], '\n') + 1
	return slices.Concat(content[:at], []byte(line+"\n"), content[at:])
}

func TestPatchOfOneEditedLine(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int
		most int // bytes of the frame
	}{
		{"2 KB", 2 << 10, 80},
		{"10 KB", 10 << 10, 80},
		{"60 KB", 60 << 10, 200},
		{"100 KB", 100 << 10, 200},
		{"1 MB", 1 << 20, 400},
		{"8 MB", 8 << 20, 4 << 10},
		{"the greatest size", MaxFileSize - 100, 1 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := settings(rand.New(rand.NewPCG(1, 1)), tt.size)
			result := edited(base, "keepalive = 75s")
			frame, ok := NewCoder().EncodePatch(base, result)
			if !ok || len(frame) > tt.most {
				t.Errorf("a frame of %d bytes, taken %v; want %d bytes at most", len(frame), ok, tt.most)
			}
			t.Logf("%d bytes", len(frame))
			got, err := DecodePatch(base, frame, int64(len(result)))
			if err != nil || !bytes.Equal(got, result) {
				t.Errorf("it makes something else: %v", err)
			}
		})
	}
}

func TestPatchIsNotTaken(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	text := settings(r, 10_000)
	for name, tt := range map[string]struct{ base, result []byte }{
		"of an empty base":                        {nil, text},
		"for an empty result":                     {text, nil},
		"for a result as short as a hash":         {text, text[:30]},
		"for a rewritten file":                    {noise(r, 10_000, 1), noise(r, 10_000, 1)},
		"for what compresses as well by itself":   {text, make([]byte, 100)},
		"of a base over the limit":                {make([]byte, MaxFileSize+1), text},
		"for text of which a large base has none": {noise(r, 1<<20, 1), text},
	} {
		t.Run(name, func(t *testing.T) {
			if frame, ok := NewCoder().EncodePatch(tt.base, tt.result); ok {
				t.Errorf("a patch of %d bytes", len(frame))
			}
		})
	}
}

func TestPatchesOfRandomEdits(t *testing.T) {
	c := NewCoder()
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		base := settings(r, 1+r.IntN(1<<(1+r.IntN(19))))
		result := base
		for range 1 + r.IntN(20) {
			at := r.IntN(len(result) + 1)
			end := min(len(result), at+r.IntN(200))
			result = slices.Concat(result[:at], noise(r, r.IntN(200), r.Float64()), result[end:])
		}
		frame, ok := c.EncodePatch(base, result)
		if !ok {
			continue
		}
		if got, err := DecodePatch(base, frame, int64(len(result))); err != nil || !bytes.Equal(got, result) {
			t.Fatalf("seed %d: it makes something else: %v", seed, err)
		}
	}
}

// patch returns a base, and the frame that makes a result of it.
func patch(t testing.TB, size int) (base, result, frame []byte) {
	t.Helper()
	base = settings(rand.New(rand.NewPCG(1, 1)), size)
	result = edited(base, "keepalive = 75s")
	frame, ok := NewCoder().EncodePatch(base, result)
	if !ok {
		t.Fatal("no patch")
	}
	return base, result, frame
}

func TestPatchThatIsRefused(t *testing.T) {
	base, result, good := patch(t, 5000)
	size := int64(len(result))
	for _, tt := range []struct {
		name  string
		base  []byte
		frame []byte
		size  int64
	}{
		{"declares one more", base, good, size + 1},
		{"declares one less", base, good, size - 1},
		{"declares nothing", base, good, 0},
		{"declares less than nothing", base, good, -1},
		{"declares too much", base, claim(MaxFileSize + 1), MaxFileSize + 1},
		{"declares all there is", base, claim(math.MaxUint64), math.MaxInt64},
		{"has no base", nil, good, size},
		{"has another base that is shorter", base[:100], good, size},
		{"is no frame", base, result, size},
		{"is empty", base, nil, size},
		{"begins with a frame to be skipped", base, slices.Concat([]byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0}, good), size},
		{"has something behind it", base, slices.Concat(good, []byte{1, 2, 3}), size},
		{"comes twice", base, slices.Concat(good, good), size},
		{"does not tell its size", base, streamed(17, 1), size},
		{"promises a size and makes nothing", base, claim(uint64(size)), size},
		{"has a huge window", base, streamed(31, 1), size},
		{"needs another dictionary", base, frame(t, result, zstd.WithEncoderDictRaw(7, base)), size},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := DecodePatch(tt.base, tt.frame, tt.size); !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("cut anywhere", func(t *testing.T) {
		for n := range good {
			if _, err := DecodePatch(base, good[:n], size); !errors.Is(err, ErrDamaged) {
				t.Errorf("the first %d of %d bytes: %v", n, len(good), err)
			}
		}
	})
	t.Run("one bit flipped", func(t *testing.T) {
		for i := range good {
			for bit := range 8 {
				flipped := bytes.Clone(good)
				flipped[i] ^= 1 << bit
				// It may well make something: the content's hash tells.
				if _, err := DecodePatch(base, flipped, size); err != nil && !errors.Is(err, ErrDamaged) {
					t.Errorf("bit %d of byte %d: %v", bit, i, err)
				}
			}
		}
	})
}

func TestLyingPatchAllocatesLittle(t *testing.T) {
	const room = 2 << 20
	base := settings(rand.New(rand.NewPCG(1, 1)), 1<<20)
	bomb := func(size int) []byte { // makes more than it declares, block after block
		b := streamed(23, 2000)
		return slices.Concat(claim(uint64(size))[:13], b[6:])
	}
	for _, tt := range []struct {
		name  string
		frame []byte
		size  int64
		most  uint64
	}{
		{"a size that is not the frame's", claim(1 << 40), 1000, 16 << 10},
		{"a window of 2 GiB", streamed(31, 1), 1000, 16 << 10},
		{"the greatest size and nothing in it", claim(MaxFileSize), MaxFileSize, MaxFileSize + room},
		{"a bomb that declares little", bomb(1000), 1000, room},
		{"a bomb that declares 8 MB", bomb(8 << 20), 8 << 20, 8<<20 + room},
		{"a bomb behind a frame that is right", slices.Concat(frame(t, make([]byte, 32<<20)), streamed(23, 2000)), 32 << 20, 32<<20 + room},
		{"a bomb that declares the most", bomb(MaxFileSize), MaxFileSize, MaxFileSize + room},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			if n := allocated(func() { _, err = DecodePatch(base, tt.frame, tt.size) }); n > tt.most {
				t.Errorf("%d bytes allocated, want at most %d", n, tt.most)
			}
			if !errors.Is(err, ErrDamaged) {
				t.Error(err)
			}
		})
	}
}
