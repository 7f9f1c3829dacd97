package codec

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// sizes of files, as names of benchmarks tell them.
var sizes = []struct {
	name  string
	bytes int
}{{"2KB", 2 << 10}, {"10KB", 10 << 10}, {"60KB", 60 << 10}, {"1MB", 1 << 20}, {"8MB", 8 << 20}}

// vhosts returns contents that are alike, and what they have in all.
func vhosts(n int) (contents [][]byte, size int64) {
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range n {
		c := fmt.Appendf(settings(rng, 1500), "server %d { listen %d; }\n# %x\n", i, rng.Uint32(), noise(rng, 200, 0.5))
		contents, size = append(contents, c), size+int64(len(c))
	}
	return contents, size
}

// packed lays contents into packs, and returns a founding's changes.
func packed(t testing.TB, contents [][]byte) (packs []Pack, changes []Change) {
	t.Helper()
	p := NewPacker(func(p Pack) error {
		packs = append(packs, p)
		return nil
	})
	var spots []Spot
	for _, c := range contents {
		s, err := p.Add(c)
		if err != nil {
			t.Fatal(err)
		}
		spots = append(spots, s)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for i, c := range contents {
		changes = append(changes, Change{Path: fmt.Sprintf("vhosts-%05d.conf", i), New: textFile(string(c)), Content: p.Content(spots[i])})
	}
	return packs, changes
}

func BenchmarkRecord(b *testing.B) {
	base, result, frame := patch(b, 2<<10)
	small := record(Change{
		Path: "etc/nginx/a.conf", New: textFile(string(result)),
		Content: Content{Patch: &Patch{Base: diff.Sum(base), Frame: frame, Size: int64(len(frame))}},
	})
	var many []Change
	for i := range 1000 {
		many = append(many, whole(fmt.Sprintf("a-%03d.conf", i), fmt.Sprint(i)))
	}
	for _, of := range []struct {
		name   string
		record *Record
	}{{"changes=1", small}, {"changes=1000", record(many...)}} {
		c := NewCoder()
		stored, err := c.EncodeRecord(of.record, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("encode/"+of.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(stored)))
			for b.Loop() {
				if _, err := c.EncodeRecord(of.record, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("decode/"+of.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(stored)))
			for b.Loop() {
				if _, err := c.DecodeRecord(stored); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkKeyframe(b *testing.B) {
	const files = 10_000
	contents, _ := vhosts(files)
	_, changes := packed(b, contents)
	c := NewCoder()
	k := &Keyframe{Position: diff.Position{Tenant: goldenTenant(), Generation: 7}, List: List{Changes: changes}}
	var stored []Pack
	ref, err := c.EncodeKeyframe(k, func(p Pack) error {
		stored = append(stored, p)
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	size := 0
	for _, p := range stored {
		size += len(p.Data)
	}
	b.Run(fmt.Sprintf("encode/files=%d", files), func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(size))
		for b.Loop() {
			if _, err := c.EncodeKeyframe(k, func(Pack) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run(fmt.Sprintf("decode/files=%d", files), func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(size))
		for b.Loop() {
			k, err := c.DecodeKeyframe(ref, stored[len(stored)-1].Data)
			for i := 0; err == nil && i < len(stored)-1; i++ {
				err = c.AddPart(&k.List, stored[i].Ref, stored[i].Data)
			}
			if err != nil || len(k.List.Changes) != files {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPack(b *testing.B) {
	const files = 2000
	contents, size := vhosts(files)
	packs, _ := packed(b, contents)
	b.Run(fmt.Sprintf("encode/files=%d", files), func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(size)
		for b.Loop() {
			p := NewPacker(func(Pack) error { return nil })
			for _, c := range contents {
				if _, err := p.Add(c); err != nil {
					b.Fatal(err)
				}
			}
			if err := p.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run(fmt.Sprintf("decode/files=%d", files), func(b *testing.B) {
		c := NewCoder()
		b.ReportAllocs()
		b.SetBytes(size)
		for b.Loop() {
			for _, p := range packs {
				if _, err := c.DecodePack(p.Ref, p.Data); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

func BenchmarkPatch(b *testing.B) {
	for _, size := range sizes {
		base, result, frame := patch(b, size.bytes)
		b.Run("encode/size="+size.name, func(b *testing.B) {
			c := NewCoder()
			b.ReportAllocs()
			b.SetBytes(int64(len(result)))
			for b.Loop() {
				c.EncodePatch(base, result)
			}
			b.ReportMetric(float64(len(frame)), "frame-bytes")
		})
		b.Run("decode/size="+size.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(result)))
			for b.Loop() {
				if _, err := DecodePatch(base, frame, int64(len(result))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What is done for each commit sets the same aside however large the contents are, but for
// the contents themselves.
func TestAllocationsOfOneChange(t *testing.T) {
	c := NewCoder()
	for _, size := range []int{2 << 10, 50 << 10} {
		base, result, frame := patch(t, size)
		stored, err := c.EncodeRecord(record(Change{
			Path: "etc/nginx/a.conf", New: textFile(string(result)),
			Content: Content{Patch: &Patch{Base: diff.Sum(base), Frame: frame, Size: int64(len(frame))}},
		}), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, of := range []struct {
			what string
			most float64
			do   func()
		}{
			{"EncodePatch", 6, func() { c.EncodePatch(base, result) }},
			{"DecodePatch", 14, func() { _, err = DecodePatch(base, frame, int64(len(result))) }},
			{"DecodeRecord", 30, func() { _, err = c.DecodeRecord(stored) }},
		} {
			if got := testing.AllocsPerRun(100, of.do); got > of.most || err != nil {
				t.Errorf("%s: %v allocations for %d bytes, at most %v are expected: %v", of.what, got, size, of.most, err)
			}
		}
	}
}

// A patch is the same, whatever was patched before.
func TestPatchOfAnEncoderThatIsKept(t *testing.T) {
	kept := NewCoder()
	for i := range 10 {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		base := settings(rng, 200+rng.IntN(60<<10))
		result := edited(base, fmt.Sprint("keepalive = ", i))
		got, ok := kept.EncodePatch(base, result)
		want, _ := NewCoder().EncodePatch(base, result)
		if !ok || !bytes.Equal(got, want) {
			t.Fatalf("patch %d has %d bytes, by another encoder %d", i, len(got), len(want))
		}
		if back, err := DecodePatch(base, got, int64(len(result))); err != nil || !bytes.Equal(back, result) {
			t.Fatalf("patch %d makes something else: %v", i, err)
		}
	}
}
