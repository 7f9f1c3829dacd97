package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/confsyncd/confsyncd/internal/codec/wirepb"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// decoded is what comes of a value: the parts of it that are for readers.
type decoded struct {
	fields  any
	changes []Change
}

// refTo names b as etcd would, with whatever size it declares.
func refTo(k kind, b []byte) PackRef {
	e, _ := open(b, k, math.MaxInt64)
	return PackRef{Hash: diff.Sum(b), Size: int64(e.size)}
}

// partPacks is the table that the contents of a part that is decoded lie in.
func partPacks() []PackRef { return goldenPacks() }

// decode decodes b as a value of kind k. Its name always fits it, so that only the
// value itself is judged.
func decode(c *Coder, k kind, b []byte) (decoded, error) {
	switch k {
	case kindHead:
		h, err := DecodeHead(b)
		return decoded{fields: h}, err
	case kindRecord:
		r, err := c.DecodeRecord(b)
		if err != nil {
			return decoded{}, err
		}
		d := decoded{changes: r.List.Changes}
		r.List.Changes, r.List.Packs = nil, nil
		d.fields = r
		return d, nil
	case kindKeyframe:
		k, err := c.DecodeKeyframe(KeyframeRef{Generation: 42, Pack: refTo(kindKeyframe, b)}, b)
		if err != nil {
			return decoded{}, err
		}
		d := decoded{changes: k.List.Changes}
		k.List.Changes, k.List.Packs = nil, nil
		d.fields = k
		return d, nil
	case kindPart:
		l := List{Packs: partPacks()}
		err := c.AddPart(&l, refTo(kindPart, b), b)
		return decoded{changes: l.Changes}, err
	case kindPack:
		plain, err := c.DecodePack(refTo(kindPack, b), b)
		return decoded{fields: string(plain)}, err
	}
	panic("unknown kind")
}

// samples are small values of every kind.
func samples(t testing.TB) map[kind][]byte {
	t.Helper()
	head, err := EncodeHead(goldenHead())
	if err != nil {
		t.Fatal(err)
	}
	part, err := NewCoder().seal(kindPart, &wirepb.Part{Changes: wireChanges(t, goldenRecordSmall().List.Changes)})
	if err != nil {
		t.Fatal(err)
	}
	return map[kind][]byte{
		kindHead:     head,
		kindRecord:   encodeRecord(t, goldenRecordSmall()),
		kindKeyframe: encodeKeyframe(t, goldenKeyframe()),
		kindPart:     part,
		kindPack:     encodePack(t, goldenContents()...),
	}
}

func wireChanges(t testing.TB, changes []Change) []*wirepb.Change {
	t.Helper()
	list, err := NewCoder().encodeList(changes, false, func(Pack) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return list.Changes
}

// eachSample runs a test for every kind of value.
func eachSample(t *testing.T, test func(t *testing.T, k kind, b []byte)) {
	for k, b := range samples(t) {
		t.Run(k.String(), func(t *testing.T) {
			if _, err := decode(NewCoder(), k, b); err != nil {
				t.Fatalf("the unaltered value: %v", err)
			}
			test(t, k, b)
		})
	}
}

// known reports whether err is one that callers branch on.
func known(err error) bool {
	return errors.Is(err, ErrDamaged) || errors.Is(err, ErrNewer) || errors.Is(err, diff.ErrPath) || errors.Is(err, diff.ErrEntry)
}

func TestValueCutAnywhereIsRefused(t *testing.T) {
	eachSample(t, func(t *testing.T, k kind, b []byte) {
		c := NewCoder()
		for n := range b {
			if _, err := decode(c, k, b[:n]); !errors.Is(err, ErrDamaged) {
				t.Errorf("the first %d of %d bytes: %v", n, len(b), err)
			}
		}
	})
}

func TestValueWithOneBitFlipped(t *testing.T) {
	eachSample(t, func(t *testing.T, k kind, b []byte) {
		c := NewCoder()
		for i := range b {
			for bit := range 8 {
				flipped := bytes.Clone(b)
				flipped[i] ^= 1 << bit
				if _, err := decode(c, k, flipped); err != nil && !known(err) {
					t.Errorf("bit %d of byte %d: %v", bit, i, err)
				}
			}
		}
		if _, err := decode(c, k, b); err != nil {
			t.Errorf("the unaltered value, after all those: %v", err)
		}
	})
}

func TestCompressedValueWithOneBitFlippedIsRefused(t *testing.T) {
	// The frame's checksum finds what its structure does not.
	b := samples(t)[kindRecord]
	e, _ := body(t, b)
	if e.stored != storedZstd {
		t.Fatal("the sample is not compressed")
	}
	begin := len(b) - len(e.body)
	for i := begin; i < len(b); i++ {
		for bit := range 8 {
			flipped := bytes.Clone(b)
			flipped[i] ^= 1 << bit
			// Bytes 4 and 5 have an unused bit, and the window's size.
			if _, err := decode(NewCoder(), kindRecord, flipped); err == nil && i-begin != 4 && i-begin != 5 {
				t.Errorf("bit %d of byte %d of the frame goes unnoticed", bit, i-begin)
			}
		}
	}
}

func TestNewerFormatIsNamed(t *testing.T) {
	eachSample(t, func(t *testing.T, k kind, b []byte) {
		for _, format := range []byte{2, 3, 255} {
			newer := bytes.Clone(b)
			newer[4] = format
			_, err := decode(NewCoder(), k, newer)
			if !errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) {
				t.Fatalf("format %d: %v", format, err)
			}
			for _, part := range []string{fmt.Sprintf("format %d,", format), "up to 1", "upgrade", k.String()} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			// Whatever a later version puts behind its format byte.
			if _, err := decode(NewCoder(), k, append(newer[:5:5], 1, 2, 3)); !errors.Is(err, ErrNewer) {
				t.Errorf("format %d with another layout: %v", format, err)
			}
		}
	})
}

