//go:build !lean

package store_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

var (
	sweepSteps = flag.Int("sweepsteps", 400, "steps of TestSweepsNeverTakeWhatIsNeeded")
	sweepSeed  = flag.Uint64("sweepseed", 0, "what TestSweepsNeverTakeWhatIsNeeded draws from; 0: anything")
)

// sweepModel is a tenant at which publishers, sweepers and agents work at the same time: each
// has come to some point of what it does, and goes on from there when it is drawn, or was
// killed and never does.
type sweepModel struct {
	*past
	rng      *rand.Rand
	sweepers []*store.Sweeper
	haves    []store.Have
	floor    uint64 // the oldest generation that no sweep was told to remove

	drafts    []modelDraft
	keyframes []*store.Keyframe
	garbage   []*store.Garbage
	joining   []store.View

	compacted int64
	made      int // commits that were tried
	count     map[string]int
}

// modelDraft is a commit that is being made.
type modelDraft struct {
	draft   *store.Draft
	base    *store.Head
	changes []codec.Change
	found   bool
}

func newSweepModel(t *testing.T, seed uint64) *sweepModel {
	m := &sweepModel{
		past: &past{damagedEtcd: newDamagedEtcd(t), trees: make(map[uint64]diff.Tree)}, rng: rand.New(rand.NewPCG(seed, 1)),
		count: make(map[string]int),
	}
	for _, generations := range []uint64{1, 3, 10} {
		m.sweepers = append(m.sweepers, m.store.NewSweeper(lastFew(generations)))
	}
	for i, have := range m.damagedEtcd.haves {
		m.trees[uint64(i)] = have.Tree
	}
	m.haves = m.damagedEtcd.haves[1:]
	return m
}

// take draws one of several that are under way, and takes it from them.
func take[T any](rng *rand.Rand, from *[]T) (one T, ok bool) {
	if len(*from) == 0 {
		return one, false
	}
	i := rng.IntN(len(*from))
	one = (*from)[i]
	*from = slices.Delete(*from, i, i+1)
	return one, true
}

// content draws one of a few contents, so that packs come, go and come back.
func (m *sweepModel) content() string {
	return fmt.Sprintf("content %d of some length, so that it is not nothing", m.rng.IntN(40))
}

// begin begins a commit of a few paths; contents lie in the record or in packs, a part of
// which is in etcd already.
func (m *sweepModel) begin() {
	head := m.view().Head
	d := modelDraft{draft: m.store.NewDraft(m.Context(), head), base: head, found: m.rng.IntN(40) == 0}
	files := make(map[string]string)
	for range 1 + m.rng.IntN(4) {
		files[fmt.Sprintf("%c", 'a'+m.rng.IntN(12))] = m.content()
	}
	packed := m.rng.IntN(3) > 0
	for path, content := range files {
		m.contents[file(content).Hash] = []byte(content)
		change := codec.Change{Path: path, New: file(content)}
		if change.Content.Whole = []byte(content); packed {
			change.Content = m.pack(d.draft, content)
		}
		d.changes = append(d.changes, change)
	}
	if m.rng.IntN(3) > 0 {
		d.draft.Send()
	}
	m.hold(d)
}

// hold leaves a commit for later, or makes it at once, so that the history goes on.
func (m *sweepModel) hold(d modelDraft) {
	if m.drafts = append(m.drafts, d); m.rng.IntN(3) == 0 {
		m.end(len(m.drafts) - 1)
	}
}

// endAny ends one of the commits that were begun.
func (m *sweepModel) endAny() {
	if len(m.drafts) > 0 {
		m.end(m.rng.IntN(len(m.drafts)))
	}
}

// pack stages a content in a pack of its own.
func (m *sweepModel) pack(d *store.Draft, content string) codec.Content {
	m.Helper()
	packer := codec.NewPacker(d.Stage)
	spot, err := packer.Add([]byte(content))
	if err == nil {
		err = packer.Close()
	}
	if err != nil {
		m.Fatal(err)
	}
	return packer.Content(spot)
}

// beginRollback begins a commit of an old tree, which names the packs of then.
func (m *sweepModel) beginRollback() {
	head := m.view().Head
	d := modelDraft{draft: m.store.NewDraft(m.Context(), head), base: head}
	if err := d.draft.Reuse(m.Context()); err != nil {
		m.Fatal(err)
	}
	to := m.floor + m.rng.Uint64N(head.Position.Generation-m.floor+1)
	old, err := m.store.At(m.Context(), m.view(), to)
	if err != nil {
		m.Fatalf("roll back to generation %d of %d: %v", to, head.Position.Generation, err)
	}
	for _, c := range diff.Compare(m.trees[head.Position.Generation], old.Tree) {
		change := codec.Change{Path: c.Path, New: c.New}
		if c.New.HasContent() && c.New.Size > 0 {
			change.Content = old.Place(c.New.Hash)
		}
		d.changes = append(d.changes, change)
	}
	m.hold(d)
	m.count["rollbacks"]++
}

