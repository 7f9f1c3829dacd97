//go:build !lean

package store_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/lab"
	"github.com/confsyncd/confsyncd/internal/store"
)

var (
	rivalsFlag = flag.Duration("rivals", 8*time.Second, "how long rivals commit")
	seedFlag   = flag.Uint64("seed", 0, "seed of what rivals do and which faults they meet; 0: a new one")
)

// rival commits and reads as one of several, over a proxy that is not to be trusted.
type rival struct {
	number int
	store  *store.Store
	proxy  *lab.Proxy
	rng    *rand.Rand
	head   *store.Head // that it read or committed last
	record []porcupine.Operation
	acked  []diff.Position
}

func newRival(t *testing.T, number int, endpoint string, seed uint64) *rival {
	p := lab.NewProxy(t, endpoint)
	c := store.NewClient(store.Config{Endpoints: []string{p.Endpoint()}, Prefix: "/confsyncd", Log: hclog.NewNullLogger()})
	t.Cleanup(func() { c.Close() })
	return &rival{number: number, store: c.Tenant("prod"), proxy: p, rng: rand.New(rand.NewPCG(seed, uint64(number)))}
}

func positionOf(h *store.Head) diff.Position {
	if h == nil {
		return diff.Position{}
	}
	return h.Position
}

// note records an operation that was called at a time and has returned now.
func (r *rival) note(began time.Time, call time.Time, in request, out reply) {
	op := porcupine.Operation{ClientId: r.number, Input: in, Output: out, Call: int64(call.Sub(began)), Return: int64(time.Since(began))}
	if out.ending == unknown {
		op.Return = forever
	}
	r.record = append(r.record, op)
}

// read reads the head. One that fails has no effect, and so is not noted.
func (r *rival) read(ctx context.Context, began time.Time) error {
	call := time.Now()
	v, err := r.store.View(ctx)
	if err != nil {
		return err
	}
	if v.Err != nil {
		return v.Err
	}
	r.note(began, call, request{read: true}, reply{seen: positionOf(v.Head)})
	r.head = v.Head
	return nil
}

// commit commits an edit on top of the head that it knows.
func (r *rival) commit(ctx context.Context, began time.Time) error {
	content := fmt.Sprintf("%d %d", r.number, len(r.record))
	list := []codec.Change{{Path: "f", New: file(content), Content: codec.Content{Whole: []byte(content)}}}
	tree, err := diff.Tree{}.With([]diff.Change{{Path: "f", New: file(content)}})
	if err != nil {
		return err
	}
	record := &codec.Record{
		Tenant: diff.TenantID{1}, Generation: 1, Founding: true, Time: time.Now(), Publisher: "p", Instance: fmt.Sprint(r.number),
		Digest: tree.Digest(), List: codec.List{Changes: list},
	}
	if r.head != nil {
		record.Generation, record.Parent, record.Founding = r.head.Position.Generation+1, r.head.Position.Commit, false
	}
	in := request{parent: positionOf(r.head)}
	call := time.Now()
	head, err := r.store.NewDraft(ctx, r.head).Commit(ctx, record)
	in.next = record.Position()
	switch {
	case err == nil && head.Position != in.next:
		return fmt.Errorf("committed %s, and told of %s", short(in.next), short(head.Position))
	case err == nil:
		r.note(began, call, in, reply{})
		r.head, r.acked = head, append(r.acked, in.next)
	case errors.Is(err, store.ErrAmbiguous):
		r.note(began, call, in, reply{ending: unknown})
	case errors.Is(err, store.ErrLostRace):
		r.note(began, call, in, reply{ending: lost})
	default:
		r.note(began, call, in, reply{ending: untouched})
	}
	return nil
}

