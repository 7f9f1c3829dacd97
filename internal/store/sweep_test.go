//go:build !lean

package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/store"
)

// lastFew keeps only so many generations, and no pack for being young.
func lastFew(generations uint64) store.Retention { return store.Retention{Generations: generations} }

// mark marks what is not kept.
func (p *past) mark(keep store.Retention) *store.Garbage {
	p.Helper()
	g, err := p.store.NewSweeper(keep).Mark(p.Context(), p.view())
	if err != nil {
		p.Fatal(err)
	}
	return g
}

// remove removes all that was marked.
func (p *past) removeAll(g *store.Garbage) (went store.Count) {
	p.Helper()
	for !g.Empty() {
		n, err := g.Remove(p.Context(), p.store, p.view())
		if err != nil {
			p.Fatal(err)
		}
		went = went.Add(n)
	}
	return went
}

// right fails unless all that is in etcd is right, and returns what was checked.
func (p *past) right() store.Checked {
	p.Helper()
	var told []string
	checked, err := p.store.Verify(p.Context(), p.view(), store.VerifyOptions{
		Wrong:    func(err error) { told = append(told, err.Error()) },
		Progress: func(string, int, int) {},
	})
	if err != nil || len(told) > 0 {
		p.Fatalf("%v; wrong:\n%s", err, strings.Join(told, "\n"))
	}
	return checked
}

// readable fails unless all generations from one on can be read, and their contents.
func (p *past) readable(from uint64) {
	p.Helper()
	for g := range p.trees {
		if g < from || g == 0 {
			continue
		}
		v, err := p.store.At(p.Context(), p.view(), g)
		if err != nil {
			p.Fatalf("generation %d: %v", g, err)
		}
		if v.Tree.Digest() != p.trees[g].Digest() {
			p.Fatalf("generation %d is another tree", g)
		}
		p.whole(v)
	}
}

func (p *past) keys(prefix string) int64 {
	p.Helper()
	resp, err := p.raw.Get(p.Context(), "/confsyncd/prod/"+prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		p.Fatal(err)
	}
	return resp.Count
}

func TestSweepKeepsWhatRetentionSaysAndWhatThatRestsOn(t *testing.T) {
	// Generations 5 to 19 rest on the keyframe of 4, 21 to 40 on that of 20, 51 to 53 on the
	// founding 50.
	tests := []struct {
		name   string
		keep   store.Retention
		head   func(*codec.Head)
		oldest uint64
		why    string
	}{
		{"the newest generation alone", lastFew(1), nil, 50, "retain_generations"},
		{"as many as there are", lastFew(53), nil, 1, "retain_generations"},
		{"more than there are", lastFew(1000), nil, 1, "retain_generations"},
		{"from a generation that was lost in a rewind on", lastFew(8), nil, 50, "retain_generations"},
		{"back to before a founding", lastFew(14), nil, 20, "retain_generations"},
		{"back to the generation of a keyframe, which it does not name itself", lastFew(34), nil, 4, "retain_generations"},
		{"back to the first after it", lastFew(33), nil, 20, "retain_generations"},
		{"whatever is young", store.Retention{Generations: 1, Age: 100 * 365 * 24 * time.Hour}, nil, 1, "retain_age"},
		{"a channel that lags", lastFew(1), func(h *codec.Head) {
			h.Channels = []codec.Channel{{Name: "main", Generation: 53, Commit: h.Position.Commit}, {Name: "stable", Generation: 25}}
		}, 20, "channel stable"},
		{"a rollout", lastFew(1), func(h *codec.Head) {
			h.Ahead = &codec.Ahead{Channel: "main", Generation: 10}
		}, 4, "the rollout of channel main"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPast(t)
			if tt.head != nil {
				h := p.view().Head.Head
				tt.head(&h)
				for i := range h.Channels {
					h.Channels[i].Commit = p.commitOf(h.Channels[i].Generation)
				}
				if h.Ahead != nil {
					h.Ahead.Commit = p.commitOf(h.Ahead.Generation)
				}
				p.putHead(h)
			}
			g := p.mark(tt.keep)
			if g.Oldest != tt.oldest || g.Why != tt.why {
				t.Fatalf("generation %d is kept for %s, want %d for %s", g.Oldest, g.Why, tt.oldest, tt.why)
			}
			found := g.Found
			if went := p.removeAll(g); went != found {
				t.Errorf("%+v went, %+v were found", went, found)
			}
			p.readable(tt.oldest)
			checked := p.right()
			if checked.Old != 0 || len(checked.Orphans) > 0 {
				t.Errorf("left: %+v", checked)
			}
			if want := int64(53 - 9); tt.oldest == 1 && p.keys("pub/log/") != want {
				t.Errorf("%d records are left, want %d", p.keys("pub/log/"), want)
			}
			if again := p.mark(tt.keep); !again.Empty() || again.Oldest != tt.oldest {
				t.Errorf("once more: %+v", again.Found)
			}
		})
	}
}