func TestFormatZeroIsRefused(t *testing.T) {
	eachSample(t, func(t *testing.T, k kind, b []byte) {
		older := bytes.Clone(b)
		older[4] = 0
		if _, err := decode(NewCoder(), k, older); !errors.Is(err, ErrDamaged) {
			t.Errorf("got %v", err)
		}
	})
}

func TestValueOfAnotherKindIsRefused(t *testing.T) {
	all := samples(t)
	eachSample(t, func(t *testing.T, k kind, _ []byte) {
		for other, b := range all {
			if other == k {
				continue
			}
			if _, err := decode(NewCoder(), k, b); !errors.Is(err, ErrDamaged) {
				t.Errorf("a %v is taken: %v", other, err)
			}
			renamed := bytes.Clone(b)
			renamed[5] = byte(k)
			if _, err := decode(NewCoder(), k, renamed); err != nil && !known(err) {
				t.Errorf("a %v under another name: %v", other, err)
			}
		}
	})
}

func TestValueWithSomethingBehindItIsRefused(t *testing.T) {
	eachSample(t, func(t *testing.T, k kind, b []byte) {
		for name, junk := range map[string][]byte{
			"one byte":              {0},
			"three bytes":           {1, 2, 3},
			"text":                  []byte("and more"),
			"another of its kind":   b,
			"the beginning of zstd": {0x28, 0xb5, 0x2f, 0xfd},
			"a frame":               frame(t, []byte("and more")),
			"a skippable frame cut": {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0},
		} {
			if _, err := decode(NewCoder(), k, slices.Concat(b, junk)); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s behind it: %v", name, err)
			}
		}
	})
}

func TestSignaturesAreSkipped(t *testing.T) {
	eachSample(t, func(t *testing.T, k kind, b []byte) {
		want, err := decode(NewCoder(), k, b)
		if err != nil {
			t.Fatal(err)
		}
		e, err := open(b, k, math.MaxInt64)
		if err != nil {
			t.Fatal(err)
		}
		e.signatures = []byte("signed")
		got, err := decode(NewCoder(), k, e.append(nil))
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, got, want) // the commit id included
		for _, n := range []uint64{uint64(len(b)), math.MaxUint64} {
			long := binary.AppendUvarint(bytes.Clone(b[:7]), n)
			if _, err := decode(NewCoder(), k, append(long, b[8:]...)); !errors.Is(err, ErrDamaged) {
				t.Errorf("signatures of %d bytes: %v", n, err)
			}
		}
	})
}

// frame compresses plain with a window of the greatest size.
func frame(t testing.TB, plain []byte, opts ...zstd.EOption) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil, append([]zstd.EOption{zstd.WithEncoderConcurrency(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return enc.EncodeAll(plain, nil)
}

// claim returns a frame without content whose header promises size bytes, in a
// window as great.
func claim(size uint64) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 3<<6 | 1<<5}
	b = binary.LittleEndian.AppendUint64(b, size)
	return append(b, 1, 0, 0) // the last block, raw, empty
}

