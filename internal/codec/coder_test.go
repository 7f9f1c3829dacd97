package codec

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"weak"

	"github.com/confsyncd/confsyncd/internal/diff"
)

func TestOneCoderServesManyGoroutines(t *testing.T) {
	c := NewCoder()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for range 20 {
				want := record(whole("a", string(noise(r, 3000, 0.3))))
				b, err := c.EncodeRecord(want, nil)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := c.DecodeRecord(b)
				if err != nil {
					t.Error(err)
					return
				}
				wantEqual(t, got, want)
				plain := noise(r, 100_000, 0.1)
				stage, packs := collect()
				p := NewPacker(stage)
				if _, err := p.Add(plain); err != nil {
					t.Error(err)
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
				read, err := c.DecodePack((*packs)[0].Ref, (*packs)[0].Data)
				if err != nil || !bytes.Equal(read, plain) {
					t.Errorf("another pack came back: %v", err)
				}
				// Damage in between leaves nothing behind.
				cut := (*packs)[0].Data[:50]
				if _, err := c.DecodePack(PackRef{Hash: diff.Sum(cut), Size: int64(len(plain))}, cut); err == nil {
					t.Error("a cut pack is taken")
				}
			}
		})
	}
	wg.Wait()
}

func TestCommitIDFollowsTheRecord(t *testing.T) {
	seen := make(map[diff.Hash]int)
	for i, alter := range []func(*Record){
		func(*Record) {},
		func(r *Record) { r.Tenant[0]++ },
		func(r *Record) { r.Generation++ },
		func(r *Record) { r.Parent[0]++ },
		func(r *Record) { r.Time = r.Time.Add(1) },
		func(r *Record) { r.Publisher = "" },
		func(r *Record) { r.Instance = "" },
		func(r *Record) { r.Message = "" },
		func(r *Record) { r.Digest[0]++ },
		func(r *Record) { r.Keyframe.Generation-- },
		func(r *Record) { r.List.Changes[0].New.Mode = 0 },
	} {
		r := goldenRecordSmall()
		alter(r)
		b := encodeRecord(t, r)
		if other, ok := seen[r.Commit]; ok {
			t.Errorf("records %d and %d have one commit id", other, i)
		}
		seen[r.Commit] = i
		if got, err := NewCoder().DecodeRecord(b); err != nil || got.Position() != r.Position() {
			t.Errorf("record %d is read as %v: %v", i, got, err)
		}
	}
}

// An idle host would keep the last pack, whose body does not compress.
func TestDecodingHoldsNoLargeBody(t *testing.T) {
	c := NewCoder()
	content := make([]byte, 400<<10)
	if _, err := rand.NewChaCha8([32]byte{}).Read(content); err != nil {
		t.Fatal(err)
	}
	var pack Pack
	p := NewPacker(func(made Pack) error {
		pack = made
		return nil
	})
	if _, err := p.Add(content); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DecodePack(pack.Ref, pack.Data); err != nil {
		t.Fatal(err)
	}
	held := weak.Make(&pack.Data[0])
	pack, p = Pack{}, nil
	for range 3 {
		runtime.GC()
	}
	if held.Value() != nil {
		t.Error("the pack is held")
	}
	runtime.KeepAlive(c)
}
