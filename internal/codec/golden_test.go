package codec

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/confsyncd/confsyncd/internal/codec/wirepb"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// The goldens are values as they lie in etcds out there. They must decode for as
// long as their format is read, so -update is for new ones, and for a new format.
var update = flag.Bool("update", false, "write testdata/wire anew")

const goldenDir = "../../testdata/wire"

// numbered returns a hash that is easily told from others.
func numbered(n byte) diff.Hash { return diff.Hash(bytes.Repeat([]byte{n}, 32)) }

func goldenTenant() diff.TenantID { return diff.TenantID(bytes.Repeat([]byte{0x7e}, 16)) }

func textFile(content string) diff.Entry {
	return diff.Entry{Kind: diff.File, Mode: 0o644, Size: int64(len(content)), Hash: diff.Sum([]byte(content))}
}

func whole(path, content string) Change {
	return Change{Path: path, New: textFile(content), Content: Content{Whole: []byte(content)}}
}

func directory(path string) Change {
	return Change{Path: path, New: diff.Entry{Kind: diff.Directory, Mode: 0o755}}
}

func goldenKeyframeRef() KeyframeRef {
	return KeyframeRef{Generation: 40, Pack: PackRef{Hash: numbered(0x40), Size: 4321}}
}

func goldenHead() Head {
	return Head{
		Position:  diff.Position{Tenant: goldenTenant(), Generation: 42, Commit: numbered(0xc0)},
		Digest:    numbered(0xd1),
		Founding:  7,
		Keyframe:  goldenKeyframeRef(),
		Publisher: "config-1",
		Instance:  "5f2c",
	}
}

func goldenHeadFirst() Head {
	return Head{Position: diff.Position{Tenant: goldenTenant(), Generation: 1, Commit: numbered(0xc0)}, Digest: numbered(0xd1), Founding: 1}
}

func goldenHeadChannels() Head {
	h := goldenHead()
	h.Channels = []Channel{{Name: "canary", Generation: 42, Commit: numbered(0xc0)}, {Name: "main", Generation: 39, Commit: numbered(0xc2)}}
	h.Ahead = &Ahead{Channel: "main", Generation: 41, Commit: numbered(0xc3), Hosts: []Selector{{Label: "role=web", Parts: 1000}, {Parts: 1}}}
	return h
}

func goldenPacks() []PackRef {
	return []PackRef{{Hash: numbered(0xa1), Size: 1000}, {Hash: numbered(0xa2), Size: 2000}, {Hash: numbered(0xa3), Size: 3000}}
}

// record returns a record with every field but its list.
func record(changes ...Change) *Record {
	return &Record{
		Tenant: goldenTenant(), Generation: 42, Parent: numbered(0xc1),
		Time:      time.Date(2026, 11, 22, 10, 43, 0, 123456789, time.UTC),
		Publisher: "config-1", Instance: "5f2c", Message: "raise the limit",
		Digest: numbered(0xd1), Keyframe: goldenKeyframeRef(), List: List{Changes: changes},
	}
}

func goldenRecordSmall() *Record {
	target := "../a.conf"
	return record(
		whole("etc/a.conf", "listen = 80\n"),
		Change{Path: "etc/empty", New: textFile("")},
		Change{Path: "etc/gone"},
		Change{Path: "etc/link", New: diff.Entry{Kind: diff.Symlink, Size: int64(len(target)), Hash: diff.Sum([]byte(target))}, Content: Content{Whole: []byte(target)}},
		Change{Path: "etc/moved", New: textFile("came before")},
		directory("etc/sub"),
		whole("etc/sub/\xff\x01", "a path that is not text"),
	)
}

func goldenRecordPacks() *Record {
	p := goldenPacks()
	r := record(
		Change{Path: "a", New: diff.Entry{Kind: diff.File, Mode: 0o600, Size: 900, Hash: numbered(1)}, Content: Content{Packs: p[:1:1]}},
		Change{Path: "b", New: diff.Entry{Kind: diff.File, Mode: 0o4755, Size: 4100, Hash: numbered(2)}, Content: Content{Packs: p, Offset: 900}},
		whole("c", "here"),
		Change{Path: "d", New: diff.Entry{Kind: diff.File, Mode: 0o600, Size: 10, Hash: numbered(3)}, Content: Content{Packs: p[2:], Offset: 2990}},
	)
	r.List.Packs = p
	return r
}