// streamed returns a frame that does not tell its size, with a window of 2^exp bytes
// and zeros in blocks of 4 bytes each.
func streamed(exp byte, blocks int) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, (exp - 10) << 3}
	for i := range blocks {
		last := byte(0)
		if i == blocks-1 {
			last = 1
		}
		// A run of 128 KiB of one byte.
		n := uint32(block)<<3 | 1<<1 | uint32(last)
		b = append(b, byte(n), byte(n>>8), byte(n>>16), 0)
	}
	return b
}

func TestSizeThatIsNotTheBodysIsRefused(t *testing.T) {
	zeros := make([]byte, 1<<20)
	tests := []struct {
		name   string
		stored byte
		size   uint64
		body   []byte
	}{
		{"plain, declares more", storedPlain, 5, []byte("1234")},
		{"plain, declares less", storedPlain, 3, []byte("1234")},
		{"plain, declares nothing", storedPlain, 0, []byte("1234")},
		{"plain, declares the most", storedPlain, MaxPackContent, []byte("1234")},
		{"compressed, declares one more", storedZstd, 1<<20 + 1, frame(t, zeros)},
		{"compressed, declares one less", storedZstd, 1<<20 - 1, frame(t, zeros)},
		{"compressed, declares nothing", storedZstd, 0, frame(t, zeros)},
		{"compressed, declares the most", storedZstd, MaxPackContent, frame(t, zeros)},
		{"a bomb of 40 MB", storedZstd, MaxPackContent, frame(t, make([]byte, 40<<20))},
		{"a bomb of 40 MB, declares little", storedZstd, 100, frame(t, make([]byte, 40<<20))},
		{"a bomb that does not tell its size", storedZstd, MaxPackContent, streamed(23, 1000)},
		{"frames that are too much together", storedZstd, MaxPackContent, bytes.Repeat(frame(t, zeros), 9)},
		{"frames that are too little together", storedZstd, MaxPackContent, bytes.Repeat(frame(t, zeros), 7)},
		{"a frame whose header promises more", storedZstd, MaxPackContent, claim(MaxPackContent)},
		{"a frame whose header promises all there is", storedZstd, MaxPackContent, claim(math.MaxUint64)},
		{"a window beyond the limit", storedZstd, 1 << 20, streamed(27, 8)},
		{"over the limit", storedZstd, MaxPackContent + 1, frame(t, make([]byte, MaxPackContent+1))},
		{"far over the limit", storedZstd, math.MaxUint64, frame(t, zeros)},
		{"no frame", storedZstd, 4, []byte("1234")},
		{"an unknown way", 2, 4, []byte("1234")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := envelope{kind: kindPack, stored: tt.stored, size: tt.size, body: tt.body}.append(nil)
			if _, err := decode(NewCoder(), kindPack, b); !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("a window at the limit is taken", func(t *testing.T) {
		b := envelope{kind: kindPack, stored: storedZstd, size: 1 << 20, body: streamed(23, 8)}.append(nil)
		got, err := decode(NewCoder(), kindPack, b)
		if err != nil || got.fields != string(zeros) {
			t.Error(err)
		}
	})
}

// allocated returns how many bytes fn allocates.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestLyingValueAllocatesLittle(t *testing.T) {
	large := encodePack(t, string(make([]byte, 4<<20)))
	used := func() *Coder {
		c := NewCoder()
		if _, err := decode(c, kindPack, large); err != nil {
			t.Fatal(err)
		}
		return c
	}
	tests := []struct {
		name   string
		stored byte
		body   []byte
		most   uint64 // bytes
	}{
		{"a plain body", storedPlain, make([]byte, 100), 4 << 10},
		{"no frame", storedZstd, make([]byte, 100), 64 << 10},
		{"a short frame", storedZstd, frame(t, make([]byte, 50)), 64 << 10},
		{"a frame whose header promises as much", storedZstd, claim(MaxPackContent), 64 << 10},
		{"a frame whose header promises more", storedZstd, claim(math.MaxUint64), 64 << 10},
		{"a window of 8 MiB and nothing in it", storedZstd, streamed(23, 0), 64 << 10},
		{"a window of 8 MiB and one block", storedZstd, streamed(23, 1), 1 << 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := envelope{kind: kindPack, stored: tt.stored, size: MaxPackContent, body: tt.body}.append(nil)
			if len(b) > 120 {
				t.Fatalf("the value has %d bytes", len(b))
			}
			// What others allocate meanwhile is counted too: the least of a few counts, each of a
			// Coder that has not seen the value yet.
			least := uint64(math.MaxUint64)
			for range 5 {
				c := used()
				var err error
				least = min(least, allocated(func() { _, err = decode(c, kindPack, b) }))
				if !errors.Is(err, ErrDamaged) {
					t.Error(err)
				}
			}
			if least > tt.most {
				t.Errorf("%d bytes allocated for %d, want at most %d", least, len(b), tt.most)
			}
		})
	}
	// What a Coder that never decoded anything sets aside is bounded too.
	t.Run("the first value", func(t *testing.T) {
		b := envelope{kind: kindPack, stored: storedZstd, size: MaxPackContent, body: claim(MaxPackContent)}.append(nil)
		if n := allocated(func() { _, _ = decode(NewCoder(), kindPack, b) }); n > 2*maxWindow {
			t.Errorf("%d bytes allocated", n)
		}
	})
	t.Run("a bomb", func(t *testing.T) {
		b := envelope{kind: kindPack, stored: storedZstd, size: MaxPackContent, body: streamed(23, 10_000)}.append(nil)
		c := used()
		if n := allocated(func() { _, _ = decode(c, kindPack, b) }); n > 5*MaxPackContent {
			t.Errorf("%d bytes allocated for what declares %d", n, MaxPackContent)
		}
	})
}