func (p *past) commitOf(generation uint64) (commit [32]byte) {
	p.Helper()
	r, err := codec.NewCoder().DecodeRecord(p.get(logKey(generation)))
	if err != nil {
		p.Fatal(err)
	}
	return r.Commit
}

func TestHistoryEndsWhereASweepHasBeen(t *testing.T) {
	p := newPast(t)
	lagging := p.haves[2]
	g := p.mark(lastFew(14))
	for !g.Empty() { // also while one is under way
		if _, err := g.Remove(t.Context(), p.store, p.view()); err != nil {
			t.Fatal(err)
		}
		next := uint64(53)
		for c, err := range p.store.Commits(t.Context(), p.view(), 1, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if next == 49 {
				next = 40
			}
			if c.Record.Generation != next {
				t.Fatalf("generation %d where %d belongs", c.Record.Generation, next)
			}
			next--
		}
		if next != 20 {
			t.Errorf("the history ends above generation %d, want 20", next)
		}
		if v, err := p.store.Resolve(t.Context(), lagging, p.view()); err != nil || v.Tree.Digest() != p.trees[53].Digest() {
			t.Errorf("who lags behind what is kept: %v", err)
		}
		if held, err := p.store.Holds(t.Context(), p.view(), lagging.Position); err != nil || !held {
			t.Errorf("what was removed for its age does not count as held: %v", err)
		}
	}
	if _, err := p.store.At(t.Context(), p.view(), 10); !errors.Is(err, store.ErrGone) || !strings.Contains(err.Error(), "generations 20 to 53 are there") {
		t.Errorf("a generation that was removed: %v", err)
	}
}

