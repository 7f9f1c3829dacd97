//go:build !lean

package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// fixture is a tenant in an etcd of its own, and a tree that grows by commits.
type fixture struct {
	*testing.T
	store    *store.Store
	tree     diff.Tree
	contents map[diff.Hash][]byte
	tenant   diff.TenantID
	time     time.Time // of commits; zero is long ago
}

func newFixture(t *testing.T) *fixture {
	f, _ := newFixtureAt(t, devetcdtest.Start(t))
	return f
}

func newFixtureAt(t *testing.T, endpoint string) (*fixture, *store.Client) {
	c := store.NewClient(store.Config{Endpoints: []string{endpoint}, Prefix: "/confsyncd", Log: hclog.NewNullLogger()})
	t.Cleanup(func() { c.Close() })
	return &fixture{T: t, store: c.Tenant("prod"), contents: make(map[diff.Hash][]byte), tenant: diff.TenantID{1}}, c
}

func file(content string) diff.Entry {
	return diff.Entry{Kind: diff.File, Mode: 0o644, Size: int64(len(content)), Hash: diff.Sum([]byte(content))}
}

func (f *fixture) view() store.View {
	f.Helper()
	v, err := f.store.View(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	return v
}

// commit commits files, contents in packs if packed is set, on top of base.
func (f *fixture) commit(base *store.Head, files map[string]string, packed bool) (*store.Head, error) {
	f.Helper()
	return f.commitWith(f.Context(), base, files, packed)
}

func (f *fixture) commitWith(ctx context.Context, base *store.Head, files map[string]string, packed bool) (*store.Head, error) {
	f.Helper()
	r := &codec.Record{Tenant: f.tenant, Generation: 1, Founding: true, Time: f.time, Publisher: "p", Instance: "i"}
	if f.time.IsZero() {
		r.Time = time.Unix(0, 1)
	}
	tree := diff.Tree{}
	if base != nil {
		tree = f.tree
		r.Generation, r.Parent, r.Founding, r.Keyframe = base.Position.Generation+1, base.Position.Commit, false, base.Keyframe
	}
	var changes []diff.Change
	for path, content := range files {
		f.contents[diff.Sum([]byte(content))] = []byte(content)
		changes = append(changes, diff.Change{Path: path, New: file(content)})
	}
	tree, err := tree.With(changes)
	if err != nil {
		f.Fatal(err)
	}
	d := f.store.NewDraft(ctx, base)
	packer := codec.NewPacker(d.Stage)
	var spots []codec.Spot
	for _, c := range changes {
		ch := codec.Change{Path: c.Path, New: c.New}
		if packed {
			spot, err := packer.Add(f.contents[c.New.Hash])
			if err != nil {
				d.Discard()
				return nil, err
			}
			spots = append(spots, spot)
		} else {
			ch.Content.Whole = f.contents[c.New.Hash]
		}
		r.List.Changes = append(r.List.Changes, ch)
	}
	if err := packer.Close(); err != nil {
		d.Discard()
		return nil, err
	}
	for i, spot := range spots {
		if r.List.Changes[i].New.Size > 0 {
			r.List.Changes[i].Content = packer.Content(spot)
		}
	}
	r.Digest = tree.Digest()
	head, err := d.Commit(ctx, r)
	if err == nil {
		f.tree = tree
	}
	return head, err
}

func (f *fixture) mustCommit(base *store.Head, files map[string]string, packed bool) *store.Head {
	f.Helper()
	h, err := f.commit(base, files, packed)
	if err != nil {
		f.Fatal(err)
	}
	return h
}

// check resolves the head for have and fetches every content of the tree.
func (f *fixture) check(have store.Have, view store.View) *store.Version {
	f.Helper()
	v, err := f.store.Resolve(f.Context(), have, view)
	if err != nil {
		f.Fatal(err)
	}
	if v.Tree.Digest() != f.tree.Digest() {
		f.Fatalf("resolved a tree of %d entries, want %d", v.Tree.Len(), f.tree.Len())
	}
	want := make(map[diff.Hash]bool)
	var entries []diff.Entry
	for _, e := range v.Tree.All() {
		if e.HasContent() {
			entries = append(entries, e)
			want[e.Hash] = true
		}
	}
	err = v.Fetch(f.Context(), entries, nil, func(e diff.Entry, content []byte) error {
		if !want[e.Hash] || !bytes.Equal(content, f.contents[e.Hash]) {
			return fmt.Errorf("content %v is wrong or came twice", e.Hash)
		}
		delete(want, e.Hash)
		return nil
	})
	if err != nil || len(want) > 0 {
		f.Fatalf("%d contents are missing: %v", len(want), err)
	}
	return v
}

func manyFiles(n, size int, seed uint64) map[string]string {
	r := rand.New(rand.NewPCG(seed, 1))
	files := make(map[string]string)
	for i := range n {
		b := make([]byte, size)
		for j := range b {
			b[j] = "abcdefghijklmnop \n"[r.IntN(18)]
		}
		files[fmt.Sprintf("file-%05d", i)] = string(b)
	}
	return files
}

func TestResolve(t *testing.T) {
	f := newFixture(t)
	if _, err := f.store.Resolve(t.Context(), store.Have{}, f.view()); !errors.Is(err, store.ErrNoHead) {
		t.Fatalf("an empty etcd resolves with %v", err)
	}
	h1 := f.mustCommit(nil, map[string]string{"a": "one", "empty": ""}, false)
	first := store.Have{Position: h1.Position, Tree: f.tree}
	f.check(store.Have{}, f.view())
	h2 := f.mustCommit(h1, manyFiles(3000, 1000, 1), true)
	f.check(first, f.view())
	big := strings.Repeat("0", 20<<20)
	h3 := f.mustCommit(h2, map[string]string{"big": big, "random": manyFiles(1, 3<<20, 2)["file-00000"]}, true)
	h4 := f.mustCommit(h3, map[string]string{"a": "two"}, false)

	t.Run("from nothing", func(t *testing.T) { f.check(store.Have{}, f.view()) })
	t.Run("from an old position", func(t *testing.T) { f.check(first, f.view()) })
	t.Run("at the head, with contents that are not in the last records", func(t *testing.T) {
		f.check(store.Have{Position: h4.Position, Tree: f.tree}, f.view())
	})
	t.Run("through a keyframe", func(t *testing.T) {
		h, err := f.store.MakeKeyframe(t.Context(), f.view(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if h.Position != h4.Position || h.Keyframe.Generation != 4 {
			t.Fatalf("head is %+v", h.Head)
		}
		f.check(store.Have{}, f.view())
		f.mustCommit(h, map[string]string{"a": "three"}, false)
		f.check(store.Have{}, f.view())
		f.check(first, f.view())
	})
	t.Run("refuses another tenant id", func(t *testing.T) {
		have := first
		have.Position.Tenant[0]++
		if _, err := f.store.Resolve(t.Context(), have, f.view()); !errors.Is(err, store.ErrForeignTenant) {
			t.Fatal(err)
		}
	})
	t.Run("refuses a position that the history does not hold", func(t *testing.T) {
		for _, generation := range []uint64{2, 5, 9} {
			have := first
			have.Position.Generation = generation
			if _, err := f.store.Resolve(t.Context(), have, f.view()); !errors.Is(err, store.ErrRewound) {
				t.Fatalf("generation %d: %v", generation, err)
			}
		}
	})
}

func TestCommitLosesTheRaceToAnother(t *testing.T) {
	f := newFixture(t)
	h1 := f.mustCommit(nil, map[string]string{"a": "one"}, false)
	f.mustCommit(h1, map[string]string{"a": "two"}, false)
	if _, err := f.commit(h1, map[string]string{"a": "three"}, false); !errors.Is(err, store.ErrLostRace) {
		t.Fatalf("second commit on one head: %v", err)
	}
	if _, err := f.commit(nil, map[string]string{"a": "four"}, false); !errors.Is(err, store.ErrLostRace) {
		t.Fatalf("first commit beside another: %v", err)
	}
	f.check(store.Have{}, f.view())
}

func TestCommitGoesOnWhenOnlyTheKeyframeChanged(t *testing.T) {
	f := newFixture(t)
	h1 := f.mustCommit(nil, map[string]string{"a": "one"}, false)
	if _, err := f.store.MakeKeyframe(t.Context(), f.view(), nil); err != nil {
		t.Fatal(err)
	}
	h2 := f.mustCommit(h1, map[string]string{"a": "two"}, false)
	if h2.Keyframe.Generation != 1 {
		t.Fatalf("the commit lost the keyframe: %+v", h2.Head)
	}
	f.check(store.Have{}, f.view())
}

func TestKeyframeIsPublishedAboveCommitsMadeMeanwhile(t *testing.T) {
	f := newFixture(t)
	h1 := f.mustCommit(nil, map[string]string{"a": "one", "b": "one"}, false)
	stage := func() *store.Keyframe {
		t.Helper()
		k, err := f.store.StageKeyframe(t.Context(), f.view(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k1 := stage()
	first := store.Have{Position: h1.Position, Tree: f.tree}
	h2 := f.mustCommit(h1, map[string]string{"a": "two"}, false)
	k2 := stage()
	h3 := f.mustCommit(h2, map[string]string{"a": "three"}, false)

	if _, err := f.store.PublishKeyframe(t.Context(), h2, k2); !errors.Is(err, store.ErrLostRace) {
		t.Fatalf("on a head that is no longer: %v", err)
	}
	h, err := f.store.PublishKeyframe(t.Context(), h3, k2)
	if err != nil || h.Position != h3.Position || h.Keyframe.Generation != 2 {
		t.Fatalf("head %+v, %v", h, err)
	}
	f.check(store.Have{}, f.view())
	f.check(first, f.view())
	if _, err := f.store.PublishKeyframe(t.Context(), h, k1); !errors.Is(err, store.ErrLostRace) {
		t.Fatalf("an older one: %v", err)
	}
	h4 := f.mustCommit(h, map[string]string{"b": "two"}, false)
	f.check(store.Have{}, f.view())

	founded := *h4
	founded.Founding = 4
	if _, err := f.store.PublishKeyframe(t.Context(), &founded, stage()); !errors.Is(err, store.ErrLostRace) {
		t.Fatalf("of the history before a founding: %v", err)
	}

	marked := make(map[uint64]bool)
	for c, err := range f.store.Commits(t.Context(), f.view(), 1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Keyframe {
			marked[c.Record.Generation] = true
		}
	}
	if len(marked) != 1 || !marked[2] {
		t.Errorf("the history shows keyframes of %v, want of generation 2", marked)
	}
}

func TestKeyframeIsDueWhenRecordsOutweighTheLast(t *testing.T) {
	f := newFixture(t)
	var w store.Weight
	h := f.mustCommit(nil, manyFiles(10, 1000, 1), false)
	for i := range 100 {
		if err := f.store.Weigh(t.Context(), &w, f.view()); err != nil {
			t.Fatal(err)
		}
		if w.Due(h, 0) {
			if i < 5 || i > 20 {
				t.Errorf("due after %d commits of 10 kB", i)
			}
			if h, err := f.store.MakeKeyframe(t.Context(), f.view(), nil); err != nil {
				t.Fatal(err)
			} else if err := f.store.Weigh(t.Context(), &w, f.view()); err != nil || w.Due(h, 0) {
				t.Fatalf("due again at once: %v", err)
			}
			return
		}
		h = f.mustCommit(h, manyFiles(10, 1000, uint64(i)+2), false)
	}
	t.Fatal("never due")
}

// A publisher weighs what it has just committed: reading it back would double what passes
// between it and etcd.
func TestWhatACommitWeighsIsTheSameAsWhatItsRecordReadsAs(t *testing.T) {
	f := newFixture(t)
	var known, read store.Weight
	var h *store.Head
	for i, packed := range []bool{false, true, false} {
		h = f.mustCommit(h, map[string]string{"a": text(40<<10, uint64(i))}, packed)
		view := f.view()
		if err := f.store.Weigh(t.Context(), &read, view); err != nil {
			t.Fatal(err)
		}
		calls, cancel := context.WithCancel(t.Context())
		if i > 0 {
			cancel() // Nothing is asked of etcd.
		}
		if err := f.store.Weigh(calls, &known, view.After(h)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if !reflect.DeepEqual(known, read) {
			t.Errorf("after %d commits: %+v is known, %+v read", i+1, known, read)
		}
	}
}

func TestCommitWithMorePacksThanATxnHasOperations(t *testing.T) {
	f := newFixture(t)
	files := make(map[string]string)
	for i := range 130 {
		files[fmt.Sprintf("f%03d", i)] = strings.Repeat(fmt.Sprintf("option-%07d = off\n", i), codec.MaxPackContent/21)
	}
	f.mustCommit(nil, files, true)
}

func TestFollow(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	feed := store.NewFeed()
	done := make(chan error)
	go func() { done <- f.store.Follow(ctx, feed) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	<-feed.Changed()
	if v, ok := feed.Take(); !ok || v.Head != nil {
		t.Fatalf("the first view of an empty etcd: head %+v, seen %v: %v", v.Head, ok, feed.Err())
	}
	h := f.mustCommit(nil, map[string]string{"a": "one"}, false)
	have := store.Have{}
	await := func() {
		for have.Position != h.Position {
			select {
			case <-feed.Changed():
			case <-ctx.Done():
				t.Fatalf("waited for generation %d", h.Position.Generation)
			}
			v, _ := feed.Take()
			if v.Head == nil {
				continue
			}
			// A head in between has another tree than f; Resolve verifies it all the same.
			version, err := f.store.Resolve(ctx, have, v)
			if err != nil {
				t.Fatal(err)
			}
			if v.Head.Position == h.Position {
				f.check(have, v)
			}
			have = store.Have{Position: version.Position(), Tree: version.Tree}
		}
	}
	await()
	for i := range 20 {
		h = f.mustCommit(h, map[string]string{"a": fmt.Sprint(i)}, i%2 == 0)
		await()
	}
	for i := range 20 {
		h = f.mustCommit(h, map[string]string{"b": fmt.Sprint(i)}, false)
	}
	await()
}

func BenchmarkCommit(b *testing.B) {
	c := store.NewClient(store.Config{Endpoints: []string{devetcdtest.Start(b)}, Prefix: "/confsyncd", Log: hclog.NewNullLogger()})
	defer c.Close()
	s := c.Tenant("prod")
	var head *store.Head
	for b.Loop() {
		content := fmt.Sprint(b.N, time.Now())
		r := &codec.Record{Tenant: diff.TenantID{1}, Generation: 1, Founding: true, Time: time.Now()}
		if head != nil {
			r.Generation, r.Parent, r.Founding = head.Position.Generation+1, head.Position.Commit, false
		}
		r.List.Changes = []codec.Change{{Path: "a", New: file(content), Content: codec.Content{Whole: []byte(content)}}}
		tree, _ := diff.Tree{}.With(r.List.Diff())
		r.Digest = tree.Digest()
		var err error
		if head, err = s.NewDraft(b.Context(), head).Commit(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