func TestRecordThatBreaksARule(t *testing.T) {
	hash := bytes.Repeat([]byte{1}, 32)
	pack := func(size uint64) *wirepb.PackRef { return &wirepb.PackRef{Hash: hash, Size: size} }
	file := func(path string, size uint64) *wirepb.Change {
		return &wirepb.Change{Path: []byte(path), Kind: 1, Mode: 0o644, Size: size, Hash: hash}
	}
	whole := func(path, content string) *wirepb.Change {
		c := file(path, uint64(len(content)))
		c.Content = &wirepb.Content{Whole: []byte(content)}
		return c
	}
	packed := func(size, offset uint64, packs ...uint32) *wirepb.Change {
		c := file("a", size)
		c.Content = &wirepb.Content{Packs: packs, Offset: offset}
		return c
	}
	list := func(changes ...*wirepb.Change) *wirepb.List { return &wirepb.List{Changes: changes} }
	inPacks := func(c *wirepb.Change) *wirepb.List {
		return &wirepb.List{Changes: []*wirepb.Change{c}, Packs: []*wirepb.PackRef{pack(1000), pack(2000), pack(3000)}}
	}
	with := func(c *wirepb.Change, alter func(*wirepb.Change)) *wirepb.List {
		alter(c)
		return list(c)
	}
	patched := func(alter func(*wirepb.Change)) *wirepb.List {
		c := file("a", 4000)
		c.Content = &wirepb.Content{Patch: &wirepb.Patch{Base: bytes.Repeat([]byte{2}, 32), Frame: []byte("frame")}}
		alter(c)
		return inPacks(c)
	}
	patchInPacks := func(c *wirepb.Change, size, offset uint64) {
		c.Content.Packs, c.Content.Offset = []uint32{0, 1}, offset
		c.Content.Patch.Frame, c.Content.Patch.Size = nil, size
	}
	const maxSize = MaxFileSize
	tests := []struct {
		name string
		list *wirepb.List
		want error // nil: it is taken
	}{
		{"no list", nil, nil},
		{"paths in order", list(whole("a", "1"), whole("a/b", "1"), whole("a-b", "1")), nil},
		{"paths out of order", list(whole("b", "1"), whole("a", "1")), ErrDamaged},
		{"paths in the order of plain bytes", list(whole("a", "1"), whole("a-b", "1"), whole("a/b", "1")), ErrDamaged},
		{"a path twice", list(whole("a", "1"), whole("a", "1")), ErrDamaged},
		{"an empty path", list(whole("", "1")), diff.ErrPath},
		{"a path that leads out", list(whole("../a", "1")), diff.ErrPath},
		{"an absolute path", list(whole("/etc/passwd", "1")), diff.ErrPath},
		{"our own path", list(whole(".confsyncd/journal", "1")), diff.ErrPath},
		{"a path that is too long", list(whole(strings.Repeat("a/", 3000)+"a", "1")), diff.ErrPath},

		{"an unknown kind", with(file("a", 0), func(c *wirepb.Change) { c.Kind, c.Hash = 4, nil }), diff.ErrEntry},
		{"a kind beyond a byte", with(file("a", 0), func(c *wirepb.Change) { c.Kind = 257 }), ErrDamaged},
		{"a mode with more bits", with(file("a", 0), func(c *wirepb.Change) { c.Mode = 0o100644 }), diff.ErrEntry},
		{"a file without hash", with(file("a", 0), func(c *wirepb.Change) { c.Hash = nil }), ErrDamaged},
		{"a hash that is too short", with(file("a", 0), func(c *wirepb.Change) { c.Hash = hash[1:] }), ErrDamaged},
		{"a directory with a hash", with(file("a", 0), func(c *wirepb.Change) { c.Kind = 2 }), ErrDamaged},
		{"a directory with a size", with(file("a", 1), func(c *wirepb.Change) { c.Kind, c.Hash = 2, nil }), diff.ErrEntry},
		{"a directory with content", with(file("a", 0), func(c *wirepb.Change) { c.Kind, c.Hash, c.Content = 2, nil, &wirepb.Content{} }), ErrDamaged},
		{"a symlink with a mode", with(whole("a", "b"), func(c *wirepb.Change) { c.Kind = 3 }), diff.ErrEntry},
		{"a deletion", list(&wirepb.Change{Path: []byte("a")}), nil},
		{"a deletion with a mode", list(&wirepb.Change{Path: []byte("a"), Mode: 1}), ErrDamaged},
		{"a deletion with a size", list(&wirepb.Change{Path: []byte("a"), Size: 1}), ErrDamaged},
		{"a deletion with a hash", list(&wirepb.Change{Path: []byte("a"), Hash: hash}), ErrDamaged},
		{"a deletion with content", list(&wirepb.Change{Path: []byte("a"), Content: &wirepb.Content{}}), ErrDamaged},

		{"the greatest size", list(file("a", maxSize)), nil},
		{"a size over the limit", list(file("a", maxSize+1)), ErrDamaged},
		{"a size that is negative", list(file("a", math.MaxUint64)), ErrDamaged},
		{"a content that came before", list(file("a", 5)), nil},
		{"an empty file", list(file("a", 0)), nil},
		{"an empty file with content", with(file("a", 0), func(c *wirepb.Change) { c.Content = &wirepb.Content{} }), ErrDamaged},
		{"an empty file in a pack", inPacks(packed(0, 0, 1)), ErrDamaged},
		{"content that tells no place", with(file("a", 5), func(c *wirepb.Change) { c.Content = &wirepb.Content{} }), ErrDamaged},
		{"content shorter than its size", with(whole("a", "1"), func(c *wirepb.Change) { c.Size = 2 }), ErrDamaged},
		{"content longer than its size", with(whole("a", "123"), func(c *wirepb.Change) { c.Size = 2 }), ErrDamaged},
		{"content here at an offset", with(whole("a", "1"), func(c *wirepb.Change) { c.Content.Offset = 1 }), ErrDamaged},
		{"content both here and in packs", with(whole("a", "1"), func(c *wirepb.Change) { c.Content.Packs = []uint32{0} }), ErrDamaged},

		{"a patch", patched(func(*wirepb.Change) {}), nil},
		{"a patch in packs", patched(func(c *wirepb.Change) { patchInPacks(c, 2500, 500) }), nil},
		{"a patch in packs that it does not fill", patched(func(c *wirepb.Change) { patchInPacks(c, 1, 999) }), ErrDamaged},
		{"a patch beyond its packs", patched(func(c *wirepb.Change) { patchInPacks(c, 2501, 500) }), ErrDamaged},
		{"a patch of a size that overflows", patched(func(c *wirepb.Change) { patchInPacks(c, math.MaxUint64, 500) }), ErrDamaged},
		{"a patch both here and in packs", patched(func(c *wirepb.Change) { c.Content.Packs = []uint32{0} }), ErrDamaged},
		{"a patch with its size beside the frame", patched(func(c *wirepb.Change) { c.Content.Patch.Size = 5 }), ErrDamaged},
		{"a patch without frame", patched(func(c *wirepb.Change) { c.Content.Patch.Frame = nil }), ErrDamaged},
		{"a patch at an offset", patched(func(c *wirepb.Change) { c.Content.Offset = 1 }), ErrDamaged},
		{"a patch without base", patched(func(c *wirepb.Change) { c.Content.Patch.Base = nil }), ErrDamaged},
		{"a patch of its own result", patched(func(c *wirepb.Change) { c.Content.Patch.Base = c.Hash }), ErrDamaged},
		{"a patch as long as its result", patched(func(c *wirepb.Change) { c.Size = 5 }), ErrDamaged},
		{"a patch beside the whole", patched(func(c *wirepb.Change) { c.Content.Whole = make([]byte, c.Size) }), ErrDamaged},
		{"a patch of a symlink", patched(func(c *wirepb.Change) { c.Kind, c.Mode, c.Size = 3, 0, 100 }), ErrDamaged},
		{"a patch of an empty file", patched(func(c *wirepb.Change) { c.Size = 0 }), ErrDamaged},

		{"a whole pack", inPacks(packed(1000, 0, 0)), nil},
		{"the end of a pack", inPacks(packed(1, 999, 0)), nil},
		{"beyond its pack", inPacks(packed(2, 999, 0)), ErrDamaged},
		{"at the end of its pack", inPacks(packed(1, 1000, 0)), ErrDamaged},
		{"an offset that overflows", inPacks(packed(2, math.MaxUint64, 0)), ErrDamaged},
		{"a run of packs", inPacks(packed(5000, 1000-1, 0, 1, 2)), nil},
		{"a run of packs in another order", inPacks(packed(5001, 0, 2, 1, 0)), nil},
		{"a pack that follows itself", inPacks(packed(3000, 0, 0, 0, 0)), nil},
		{"beyond its run", inPacks(packed(5001, 1000, 0, 1, 2)), ErrDamaged},
		{"a run that begins before it is needed", inPacks(packed(10, 1500, 0, 1)), ErrDamaged},
		{"a run that ends after it is needed", inPacks(packed(10, 0, 0, 1)), ErrDamaged},
		{"a pack that is not in the table", inPacks(packed(10, 0, 3)), ErrDamaged},
		{"a pack far beyond the table", inPacks(packed(10, 0, math.MaxUint32)), ErrDamaged},
		{"a pack over the limit", &wirepb.List{Packs: []*wirepb.PackRef{pack(MaxPackContent + 1)}}, ErrDamaged},
		{"a pack of nothing", &wirepb.List{Packs: []*wirepb.PackRef{pack(0)}}, ErrDamaged},
		{"a pack without hash", &wirepb.List{Packs: []*wirepb.PackRef{{Size: 1}}}, ErrDamaged},
		{"a part over the limit", &wirepb.List{Parts: []*wirepb.PackRef{pack(MaxList + 1)}}, ErrDamaged},
		{"changes beside parts", &wirepb.List{Parts: []*wirepb.PackRef{pack(1)}, Changes: []*wirepb.Change{file("a", 0)}}, ErrDamaged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := NewCoder().seal(kindRecord, wireRecord(tt.list))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := NewCoder().DecodeRecord(b); !errors.Is(err, tt.want) || err != nil && !known(err) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func wireRecord(list *wirepb.List) *wirepb.Record {
	tenant, hash := goldenTenant(), numbered(1)
	return &wirepb.Record{Tenant: tenant[:], Generation: 42, Parent: hash[:], Digest: hash[:], List: list}
}

// A keyframe and a founding make a tree from nothing.
func TestWholeTreeTellsWhereEveryContentLies(t *testing.T) {
	tenant, hash := goldenTenant(), numbered(1)
	for name, changes := range map[string][]Change{
		"a content that came before": {{Path: "a", New: textFile("x")}},
		"a deletion":                 {{Path: "a"}},
		"a patch": {{Path: "a", New: textFile("a new content"), Content: Content{
			Patch: &Patch{Base: numbered(9), Frame: []byte("frame"), Size: 5},
		}}},
	} {
		list := &wirepb.List{Changes: wireChanges(t, changes)}
		t.Run("record with "+name, func(t *testing.T) {
			m := wireRecord(list)
			b, err := NewCoder().seal(kindRecord, m)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := NewCoder().DecodeRecord(b); err != nil {
				t.Errorf("a record that is no founding: %v", err)
			}
			m.Founding = true
			if b, err = NewCoder().seal(kindRecord, m); err != nil {
				t.Fatal(err)
			}
			if _, err := NewCoder().DecodeRecord(b); !errors.Is(err, ErrDamaged) {
				t.Errorf("a founding: %v", err)
			}
			r := record(changes...)
			r.Founding = true
			if _, err := NewCoder().EncodeRecord(r, nil); err == nil {
				t.Error("a founding that cannot be decoded is encoded")
			}
		})
		t.Run("keyframe with "+name, func(t *testing.T) {
			b, err := NewCoder().seal(kindKeyframe, &wirepb.Keyframe{Tenant: tenant[:], Generation: 42, Commit: hash[:], Digest: hash[:], List: list})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := decode(NewCoder(), kindKeyframe, b); !errors.Is(err, ErrDamaged) {
				t.Errorf("decoded: %v", err)
			}
			k := &Keyframe{Position: goldenHead().Position, List: List{Changes: changes}}
			if _, err := NewCoder().EncodeKeyframe(k, nil); err == nil {
				t.Error("a keyframe that cannot be decoded is encoded")
			}
		})
		t.Run("part with "+name, func(t *testing.T) {
			b, err := NewCoder().seal(kindPart, &wirepb.Part{Changes: list.Changes})
			if err != nil {
				t.Fatal(err)
			}
			for _, whole := range []bool{false, true} {
				l := List{whole: whole}
				if err := NewCoder().AddPart(&l, refTo(kindPart, b), b); errors.Is(err, ErrDamaged) != whole {
					t.Errorf("part of a whole tree %v: %v", whole, err)
				}
			}
		})
	}
}

func TestPartsAreInOrderToo(t *testing.T) {
	c := NewCoder()
	seal := func(changes ...Change) []byte {
		b, err := c.seal(kindPart, &wirepb.Part{Changes: wireChanges(t, changes)})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first, second := seal(directory("a"), directory("c")), seal(directory("c"), directory("d"))
	var l List
	if err := c.AddPart(&l, refTo(kindPart, first), first); err != nil {
		t.Fatal(err)
	}
	if err := c.AddPart(&l, refTo(kindPart, second), second); !errors.Is(err, ErrDamaged) {
		t.Errorf("a path comes again in the next part: %v", err)
	}
	for name, ref := range map[string]PackRef{
		"another hash": {Hash: numbered(1), Size: refTo(kindPart, first).Size},
		"another size": {Hash: diff.Sum(first), Size: 1},
	} {
		if err := c.AddPart(&List{}, ref, first); !errors.Is(err, ErrDamaged) {
			t.Errorf("a part of %s: %v", name, err)
		}
	}
}

func TestRecordOrHeadWithABadField(t *testing.T) {
	long := strings.Repeat("n", MaxName+1)
	hash := numbered(1)
	noHash := &wirepb.KeyframeRef{Generation: 1, Pack: &wirepb.PackRef{Size: 1}}
	records := map[string]func(*wirepb.Record){
		"no tenant":                     func(m *wirepb.Record) { m.Tenant = nil },
		"a tenant of zeros":             func(m *wirepb.Record) { m.Tenant = make([]byte, 16) },
		"generation 0":                  func(m *wirepb.Record) { m.Generation = 0 },
		"neither parent nor founding":   func(m *wirepb.Record) { m.Parent = nil },
		"a parent of zeros":             func(m *wirepb.Record) { m.Parent = make([]byte, 32) },
		"a parent that is too short":    func(m *wirepb.Record) { m.Parent = hash[1:] },
		"no digest":                     func(m *wirepb.Record) { m.Digest = nil },
		"a publisher's name too long":   func(m *wirepb.Record) { m.Publisher = long },
		"an instance too long":          func(m *wirepb.Record) { m.Instance = long },
		"a message too long":            func(m *wirepb.Record) { m.Message = strings.Repeat("m", MaxMessage+1) },
		"a keyframe beyond it":          func(m *wirepb.Record) { m.Keyframe = keyframeToWire(KeyframeRef{43, PackRef{hash, 1}}) },
		"a keyframe without generation": func(m *wirepb.Record) { m.Keyframe = keyframeToWire(KeyframeRef{0, PackRef{hash, 1}}) },
		"a keyframe without hash":       func(m *wirepb.Record) { m.Keyframe = noHash },
		"a keyframe without pack":       func(m *wirepb.Record) { m.Keyframe = &wirepb.KeyframeRef{Generation: 1} },
		"a keyframe over the limit":     func(m *wirepb.Record) { m.Keyframe = keyframeToWire(KeyframeRef{1, PackRef{hash, MaxList + 1}}) },
	}
	for name, alter := range records {
		t.Run("record with "+name, func(t *testing.T) {
			m := wireRecord(nil)
			alter(m)
			b, err := NewCoder().seal(kindRecord, m)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := NewCoder().DecodeRecord(b); !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v", err)
			}
		})
	}
	heads := map[string]func(*wirepb.Head){
		"no tenant":               func(m *wirepb.Head) { m.Tenant = nil },
		"generation 0":            func(m *wirepb.Head) { m.Generation, m.Founding = 0, 0 },
		"no commit id":            func(m *wirepb.Head) { m.Commit = nil },
		"no digest":               func(m *wirepb.Head) { m.Digest = nil },
		"no founding":             func(m *wirepb.Head) { m.Founding = 0 },
		"a founding beyond it":    func(m *wirepb.Head) { m.Founding = 43 },
		"a rollback to itself":    func(m *wirepb.Head) { m.Rollback = m.Generation },
		"a keyframe beyond it":    func(m *wirepb.Head) { m.Keyframe = keyframeToWire(KeyframeRef{43, PackRef{hash, 1}}) },
		"a keyframe without hash": func(m *wirepb.Head) { m.Keyframe = noHash },
		"a name too long":         func(m *wirepb.Head) { m.Publisher = long },
		"an instance too long":    func(m *wirepb.Head) { m.Instance = long },
		"a channel beyond it":     func(m *wirepb.Head) { m.Channels = []*wirepb.Channel{{Name: "main", Generation: 43, Commit: hash[:]}} },
		"a channel at none":       func(m *wirepb.Head) { m.Channels = []*wirepb.Channel{{Name: "main", Commit: hash[:]}} },
		"a channel without name":  func(m *wirepb.Head) { m.Channels = []*wirepb.Channel{{Generation: 1, Commit: hash[:]}} },
		"channels out of order": func(m *wirepb.Head) {
			m.Channels = []*wirepb.Channel{{Name: "b", Generation: 1, Commit: hash[:]}, {Name: "a", Generation: 1, Commit: hash[:]}}
		},
		"too many channels": func(m *wirepb.Head) { m.Channels = make([]*wirepb.Channel, MaxChannels+1) },
		"a rollout beyond it": func(m *wirepb.Head) {
			m.Ahead = &wirepb.Ahead{Channel: "main", Generation: 43, Commit: hash[:]}
		},
		"a rollout to more than all": func(m *wirepb.Head) {
			m.Ahead = &wirepb.Ahead{Channel: "main", Generation: 42, Commit: hash[:], Hosts: []*wirepb.Selector{{Parts: AllParts + 1}}}
		},
	}
	for name, alter := range heads {
		t.Run("head with "+name, func(t *testing.T) {
			_, plain := body(t, samples(t)[kindHead])
			var m wirepb.Head
			if err := proto.Unmarshal(plain, &m); err != nil {
				t.Fatal(err)
			}
			alter(&m)
			plain, err := proto.Marshal(&m)
			if err != nil {
				t.Fatal(err)
			}
			b := envelope{kind: kindHead, size: uint64(len(plain)), body: plain}.append(nil)
			if _, err := DecodeHead(b); !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Fields that a later version of the same format adds are passed over.
func TestUnknownFieldsAreSkipped(t *testing.T) {
	head := samples(t)[kindHead]
	_, plain := body(t, head)
	plain = append(slices.Clone(plain), 0x7a, 3, 'n', 'e', 'w') // field 15
	b := envelope{kind: kindHead, size: uint64(len(plain)), body: plain}.append(nil)
	got, err := DecodeHead(b)
	if err != nil || !reflect.DeepEqual(got, goldenHead()) {
		t.Errorf("%+v: %v", got, err)
	}
}

func TestWhatCannotBeEncoded(t *testing.T) {
	long := strings.Repeat("n", MaxName+1)
	for name, alter := range map[string]func(*Record){
		"a name too long":        func(r *Record) { r.Publisher = long },
		"an instance":            func(r *Record) { r.Instance = long },
		"a message too long":     func(r *Record) { r.Message = strings.Repeat("m", MaxMessage+1) },
		"a name that is no text": func(r *Record) { r.Publisher = "\xff" },
	} {
		r := record()
		alter(r)
		if _, err := NewCoder().EncodeRecord(r, nil); err == nil {
			t.Errorf("a record with %s is encoded", name)
		}
	}
	for _, h := range []Head{{Publisher: long}, {Instance: long}, {Publisher: "\xff"}} {
		if _, err := EncodeHead(h); err == nil {
			t.Errorf("%+v is encoded", h)
		}
	}
	want := errors.New("full")
	if _, err := NewCoder().EncodeRecord(record(manyDirectories()...), func(Pack) error { return want }); !errors.Is(err, want) {
		t.Errorf("the error of stage becomes %v", err)
	}
}