// run reads and commits until ctx ends. Some calls end early, with what they asked for
// still on its way; some commits are made on a head that is known to be old.
func (r *rival) run(ctx context.Context, began time.Time) error {
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, time.Duration(5+r.rng.IntN(600))*time.Millisecond)
		if r.rng.IntN(3) == 0 {
			_ = r.read(call, began) // What damages the head is found by the last read.
		} else if err := r.commit(call, began); err != nil {
			cancel()
			return err
		} else if r.rng.IntN(4) > 0 {
			_ = r.read(call, began)
		}
		cancel()
		// So that the history stays short enough to be judged.
		pause(ctx, time.Duration(r.rng.IntN(60))*time.Millisecond)
	}
	return nil
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// torment makes one fault of the proxy after another until ctx ends, and heals all.
func (r *rival) torment(ctx context.Context, rng *rand.Rand) {
	p := r.proxy
	wait := func(most int) { pause(ctx, time.Duration(rng.IntN(most))*time.Millisecond) }
	for ctx.Err() == nil {
		wait(200)
		switch rng.IntN(5) {
		case 0:
			p.Do(lab.Harm{DropAnswers: true})
			wait(300)
		case 1:
			p.Cut()
			wait(200)
		case 2:
			p.Do(lab.Harm{HoldRequests: true, HoldAnswers: true})
			wait(300)
		default: // Requests arrive after their sender has asked again, or given up.
			p.Delay()
			wait(100)
			p.Abandon()
			wait(400)
			p.Release()
			wait(50)
		}
		p.Heal()
	}
}

// killings kills etcd a few times until ctx ends, and leaves it running.
func killings(ctx context.Context, t *testing.T, rng *rand.Rand, etcd *lab.Etcd) {
	for ctx.Err() == nil {
		if pause(ctx, time.Second+time.Duration(rng.IntN(2000))*time.Millisecond); ctx.Err() == nil {
			if err := errors.Join(etcd.Kill(), etcd.Start()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Whatever happens between several who commit at once and etcd, what they are told
// agrees with one history; and what is acknowledged is in it.
func TestRivalsSeeOneHistory(t *testing.T) {
	t.Parallel()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("seed %d (repeat with -seed %d)", seed, seed)
	etcd := lab.Embedded(t, t.TempDir())
	var rivals []*rival
	for i := range 4 {
		rivals = append(rivals, newRival(t, i, etcd.Endpoint(), seed))
	}
	ctx, cancel := context.WithTimeout(t.Context(), *rivalsFlag)
	defer cancel()
	began := time.Now()
	var wg sync.WaitGroup
	for _, r := range rivals {
		wg.Go(func() {
			if err := r.run(ctx, began); err != nil {
				t.Error(err)
			}
		})
	}
	for i, r := range rivals {
		wg.Go(func() { r.torment(ctx, rand.New(rand.NewPCG(seed, uint64(100+i)))) })
	}
	killings(ctx, t, rand.New(rand.NewPCG(seed, 99)), etcd) // Here, since it may end the test.
	wg.Wait()

	direct, _ := newFixtureAt(t, etcd.Endpoint())
	last := &rival{number: len(rivals), store: direct.store}
	if err := last.read(t.Context(), began); err != nil {
		t.Fatal(err)
	}
	history, endings := last.record, make(map[ending]int)
	for _, r := range rivals {
		history = append(history, r.record...)
		for _, op := range r.record {
			if !op.Input.(request).read {
				endings[op.Output.(reply).ending]++
			}
		}
	}
	t.Logf("%d operations; commits: %d acknowledged, %d lost, %d not applied, %d unknown; head at %d",
		len(history), endings[done], endings[lost], endings[untouched], endings[unknown], positionOf(last.head).Generation)
	if endings[done] < 10 || endings[unknown] == 0 {
		t.Errorf("the faults leave too little to judge")
	}
	wantLinear(t, history)

	at := inEtcd(t, direct.store)
	for _, r := range rivals {
		for _, p := range r.acked {
			if at[p.Generation] != p {
				t.Errorf("acknowledged %s, and etcd has %s there", short(p), short(at[p.Generation]))
			}
		}
	}
}

// inEtcd returns the positions of the records in etcd, and fails the test unless each is
// the next one's parent and the last one the head's.
func inEtcd(t *testing.T, s *store.Store) map[uint64]diff.Position {
	t.Helper()
	v, err := s.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := make(map[uint64]diff.Position)
	parent := diff.Hash{}
	for g := uint64(1); v.Head != nil && g <= v.Head.Position.Generation; g++ {
		r, _, err := s.Record(t.Context(), v, g)
		if err != nil {
			t.Fatal(err)
		}
		if r.Parent != parent {
			t.Errorf("generation %d follows %v, and %v is there", g, r.Parent, parent)
		}
		at[g], parent = r.Position(), r.Commit
	}
	if v.Head != nil && at[v.Head.Position.Generation] != v.Head.Position {
		t.Errorf("the head is at %s, and the last record at %s", short(v.Head.Position), short(at[v.Head.Position.Generation]))
	}
	return at
}
