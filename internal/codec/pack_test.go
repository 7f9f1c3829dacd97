package codec

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// shelf holds packs as etcd does: by hash, so that identical ones are there once.
type shelf struct {
	testing.TB
	coder *Coder
	packs map[diff.Hash][]byte
	count int // packs that were emitted

	last  PackRef // the pack that was read last
	plain []byte
}

func newShelf(t testing.TB) *shelf {
	return &shelf{TB: t, coder: NewCoder(), packs: make(map[diff.Hash][]byte)}
}

// put is what a Packer emits to. It checks the limits.
func (s *shelf) put(p Pack) error {
	if len(p.Data) > MaxPack || p.Ref.Size > MaxPackContent || p.Ref.Size == 0 {
		s.Errorf("a pack of %d bytes stored and %d decompressed", len(p.Data), p.Ref.Size)
	}
	s.packs[p.Ref.Hash] = p.Data
	s.count++
	return nil
}

// read returns a content of size bytes from its place.
func (s *shelf) read(c Content, size int) []byte {
	s.Helper()
	if size == 0 && !c.IsZero() {
		s.Fatalf("an empty content lies at %+v", c)
	}
	var got []byte
	for i, ref := range c.Packs {
		if s.last != ref {
			var err error
			if s.plain, err = s.coder.DecodePack(ref, s.packs[ref.Hash]); err != nil {
				s.Fatal(err)
			}
			s.last = ref
		}
		plain := s.plain
		if i == 0 {
			plain = plain[c.Offset:]
		}
		got = append(got, plain[:min(len(plain), size-len(got))]...)
	}
	return got
}

// roundTrip packs contents and reads each back.
func (s *shelf) roundTrip(contents [][]byte) {
	s.Helper()
	p := NewPacker(s.put)
	spots := make([]Spot, len(contents))
	for i, c := range contents {
		var err error
		if spots[i], err = p.Add(c); err != nil {
			s.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		s.Fatal(err)
	}
	list := List{Changes: make([]Change, len(contents))}
	for i, c := range contents {
		list.Changes[i] = Change{Path: fmt.Sprintf("%06d", i), New: textFile(string(c)), Content: p.Content(spots[i])}
	}
	// The record's own rules of places must accept what the Packer makes.
	b := encodeRecord(s, record(list.Changes...))
	r, err := s.coder.DecodeRecord(b)
	if err != nil {
		s.Fatal(err)
	}
	if len(r.List.Parts) == 0 {
		list = r.List
	}
	for i, c := range contents {
		if !bytes.Equal(s.read(list.Changes[i].Content, len(c)), c) {
			s.Fatalf("content %d of %d bytes is not what was added", i, len(c))
		}
	}
}

// noise returns bytes of which a share are random: at 0 they compress to nothing, at
// 1 not at all.
func noise(r *rand.Rand, size int, share float64) []byte {
	b := make([]byte, size)
	for i := 0; i < len(b); {
		run := min(1+r.IntN(2000), len(b)-i)
		if r.Float64() < share {
			for j := range run {
				b[i+j] = byte(r.Uint32())
			}
		}
		i += run
	}
	return b
}

func TestPacksStayWithinTheirLimits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	tests := []struct {
		name     string
		contents func() [][]byte
		most     int // packs
	}{
		{"nothing", func() [][]byte { return nil }, 0},
		{"empty contents", func() [][]byte { return [][]byte{{}, {}} }, 0},
		{"empty contents beside others", func() [][]byte { return [][]byte{{}, []byte("a"), {}, []byte("b"), {}} }, 1},
		{"3 MB that cannot be compressed", func() [][]byte { return [][]byte{noise(r, 3<<20, 1)} }, 7},
		{"40 MB of zeros", func() [][]byte { return [][]byte{make([]byte, 40<<20)} }, 5},
		{"10,000 small files", func() [][]byte {
			contents := make([][]byte, 10_000)
			for i := range contents {
				contents[i] = fmt.Appendf(nil, "server %d { listen %d; }\n%x", i, r.Uint32(), noise(r, 200, 0.5))
			}
			return contents
		}, 10},
		{"noise up to each limit", func() [][]byte {
			var contents [][]byte
			for _, limit := range []int{piece, block, MaxPack} {
				for d := -2; d <= 2; d++ {
					contents = append(contents, noise(r, limit+d, 1), noise(r, limit-64+d, 1))
				}
			}
			return contents
		}, 30},
		{"zeros up to the limit", func() [][]byte {
			return [][]byte{make([]byte, MaxPackContent-1), {1}, {2}, make([]byte, MaxPackContent), {3}, make([]byte, MaxPackContent+1)}
		}, 4},
		{"noise after zeros", func() [][]byte {
			return [][]byte{make([]byte, MaxPackContent-MaxPack/2), noise(r, MaxPack, 1), make([]byte, MaxPack)}
		}, 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newShelf(t)
			s.roundTrip(tt.contents())
			if s.count > tt.most {
				t.Errorf("%d packs, want %d at most", s.count, tt.most)
			}
		})
	}
}

func TestPacksOfRandomContents(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 7))
		var contents [][]byte
		for left := 3 << 20; left > 0; {
			size := r.IntN(1 << (1 + r.IntN(21)))
			if r.IntN(3) == 0 { // around what is gathered, or written at a time
				size = max(0, (piece<<r.IntN(6))+r.IntN(3)-1)
			}
			contents = append(contents, noise(r, size, r.Float64()*r.Float64()))
			left -= size
		}
		newShelf(t).roundTrip(contents)
	}
}

func TestIdenticalPacksAreNamedAsOftenAsTheyFollow(t *testing.T) {
	s := newShelf(t)
	s.roundTrip([][]byte{make([]byte, 3*MaxPackContent)})
	if s.count != 3 || len(s.packs) != 1 {
		t.Errorf("%d packs, of which %d differ, want 3 and 1", s.count, len(s.packs))
	}
}

func TestPackerReturnsTheErrorOfItsTaker(t *testing.T) {
	want := errors.New("full")
	p := NewPacker(func(Pack) error { return want })
	_, err := p.Add(noise(rand.New(rand.NewPCG(1, 1)), 2*MaxPack, 1))
	if !errors.Is(err, want) {
		t.Errorf("Add returns %v", err)
	}
	p = NewPacker(func(Pack) error { return want })
	if _, err := p.Add([]byte("x")); err != nil {
		t.Error(err)
	}
	if err := p.Close(); !errors.Is(err, want) {
		t.Errorf("Close returns %v", err)
	}
}

func TestPackIsRefused(t *testing.T) {
	stored := encodePack(t, goldenContents()...)
	_, plain := body(t, stored)
	ref := PackRef{Hash: diff.Sum(stored), Size: int64(len(plain))}
	for name, ref := range map[string]PackRef{
		"when it has another hash": {Hash: numbered(1), Size: ref.Size},
		"when it holds more":       {Hash: ref.Hash, Size: ref.Size - 1},
		"when it holds less":       {Hash: ref.Hash, Size: ref.Size + 1},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewCoder().DecodePack(ref, stored); !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v", err)
			}
		})
	}
}