// end ends a commit that was begun: it is made only if its head is still the head, and all that
// it names is there.
func (m *sweepModel) end(i int) {
	d := m.drafts[i]
	m.drafts = slices.Delete(m.drafts, i, i+1)
	now := m.view().Head
	r := &codec.Record{
		Tenant: m.tenant, Generation: d.base.Position.Generation + 1, Parent: d.base.Position.Commit, Time: time.Unix(0, 1),
		Publisher: "p", Instance: "i", Keyframe: d.base.Keyframe, Founding: d.found,
	}
	tree := m.trees[d.base.Position.Generation]
	if d.found {
		tree, r.Keyframe = diff.Tree{}, codec.KeyframeRef{}
		d.changes = slices.DeleteFunc(d.changes, func(c codec.Change) bool { return c.New.Kind == diff.None })
	}
	slices.SortFunc(d.changes, func(a, b codec.Change) int { return diff.ComparePaths(a.Path, b.Path) })
	r.List.Changes = d.changes
	tree, err := tree.With(r.List.Diff())
	if err != nil {
		m.Fatal(err)
	}
	r.Digest = tree.Digest()
	m.made++
	r.Message = fmt.Sprint(m.made) // no two commits are the same
	head, err := d.draft.Commit(m.Context(), r)
	switch {
	case errors.Is(err, store.ErrLostRace):
		m.count["commits lost"]++
	case err != nil:
		m.Fatalf("commit: %v", err)
	case now.Position != d.base.Position:
		m.Fatal("a commit was made on top of another head")
	default:
		m.trees[head.Position.Generation] = tree
		m.haves = append(m.haves, store.Have{Position: head.Position, Tree: tree})
		m.count["commits"]++
	}
}

func (m *sweepModel) stageKeyframe() {
	k, err := m.store.StageKeyframe(m.Context(), m.view(), nil)
	if err != nil {
		m.Fatalf("stage a keyframe: %v", err)
	}
	m.keyframes = append(m.keyframes, k)
}

func (m *sweepModel) publishKeyframe() {
	k, ok := take(m.rng, &m.keyframes)
	if !ok {
		return
	}
	_, err := m.store.PublishKeyframe(m.Context(), m.view().Head, k)
	switch {
	case errors.Is(err, store.ErrLostRace):
		m.count["keyframes lost"]++
	case err != nil:
		m.Fatalf("publish a keyframe: %v", err)
	default:
		m.count["keyframes"]++
	}
}

// mark has a sweeper mark; what it marked before is of no use any more.
func (m *sweepModel) mark() {
	i := m.rng.IntN(len(m.sweepers))
	if m.rng.IntN(10) == 0 {
		m.sweepers[i] = m.store.NewSweeper(lastFew([]uint64{1, 3, 10}[i])) // it was killed
	}
	g, err := m.sweepers[i].Mark(m.Context(), m.view())
	if err != nil {
		m.Fatalf("mark: %v", err)
	}
	m.garbage = slices.DeleteFunc(m.garbage, g.SameSweeper)
	m.garbage = append(m.garbage, g)
}

// remove has a sweeper remove a batch, by the head that is there or an older one.
func (m *sweepModel) remove() {
	g, ok := take(m.rng, &m.garbage)
	if !ok {
		return
	}
	view := m.view()
	if len(m.joining) > 0 && m.rng.IntN(4) == 0 {
		view = m.joining[m.rng.IntN(len(m.joining))]
	}
	went, err := g.Remove(m.Context(), m.store, view)
	switch {
	case errors.Is(err, store.ErrLostRace), errors.Is(err, store.ErrGone) && m.compacted > 0:
		m.count["batches lost"]++
		if m.rng.IntN(2) == 0 {
			return // killed, or marked anew
		}
	case err != nil:
		m.Fatalf("remove: %v", err)
	case went.Records > 0:
		m.floor = max(m.floor, g.Oldest)
	}
	m.count["records swept"] += went.Records
	m.count["packs swept"] += went.Packs
	if !g.Empty() {
		m.garbage = append(m.garbage, g)
	}
}

// point points a channel to a generation, or takes one away.
func (m *sweepModel) point() {
	name := []string{"stable", "canary"}[m.rng.IntN(2)]
	if m.rng.IntN(3) == 0 {
		if _, err := m.store.DeleteChannel(m.Context(), name); err != nil && !errors.Is(err, store.ErrNoChannel) {
			m.Fatal(err)
		}
		return
	}
	head := m.view().Head.Position.Generation
	to, err := m.store.Retained(m.Context(), m.view(), m.floor+m.rng.Uint64N(head-m.floor+1))
	if err == nil {
		_, err = m.store.MoveChannel(m.Context(), name, to)
	}
	if err != nil && !errors.Is(err, store.ErrBackwards) && !errors.Is(err, store.ErrGone) {
		m.Fatal(err)
	}
	m.count["channels moved"]++
}