// goldenBase and goldenResult are what the golden patch leads from and to.
func goldenBase() string {
	var s strings.Builder
	for i := range 60 {
		fmt.Fprintf(&s, "server_%02d = 10.0.%d.%d:%d\n", i, i%7, i*i%251, 8000+i)
	}
	return s.String()
}

func goldenResult() string {
	return strings.Replace(goldenBase(), "server_30 = ", "server_30 = backup ", 1)
}

// goldenFrame is a zstd frame, whose bytes may differ between versions of the library.
func goldenFrame(t testing.TB) []byte {
	t.Helper()
	file := filepath.Join(goldenDir, "patch_frame")
	if *update {
		frame, ok := NewCoder().EncodePatch([]byte(goldenBase()), []byte(goldenResult()))
		if !ok {
			t.Fatal("no patch")
		}
		if err := os.WriteFile(file, frame, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func goldenRecordPatches(t testing.TB) *Record {
	frame := goldenFrame(t)
	p := goldenPacks()
	base := diff.Sum([]byte(goldenBase()))
	r := record(
		Change{Path: "inline", New: textFile(goldenResult()), Content: Content{Patch: &Patch{Base: base, Frame: frame, Size: int64(len(frame))}}},
		Change{Path: "packed", New: diff.Entry{Kind: diff.File, Mode: 0o600, Size: 9000, Hash: numbered(1)}, Content: Content{Packs: p[1:], Offset: 500, Patch: &Patch{Base: base, Size: 2500}}},
		whole("whole", "here"),
	)
	r.List.Packs = p[1:]
	return r
}

func goldenRecordFounding() *Record {
	r := record(directory("etc"), whole("etc/a.conf", "listen = 80\n"))
	r.Founding, r.Parent, r.Keyframe, r.List.whole = true, diff.Hash{}, KeyframeRef{}, true
	return r
}

func goldenKeyframe() *Keyframe {
	p := goldenPacks()
	return &Keyframe{
		Position: goldenHead().Position,
		Digest:   numbered(0xd1),
		List: List{whole: true, Packs: p, Changes: []Change{
			directory("etc"),
			{Path: "etc/a.conf", New: diff.Entry{Kind: diff.File, Mode: 0o644, Size: 5500, Hash: numbered(1)}, Content: Content{Packs: p, Offset: 500}},
			{Path: "etc/empty", New: textFile("")},
		}},
	}
}

// manyDirectories are too many for one value, but compress well.
func manyDirectories() []Change {
	changes := make([]Change, 5000)
	for i := range changes {
		changes[i] = directory(fmt.Sprintf("%s-%04d", strings.Repeat("d", 150), i))
	}
	return changes
}

func goldenContents() []string {
	return []string{"first\n", "second\n", strings.Repeat("zeros ", 1000), "\x00\xff"}
}

// collect returns a stage function and the packs that it was given.
func collect() (func(Pack) error, *[]Pack) {
	var packs []Pack
	return func(p Pack) error {
		packs = append(packs, p)
		return nil
	}, &packs
}

func mustSeal(t testing.TB, encode func(stage func(Pack) error) ([]byte, error)) []byte {
	t.Helper()
	stage, packs := collect()
	b, err := encode(stage)
	if err != nil {
		t.Fatal(err)
	}
	if b == nil {
		b = (*packs)[len(*packs)-1].Data
	}
	return b
}

func encodeRecord(t testing.TB, r *Record) []byte {
	t.Helper()
	return mustSeal(t, func(stage func(Pack) error) ([]byte, error) { return NewCoder().EncodeRecord(r, stage) })
}

func encodeKeyframe(t testing.TB, k *Keyframe) []byte {
	t.Helper()
	return mustSeal(t, func(stage func(Pack) error) ([]byte, error) {
		_, err := NewCoder().EncodeKeyframe(k, stage)
		return nil, err
	})
}

// encodeParts returns the record whose list is in parts, and the parts.
func encodeParts(t testing.TB) ([]byte, []Pack) {
	t.Helper()
	stage, packs := collect()
	b, err := NewCoder().EncodeRecord(record(manyDirectories()...), stage)
	if err != nil {
		t.Fatal(err)
	}
	return b, *packs
}

func encodePack(t testing.TB, contents ...string) []byte {
	t.Helper()
	return mustSeal(t, func(stage func(Pack) error) ([]byte, error) {
		p := NewPacker(stage)
		for _, c := range contents {
			if _, err := p.Add([]byte(c)); err != nil {
				return nil, err
			}
		}
		return nil, p.Close()
	})
}

// golden returns the golden value of that name; -update makes it what encoded returns.
func golden(t testing.TB, name string, m proto.Message, encoded func() []byte) []byte {
	t.Helper()
	file := filepath.Join(goldenDir, name)
	if *update {
		b := encoded()
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file+".txt", describe(t, b, m), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// body returns the decompressed body of a value.
func body(t testing.TB, b []byte) (envelope, []byte) {
	t.Helper()
	e, err := open(b, kind(b[5]), MaxPackContent)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := NewCoder().plain(e)
	if err != nil {
		t.Fatal(err)
	}
	return e, plain
}

// describe writes a value down for people. Long lists are cut short.
func describe(t testing.TB, b []byte, m proto.Message) []byte {
	t.Helper()
	e, plain := body(t, b)
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v: format %d, stored %d, %d bytes, of which %d are the envelope; body of %d bytes\n", e.kind, b[4], e.stored, len(b), len(b)-len(e.body), e.size)
	if m == nil {
		fmt.Fprintf(&out, "%q\n", plain[:min(len(plain), 200)])
		return out.Bytes()
	}
	if err := proto.Unmarshal(plain, m); err != nil {
		t.Fatal(err)
	}
	describeMessage(&out, "", m.ProtoReflect())
	return out.Bytes()
}

func describeMessage(out *bytes.Buffer, indent string, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			continue
		}
		if !f.IsList() {
			describeValue(out, indent, f, m.Get(f))
			continue
		}
		l := m.Get(f).List()
		for i := range min(l.Len(), 10) {
			describeValue(out, indent, f, l.Get(i))
		}
		if l.Len() > 10 {
			fmt.Fprintf(out, "%s%s: … %d in all\n", indent, f.Name(), l.Len())
		}
	}
}

func describeValue(out *bytes.Buffer, indent string, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case f.Kind() == protoreflect.MessageKind:
		fmt.Fprintf(out, "%s%s:\n", indent, f.Name())
		describeMessage(out, indent+"  ", v.Message())
	case f.Kind() == protoreflect.StringKind:
		fmt.Fprintf(out, "%s%s: %q\n", indent, f.Name(), v.String())
	case f.Name() == "path" || f.Name() == "whole":
		fmt.Fprintf(out, "%s%s: %q\n", indent, f.Name(), v.Bytes())
	case f.Kind() == protoreflect.BytesKind:
		fmt.Fprintf(out, "%s%s: %x\n", indent, f.Name(), v.Bytes())
	case f.Name() == "mode":
		fmt.Fprintf(out, "%s%s: %#o\n", indent, f.Name(), v.Uint())
	default:
		fmt.Fprintf(out, "%s%s: %v\n", indent, f.Name(), v)
	}
}

func wantEqual(t testing.TB, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// wantSameBody fails unless the bodies are the same bytes. What zstd makes of them
// may differ between versions of the library.
func wantSameBody(t testing.TB, got, want []byte) {
	t.Helper()
	_, a := body(t, got)
	_, b := body(t, want)
	if !bytes.Equal(a, b) {
		t.Errorf("the body is encoded as\n%x\nthe golden is\n%x", a, b)
	}
}

func TestGoldenHead(t *testing.T) {
	for name, want := range map[string]Head{"head": goldenHead(), "head_first": goldenHeadFirst(), "head_channels": goldenHeadChannels()} {
		t.Run(name, func(t *testing.T) {
			encoded, err := EncodeHead(want)
			if err != nil {
				t.Fatal(err)
			}
			stored := golden(t, name, &wirepb.Head{}, func() []byte { return encoded })
			got, err := DecodeHead(stored)
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, got, want)
			// Compare-and-swap compares them in etcd: not one byte may ever change.
			if !bytes.Equal(encoded, stored) {
				t.Errorf("encoded as\n%x\nthe golden is\n%x", encoded, stored)
			}
		})
	}
}

// Commit ids stand in heads and in the records that follow: a golden's never changes.
func TestGoldenRecord(t *testing.T) {
	for name, tt := range map[string]struct {
		want   *Record
		commit string
	}{
		"record_small":    {goldenRecordSmall(), "5e41b604ed0ee9bc08b9c072f803c65cfb1681f0dfa059562259af078e625f36"},
		"record_packs":    {goldenRecordPacks(), "6e62ba29ec3c26dd871ee913948989c3bd4eaf52bd661b58c81ccd08648df891"},
		"record_patches":  {goldenRecordPatches(t), "58224a76cd6a4cc85893e95f07c0228f4e1e878af0e0200bfc193af218171d8d"},
		"record_founding": {goldenRecordFounding(), "e3344f64c9509a9bc2a7a564024b13e937d7d72ccde6cf87c0bcd803054d522d"},
	} {
		t.Run(name, func(t *testing.T) {
			encoded := encodeRecord(t, tt.want)
			stored := golden(t, name, &wirepb.Record{}, func() []byte { return encoded })
			got, err := NewCoder().DecodeRecord(stored)
			if err != nil {
				t.Fatal(err)
			}
			if got.Commit.String() != tt.commit {
				t.Errorf("the golden's commit id is %v, want %s", got.Commit, tt.commit)
			}
			again, err := NewCoder().DecodeRecord(encoded)
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, again, tt.want)
			again.Commit = got.Commit // of the bytes that zstd made
			wantEqual(t, got, again)
			wantSameBody(t, encoded, stored)
		})
	}
}

// The parts' names are hashes of what zstd made, so neither the parts nor the record
// that names them can be compared byte by byte.
func TestGoldenRecordInParts(t *testing.T) {
	encoded, parts := encodeParts(t)
	stored := golden(t, "record_parts", &wirepb.Record{}, func() []byte { return encoded })
	var storedParts [][]byte
	for i := range parts {
		storedParts = append(storedParts, golden(t, fmt.Sprintf("part_%d", i+1), &wirepb.Part{}, func() []byte { return parts[i].Data }))
		wantSameBody(t, parts[i].Data, storedParts[i])
	}
	want := record(manyDirectories()...)
	for _, tt := range []struct {
		name   string
		record []byte
		parts  [][]byte
	}{
		{"golden", stored, storedParts},
		{"encoded now", encoded, [][]byte{parts[0].Data, parts[1].Data}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := NewCoder()
			got, err := c.DecodeRecord(tt.record)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.List.Parts) != len(tt.parts) || len(got.List.Changes) != 0 {
				t.Fatalf("%d parts and %d changes", len(got.List.Parts), len(got.List.Changes))
			}
			for i, ref := range got.List.Parts {
				if err := c.AddPart(&got.List, ref, tt.parts[i]); err != nil {
					t.Fatal(err)
				}
			}
			wantEqual(t, got.List.Changes, want.List.Changes)
			got.List, got.Commit = want.List, want.Commit
			wantEqual(t, got, want)
		})
	}
}

func TestGoldenKeyframe(t *testing.T) {
	want := goldenKeyframe()
	encoded := encodeKeyframe(t, want)
	stored := golden(t, "keyframe", &wirepb.Keyframe{}, func() []byte { return encoded })
	got, err := NewCoder().DecodeKeyframe(KeyframeRef{Generation: 42, Pack: PackRef{Hash: diff.Sum(stored)}}, stored)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, got, want)
	wantSameBody(t, encoded, stored)
}

// A pack's bytes are zstd's alone: decoded here; round trips are in pack_test.go.
func TestGoldenPack(t *testing.T) {
	stored := golden(t, "pack", nil, func() []byte { return encodePack(t, goldenContents()...) })
	want := strings.Join(goldenContents(), "")
	ref := PackRef{Hash: diff.Sum(stored), Size: int64(len(want))}
	got, err := NewCoder().DecodePack(ref, stored)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, string(got), want)
}

// What was made of a base once must be made of it for ever.
func TestGoldenPatch(t *testing.T) {
	frame := goldenFrame(t)
	got, err := DecodePatch([]byte(goldenBase()), frame, int64(len(goldenResult())))
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, string(got), goldenResult())
}
