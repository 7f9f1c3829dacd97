package codec

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// fuzz feeds a decoder with goldens, small samples and what comes of altering them.
// again encodes what was decoded; ok is false where that cannot give the same back.
func fuzz(f *testing.F, k kind, goldens []string, again func(t *testing.T, c *Coder, d decoded) (b []byte, ok bool)) {
	for _, name := range goldens {
		b, err := os.ReadFile(filepath.Join(goldenDir, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, b := range samples(f) {
		f.Add(b)
		if e, plain := body(f, b); e.stored == storedZstd {
			// Not compressed, it is easier to alter.
			f.Add(envelope{kind: k, size: uint64(len(plain)), body: plain}.append(nil))
		}
	}
	c := NewCoder()
	f.Fuzz(func(t *testing.T, b []byte) {
		var first decoded
		var err error
		within(t, k, b, func() { first, err = decode(c, k, b) })
		if err != nil {
			if !known(err) {
				t.Fatalf("callers do not know the error %v", err)
			}
			return
		}
		if same, err := decode(c, k, b); err != nil || !reflect.DeepEqual(first, same) {
			t.Fatalf("decoded  %+v\nand then %+v: %v", first, same, err)
		}
		for _, ch := range first.changes {
			local(t, ch.Path)
		}
		encoded, ok := again(t, c, first)
		if !ok {
			return
		}
		second, err := decode(c, k, encoded)
		if err != nil {
			t.Fatalf("what was decoded is encoded to what cannot be: %v", err)
		}
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("decoded  %+v\nand then %+v", first, second)
		}
	})
}

// within fails the test if decoding b takes more memory than b declares: the window, the
// body and the growth of its buffer, and up to 64 bytes for each byte of changes, of
// which one message holds no more than maxChanges.
func within(t *testing.T, k kind, b []byte, decode func()) {
	t.Helper()
	size := uint64(len(b))
	if e, err := open(b, k, MaxPackContent); err == nil {
		size += e.size
	}
	most := 2*maxWindow + 8*size + 64*min(size, maxChanges)
	if n := allocated(decode); n > most {
		t.Errorf("%d bytes allocated for a %v of %d that declares %d, want at most %d", n, k, len(b), size, most)
	}
}

// local fails the test unless path may be joined to any directory.
func local(t *testing.T, path string) {
	t.Helper()
	if !filepath.IsLocal(path) || filepath.Clean(path) != path {
		t.Errorf("%q is accepted as a path", path)
	}
	for name := range strings.SplitSeq(path, "/") {
		if len(name) == 0 || len(name) > 255 || name == ".confsyncd" || len(name) > len("..confsyncd") && name[0] == '.' && strings.HasSuffix(name, ".confsyncd") {
			t.Errorf("%q is accepted as a path for its component %q", path, name)
		}
	}
}

// An envelope that is opened is written as it was, and points into what it was read from.
func FuzzEnvelope(f *testing.F) {
	for k, b := range samples(f) {
		f.Add(b, byte(k), uint64(MaxPackContent))
	}
	f.Fuzz(func(t *testing.T, b []byte, k byte, limit uint64) {
		var e envelope
		var err error
		if n := allocated(func() { e, err = open(b, kind(k), limit) }); n > 64<<10 {
			t.Errorf("%d bytes allocated to open %d", n, len(b))
		}
		if err != nil {
			if !known(err) {
				t.Fatalf("callers do not know the error %v", err)
			}
			return
		}
		if e.size > limit || e.kind != kind(k) || len(e.body)+len(e.signatures) > len(b) {
			t.Fatalf("%+v is opened with the limit %d", e, limit)
		}
		again, err := open(e.append(nil), kind(k), limit)
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Fatalf("opened   %+v\nand then %+v: %v", e, again, err)
		}
	})
}

func FuzzHead(f *testing.F) {
	fuzz(f, kindHead, []string{"head", "head_first"}, func(t *testing.T, _ *Coder, d decoded) ([]byte, bool) {
		b, err := EncodeHead(d.fields.(Head))
		if err != nil {
			t.Fatal(err)
		}
		return b, true
	})
}

// The commit id is that of the stored bytes, which another encoder may make
// differently; the table of packs may name some that nothing lies in.
func FuzzRecord(f *testing.F) {
	fuzz(f, kindRecord, []string{"record_small", "record_packs", "record_patches", "record_founding", "record_parts"}, func(t *testing.T, c *Coder, d decoded) ([]byte, bool) {
		r := d.fields.(*Record)
		if len(r.List.Parts) > 0 {
			return nil, false
		}
		copied := *r
		copied.List.Changes = d.changes
		staged := false
		b, err := c.EncodeRecord(&copied, func(Pack) error {
			staged = true // too long for one value
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		r.Commit = copied.Commit
		return b, !staged
	})
}

func FuzzKeyframe(f *testing.F) {
	fuzz(f, kindKeyframe, []string{"keyframe"}, func(t *testing.T, c *Coder, d decoded) ([]byte, bool) {
		k := *d.fields.(*Keyframe)
		if len(k.List.Parts) > 0 {
			return nil, false
		}
		k.List.Changes = d.changes
		stage, packs := collect()
		if _, err := c.EncodeKeyframe(&k, stage); err != nil {
			t.Fatal(err)
		}
		return (*packs)[0].Data, len(*packs) == 1
	})
}

// A part has no table of packs of its own, so it goes by the way of a record.
func FuzzPart(f *testing.F) {
	fuzz(f, kindPart, []string{"part_1"}, func(t *testing.T, c *Coder, d decoded) ([]byte, bool) {
		staged := false
		b, err := c.EncodeRecord(record(d.changes...), func(Pack) error {
			staged = true
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if staged {
			return nil, false
		}
		r, err := c.DecodeRecord(b)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.List.Changes)+len(d.changes) > 0 && !reflect.DeepEqual(r.List.Changes, d.changes) {
			t.Fatalf("decoded  %+v\nand then %+v", d.changes, r.List.Changes)
		}
		return nil, false
	})
}

func FuzzPack(f *testing.F) {
	fuzz(f, kindPack, []string{"pack"}, func(t *testing.T, c *Coder, d decoded) ([]byte, bool) {
		content := d.fields.(string)
		stage, packs := collect()
		p := NewPacker(stage)
		if _, err := p.Add([]byte(content)); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		for _, pack := range *packs {
			plain, err := c.DecodePack(pack.Ref, pack.Data)
			if err != nil {
				t.Fatal(err)
			}
			got.Write(plain)
		}
		if diff.Sum(got.Bytes()) != diff.Sum([]byte(content)) {
			t.Fatal("the content is another one")
		}
		return nil, false
	})
}

// Whatever a frame holds, it makes the declared number of bytes or is refused; and what
// a patch was made for comes back.
func FuzzPatch(f *testing.F) {
	f.Add([]byte(goldenBase()), goldenFrame(f), int64(len(goldenResult())))
	f.Add([]byte{}, goldenFrame(f), int64(len(goldenResult())))
	f.Add([]byte(goldenBase()), []byte(goldenResult()), int64(1))
	for _, b := range [][]byte{claim(1000), claim(MaxFileSize), streamed(23, 3), streamed(27, 1), frame(f, []byte(goldenResult()))} {
		f.Add([]byte(goldenBase()), b, int64(1000))
	}
	c := NewCoder()
	f.Fuzz(func(t *testing.T, base, frame []byte, size int64) {
		size %= 1 << 20
		var result []byte
		var err error
		// The result with a block to spare, what the decoder sets aside, and the base's tables.
		most := 2*uint64(max(size, 0)) + 4<<20 + 2*uint64(len(base)+len(frame))
		if n := allocated(func() { result, err = DecodePatch(base, frame, size) }); n > most {
			t.Errorf("%d bytes allocated for a patch that makes %d", n, size)
		}
		if err == nil && int64(len(result)) != size {
			t.Fatalf("%d bytes, want %d", len(result), size)
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("callers do not know the error %v", err)
		}
		again, ok := c.EncodePatch(base, frame)
		if !ok {
			return
		}
		if got, err := DecodePatch(base, again, int64(len(frame))); err != nil || !bytes.Equal(got, frame) {
			t.Fatalf("the content is another one: %v", err)
		}
	})
}