// join has an agent go on that has read the head some time ago.
func (m *sweepModel) join() {
	view, ok := take(m.rng, &m.joining)
	if !ok {
		return
	}
	var have store.Have
	if m.rng.IntN(2) == 0 {
		have = m.haves[m.rng.IntN(len(m.haves))]
		if have.Position.Generation > view.Head.Position.Generation {
			have = store.Have{}
		}
	}
	v, err := m.store.Resolve(m.Context(), have, view)
	if err == nil {
		err = m.fetch(v)
	}
	if errors.Is(err, store.ErrGone) && m.compacted > 0 {
		m.count["joins begun anew"]++
		view = m.view()
		if v, err = m.store.Resolve(m.Context(), have, view); err == nil {
			err = m.fetch(v)
		}
	}
	if err != nil {
		m.Fatalf("an agent at generation %d joins at %d: %v", have.Position.Generation, view.Head.Position.Generation, err)
	}
	if v.Tree.Digest() != m.trees[view.Head.Position.Generation].Digest() {
		m.Fatalf("generation %d is another tree", view.Head.Position.Generation)
	}
	m.count["joins"]++
}

// fetch fetches all contents of a version.
func (m *sweepModel) fetch(v *store.Version) error {
	var entries []diff.Entry
	for _, e := range v.Tree.All() {
		entries = append(entries, e)
	}
	return v.Fetch(m.Context(), entries, nil, func(e diff.Entry, content []byte) error {
		if string(content) != string(m.contents[e.Hash]) {
			return errors.New("another content")
		}
		return nil
	})
}

func (m *sweepModel) compact() {
	now := m.view().Revision()
	if now == m.compacted {
		return
	}
	m.compacted = now
	if _, err := m.raw.Compact(m.Context(), m.compacted); err != nil {
		m.Fatal(err)
	}
	m.count["compactions"]++
}

// kill ends what is under way.
func (m *sweepModel) kill() {
	if d, ok := take(m.rng, &m.drafts); ok {
		d.draft.Discard()
	}
	take(m.rng, &m.keyframes)
	take(m.rng, &m.garbage)
	m.count["kills"]++
}

// check looks at all that is in etcd, and at what channels point to.
func (m *sweepModel) check() {
	m.right()
	view := m.view()
	for _, g := range []uint64{m.floor, m.floor + m.rng.Uint64N(view.Head.Position.Generation-m.floor+1)} {
		v, err := m.store.At(m.Context(), view, g)
		if err == nil {
			err = m.fetch(v)
		}
		if err != nil {
			m.Fatalf("generation %d: %v", g, err)
		}
		if v.Tree.Digest() != m.trees[g].Digest() {
			m.Fatalf("generation %d is another tree", g)
		}
	}
}

// Publishers that commit, roll back and make keyframes, sweepers of different retention, agents
// that join, and an etcd that is compacted: in any order, each killed at any point.
func TestSweepsNeverTakeWhatIsNeeded(t *testing.T) {
	seed := *sweepSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-sweepseed %d", seed)
	m := newSweepModel(t, seed)
	m.floor = 1
	acts := []struct {
		share int
		do    func()
	}{
		{20, m.begin},
		{6, m.beginRollback},
		{24, m.endAny},
		{3, m.stageKeyframe},
		{4, m.publishKeyframe},
		{6, m.mark},
		{20, m.remove},
		{2, m.point},
		{8, func() { m.joining = append(m.joining, m.view()) }},
		{8, m.join},
		{1, m.compact},
		{2, m.kill},
	}
	total := 0
	for _, a := range acts {
		total += a.share
	}
	happened := func() bool {
		return m.count["commits"] > 0 && m.count["records swept"] > 0 && m.count["packs swept"] > 0 && m.count["joins"] > 0
	}
	// Few steps may draw no sweep that removes a record: then it goes on until one does.
	for step := 0; step < *sweepSteps || *sweepSteps >= 400 && !happened() && step < 20**sweepSteps; step++ {
		draw := m.rng.IntN(total)
		for _, a := range acts {
			if draw -= a.share; draw < 0 {
				a.do()
				break
			}
		}
		if step%20 == 19 {
			m.check()
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	m.check()
	for _, d := range m.drafts {
		d.draft.Discard()
	}
	for _, what := range slices.Sorted(maps.Keys(m.count)) {
		t.Logf("%s: %d", what, m.count[what])
	}
	if *sweepSteps >= 400 && !happened() {
		t.Error("not all happened")
	}
}
