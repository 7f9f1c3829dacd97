//go:build !lean

package publisher_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/publisher"
)

// ledger holds every commit that a publisher said it made.
type ledger struct {
	enough func() // called when the publisher changed often enough

	mu      sync.Mutex // guards what follows
	commits []diff.Position
	by      string // who said the last one
	turns   int
}

// of returns what notes the commits of one publisher.
func (l *ledger) of(name string) func(publisher.Commit) {
	return func(c publisher.Commit) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.commits = append(l.commits, c.Position)
		if l.by != name {
			l.by = name
			l.turns++
		}
		if l.turns == 12 {
			l.enough()
		}
	}
}

// Two publishers whose directories differ take the tenant over from each other, again and
// again, while both directories are edited: etcd has one history, and in it every commit
// that either said it made.
func TestPublishersThatFightMakeOneHistory(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64N(1 << 32)
	t.Logf("seed %d", seed)
	endpoint := devetcdtest.Start(t)
	ctx, enough := context.WithTimeout(t.Context(), 2*time.Minute)
	defer enough()
	said := ledger{enough: enough}
	var sides []*place
	for _, name := range []string{"left", "right"} {
		p := newPlaceAt(t, endpoint)
		p.options.Name, p.options.TakeOver, p.options.Committed = name, true, said.of(name)
		p.write("own", name)
		sides = append(sides, p)
	}
	var fight sync.WaitGroup
	for i, p := range sides {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		fight.Go(func() {
			for ctx.Err() == nil {
				p.round(ctx, time.Duration(50+rng.IntN(300))*time.Millisecond)
			}
		})
		fight.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				p.write("edited", fmt.Sprintf("%s %d", p.options.Name, n))
				time.Sleep(7 * time.Millisecond) // The pace of edits; nothing is waited for.
			}
		})
	}
	fight.Wait()
	// Whoever comes last has it all.
	last := sides[0]
	edited, err := os.ReadFile(filepath.Join(last.options.Dir, "edited"))
	if err != nil {
		t.Fatal(err)
	}
	stop := last.run(last.options)
	last.await(map[string]string{"own": "left", "edited": string(edited)})
	stop() // It has said all.

	view, err := last.store.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at, parent := make(map[uint64]diff.Position), diff.Hash{}
	for g := uint64(1); g <= view.Head.Position.Generation; g++ {
		r, _, err := last.store.Record(t.Context(), view, g)
		if err != nil {
			t.Fatal(err)
		}
		if r.Parent != parent || r.Founding != (g == 1) {
			t.Errorf("generation %d follows %v, and %v is there; founding: %v", g, r.Parent, parent, r.Founding)
		}
		at[g], parent = r.Position(), r.Commit
	}
	said.mu.Lock()
	defer said.mu.Unlock()
	t.Logf("%d generations, %d commits said, the publisher changed %d times", len(at), len(said.commits), said.turns)
	seen := make(map[uint64]bool)
	for _, c := range said.commits {
		if at[c.Generation] != c {
			t.Errorf("generation %d was said to be %v, and is %v", c.Generation, c.Commit, at[c.Generation].Commit)
		}
		if seen[c.Generation] {
			t.Errorf("generation %d was committed twice", c.Generation)
		}
		seen[c.Generation] = true
	}
	if said.turns < 12 {
		t.Errorf("the publisher changed %d times only: no fight", said.turns)
	}
}

// round runs the daemon for a while.
func (p *place) round(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	pub, err := publisher.New(p.options)
	if err == nil {
		err = pub.Run(ctx)
	}
	if err != nil {
		p.Error(err)
	}
}