func TestKeyframeOfWhatHasCommitsOnTopIsFoundOnceTheOlderOneIsGone(t *testing.T) {
	p := newPast(t)
	k, err := p.store.StageKeyframe(t.Context(), p.view(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 { // they name no keyframe, or the older one
		p.commitOn(map[string]string{"a": fmt.Sprint("while it is staged ", i)}, false)
	}
	if p.head, err = p.store.PublishKeyframe(t.Context(), p.head, k); err != nil {
		t.Fatal(err)
	}
	p.commitOn(map[string]string{"a": "on top of it"}, true)
	p.removeAll(p.mark(lastFew(1)))
	p.readable(53)
	p.right()
	if _, err := p.store.At(t.Context(), p.view(), 52); !errors.Is(err, store.ErrGone) {
		t.Errorf("generation 52: %v", err)
	}
	if v, err := p.store.Resolve(t.Context(), store.Have{}, p.view()); err != nil || v.Tree.Digest() != p.tree.Digest() {
		t.Errorf("the head: %v", err)
	}
}

// stage stages packs of several MiB without committing them.
func (p *past) stage(ctx context.Context, files map[string]string) (*store.Draft, []codec.Change) {
	p.Helper()
	d := p.store.NewDraft(ctx, p.head)
	packer := codec.NewPacker(d.Stage)
	var changes []codec.Change
	var spots []codec.Spot
	for path, content := range files {
		spot, err := packer.Add([]byte(content))
		if err != nil {
			p.Fatal(err)
		}
		p.contents[file(content).Hash] = []byte(content)
		changes, spots = append(changes, codec.Change{Path: path, New: file(content)}), append(spots, spot)
	}
	if err := packer.Close(); err != nil {
		p.Fatal(err)
	}
	for i := range changes {
		changes[i].Content = packer.Content(spots[i])
	}
	p.settled(d)
	return d, changes
}

// settled waits until what a draft has sent so far is in etcd.
func (p *past) settled(d *store.Draft) {
	p.Helper()
	for before := p.keys("pub/packs/"); ; {
		time.Sleep(20 * time.Millisecond)
		now := p.keys("pub/packs/")
		if now == before && d.Staged() > 0 {
			return
		}
		before = now
	}
}

// commitDraft commits what was staged.
func (p *past) commitDraft(d *store.Draft, changes []codec.Change) error {
	p.Helper()
	slices.SortFunc(changes, func(a, b codec.Change) int { return strings.Compare(a.Path, b.Path) })
	l := codec.List{Changes: changes}
	tree, err := p.tree.With(l.Diff())
	if err != nil {
		p.Fatal(err)
	}
	head, err := d.Commit(p.Context(), &codec.Record{
		Tenant: p.tenant, Generation: p.head.Position.Generation + 1, Parent: p.head.Position.Commit, Time: time.Unix(0, 1),
		Publisher: "p", Instance: "i", Keyframe: p.head.Keyframe, Digest: tree.Digest(), List: l,
	})
	if err == nil {
		p.head, p.tree, p.trees[head.Position.Generation] = head, tree, tree
	}
	return err
}

func TestCommitOfWhatASweepRemovedMeanwhileIsNotMade(t *testing.T) {
	p := newPast(t)
	files := manyFiles(3000, 1000, 8)
	d, changes := p.stage(t.Context(), files)
	g := p.mark(lastFew(1000))
	if g.Found.Packs == 0 {
		t.Fatal("nothing was staged")
	}
	if _, err := g.Remove(t.Context(), p.store, p.view()); err != nil {
		t.Fatal(err)
	}
	if err := p.commitDraft(d, changes); !errors.Is(err, store.ErrLostRace) {
		t.Fatalf("commit: %v", err)
	}
	p.right()
	d, changes = p.stage(t.Context(), files)
	if err := p.commitDraft(d, changes); err != nil {
		t.Fatalf("the same anew: %v", err)
	}
	p.right()
	p.readable(1)
}

func TestCommitOfOldPacksThatASweepRemovedMeanwhileIsNotMade(t *testing.T) {
	p := newPast(t)
	d := p.store.NewDraft(t.Context(), p.head)
	if err := d.Reuse(t.Context()); err != nil {
		t.Fatal(err)
	}
	old, err := p.store.At(t.Context(), p.view(), 4)
	if err != nil {
		t.Fatal(err)
	}
	e, _ := old.Tree.Get("a")
	change := codec.Change{Path: "a", New: e, Content: old.Place(e.Hash)}
	if len(change.Content.Packs) == 0 {
		t.Fatal("it lies in no pack")
	}
	p.removeAll(p.mark(lastFew(1)))
	if err := p.commitDraft(d, []codec.Change{change}); !errors.Is(err, store.ErrLostRace) {
		t.Errorf("commit: %v", err)
	}
	p.right()
}

func TestKeyframeOfPacksThatASweepRemovedMeanwhileIsNotMade(t *testing.T) {
	p := newPast(t)
	k, err := p.store.StageKeyframe(t.Context(), p.view(), nil)
	if err != nil {
		t.Fatal(err)
	}
	p.removeAll(p.mark(lastFew(1)))
	if _, err := p.store.PublishKeyframe(t.Context(), p.head, k); !errors.Is(err, store.ErrLostRace) {
		t.Errorf("publish: %v", err)
	}
	p.right()
}

func TestSweepOfWhatIsOldSparesWhatIsStaged(t *testing.T) {
	p := newPast(t)
	p.abandon("first")
	p.removeAll(p.mark(lastFew(1000))) // From now on the fence tells how old what went was.
	orphan := p.abandon("old")
	p.commitOn(map[string]string{"a": "now"}, false)
	sweep := p.mark(lastFew(1)) // it does not know of what is staged later
	d, changes := p.stage(t.Context(), manyFiles(3000, 1000, 8))
	p.removeAll(sweep)
	if p.has(orphan) {
		t.Error("the old orphan is still there")
	}
	if err := p.commitDraft(d, changes); err != nil {
		t.Fatalf("commit: %v", err)
	}
	p.right()
}

// abandon stages a pack that nothing will name, and returns its key.
func (p *past) abandon(content string) string {
	p.Helper()
	var key string
	packer := codec.NewPacker(func(pack codec.Pack) error {
		key = "/confsyncd/prod/pub/packs/" + pack.Ref.Hash.String()
		p.put(key, pack.Data)
		return nil
	})
	if _, err := packer.Add([]byte(content)); err != nil {
		p.Fatal(err)
	}
	if err := packer.Close(); err != nil {
		p.Fatal(err)
	}
	return key
}

func (p *past) has(key string) bool {
	p.Helper()
	resp, err := p.raw.Get(p.Context(), key, clientv3.WithCountOnly())
	if err != nil {
		p.Fatal(err)
	}
	return resp.Count > 0
}

func TestSweepLeavesAloneWhatWasPutAgain(t *testing.T) {
	p := newPast(t)
	key := p.abandon("twice")
	g := p.mark(lastFew(1000))
	if g.Found.Packs != 1 {
		t.Fatalf("found %+v", g.Found)
	}
	p.abandon("twice")
	if _, err := g.Remove(t.Context(), p.store, p.view()); !errors.Is(err, store.ErrLostRace) {
		t.Fatalf("remove: %v", err)
	}
	if !g.Empty() || !p.has(key) {
		t.Error("it is to be removed all the same")
	}
}

func TestSweepLeavesAloneWhatACommitHasNamedMeanwhile(t *testing.T) {
	p := newPast(t)
	p.abandon("named soon")
	other := p.abandon("never named")
	g := p.mark(lastFew(1000))
	stale := p.view()
	p.commitOn(map[string]string{"a": "named soon"}, true)
	if _, err := g.Remove(t.Context(), p.store, stale); !errors.Is(err, store.ErrLostRace) {
		t.Fatalf("with the head of before: %v", err)
	}
	if went := p.removeAll(g); went.Packs != 1 || p.has(other) {
		t.Errorf("%+v went", went)
	}
	p.right()
	p.readable(1)
}

func TestSweepEndsWhenAChannelIsPointedToWhatItRemoves(t *testing.T) {
	p := newPast(t)
	g := p.mark(lastFew(1))
	h := p.view().Head.Head
	h.Channels = []codec.Channel{{Name: "main", Generation: 53, Commit: h.Position.Commit}, {Name: "stable", Generation: 21, Commit: p.commitOf(21)}}
	p.putHead(h)
	if _, err := g.Remove(t.Context(), p.store, p.view()); !errors.Is(err, store.ErrLostRace) {
		t.Fatalf("remove: %v", err)
	}
	p.removeAll(p.mark(lastFew(1)))
	p.readable(20)
	p.right()
}

func TestYoungPacksAreLeftAlone(t *testing.T) {
	p := newPast(t)
	old := p.abandon("old")
	p.commitAt(time.Now().Add(-2*time.Hour), map[string]string{"a": "two hours ago"})
	young := p.abandon("young")
	p.commitAt(time.Now(), map[string]string{"a": "now"})
	g := p.mark(store.Retention{Generations: 1000, Young: time.Hour})
	if g.Found.Packs != 1 || g.Young != 1 {
		t.Errorf("found %+v and %d young ones", g.Found, g.Young)
	}
	p.removeAll(g)
	if p.has(old) || !p.has(young) {
		t.Error("the wrong one went")
	}
}

// commitAt makes a commit with that time.
func (p *past) commitAt(at time.Time, files map[string]string) {
	p.Helper()
	p.time = at
	p.commitOn(files, false)
}

func TestTwoSweepersDoNotDisturbEachOther(t *testing.T) {
	p := newPast(t)
	a, b := p.mark(lastFew(14)), p.mark(lastFew(1))
	for i := 0; !a.Empty() || !b.Empty(); i++ {
		g := a
		if i%2 == 1 {
			g = b
		}
		if _, err := g.Remove(t.Context(), p.store, p.view()); err != nil && !errors.Is(err, store.ErrLostRace) {
			t.Fatal(err)
		}
	}
	p.readable(50)
	p.right()
	if g := p.mark(lastFew(1)); !g.Empty() {
		t.Errorf("left: %+v", g.Found)
	}
}

func TestNothingIsSweptOfADamagedHistory(t *testing.T) {
	tests := []struct {
		name   string
		damage func(p *past)
	}{
		{"a record of garbage", func(p *past) { p.put(logKey(52), []byte("garbage")) }},
		{"a record missing", func(p *past) { p.remove(logKey(52)) }},
		{"a keyframe missing", func(p *past) {
			p.keyframe()
			p.remove("/confsyncd/prod/pub/packs/" + p.head.Keyframe.Pack.Hash.String())
		}},
		{"a head of garbage", func(p *past) { p.put("/confsyncd/prod/pub/head", []byte("garbage")) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPast(t)
			tt.damage(p)
			g, err := p.store.NewSweeper(lastFew(1)).Mark(t.Context(), p.view())
			if !errors.Is(err, store.ErrDamaged) && !errors.Is(err, store.ErrGone) {
				t.Errorf("%+v, %v", g, err)
			}
		})
	}
}

func TestSweepOfALeaderEndsWithItsSeat(t *testing.T) {
	p := newPast(t)
	seat, err := p.store.Stand(t.Context(), codec.Candidate{Publisher: "p"}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	g := p.mark(lastFew(1))
	led := p.store.LedBy(seat.Seat())
	if _, err := g.Remove(t.Context(), led, p.view()); err != nil {
		t.Fatal(err)
	}
	if err := seat.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Remove(t.Context(), led, p.view()); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("without its seat: %v", err)
	}
}
