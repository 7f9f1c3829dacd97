//go:build !lean

package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// someContents are those that the files of a randomTree have.
var someContents = []string{"zero", "one", "two"}

// randomTree has files and directories at some of a few paths, so that what is a file in
// one is a directory in the next, or not there.
func randomTree(t *testing.T, rng *rand.Rand) diff.Tree {
	t.Helper()
	some := func() diff.Entry { return file(someContents[rng.IntN(len(someContents))]) }
	var changes []diff.Change
	for _, name := range []string{"a", "b", "c"} {
		switch rng.IntN(3) {
		case 0:
			changes = append(changes, diff.Change{Path: name, New: some()})
		case 1:
			changes = append(changes, diff.Change{Path: name, New: diff.Entry{Kind: diff.Directory, Mode: 0o755}})
			for _, below := range []string{"x", "y"} {
				if rng.IntN(2) == 0 {
					changes = append(changes, diff.Change{Path: name + "/" + below, New: some()})
				}
			}
		}
	}
	tree, err := diff.Tree{}.With(changes)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// commitTree commits what leads to a randomTree, from nothing if it is a founding.
func (f *fixture) commitTree(base *store.Head, tree diff.Tree, founding bool) *store.Head {
	f.Helper()
	r := &codec.Record{
		Tenant: f.tenant, Generation: base.Position.Generation + 1, Parent: base.Position.Commit, Founding: founding, Digest: tree.Digest(),
	}
	if founding {
		f.tree = diff.Tree{}
	}
	for _, c := range diff.Compare(f.tree, tree) {
		ch := codec.Change{Path: c.Path, New: c.New}
		for _, text := range someContents {
			if c.New.Hash == diff.Sum([]byte(text)) {
				ch.Content.Whole, f.contents[c.New.Hash] = []byte(text), []byte(text)
			}
		}
		r.List.Changes = append(r.List.Changes, ch)
	}
	head, err := f.store.NewDraft(f.Context(), base).Commit(f.Context(), r)
	if err != nil {
		f.Fatal(err)
	}
	f.tree = tree
	return head
}

func TestResolveOverManyGenerationsIsTheSameAsOverEach(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	f := newFixture(t)
	h := f.mustCommit(nil, map[string]string{"a": "one"}, false)
	haves := []store.Have{{Position: h.Position, Tree: f.tree}}
	const generations = 300 // more than are read at a time
	for i := range generations {
		h = f.commitTree(h, randomTree(t, rng), i == generations/2)
		haves = append(haves, store.Have{Position: h.Position, Tree: f.tree})
	}
	view := f.view()
	for i, have := range haves {
		if i%7 == 0 || i > len(haves)-5 {
			f.check(have, view)
		}
	}
	f.check(store.Have{}, view)
	steps := 0
	from := haves[generations/2+1] // the founding
	_, err := f.store.ResolveEach(t.Context(), from, view, func(r *codec.Record, tree diff.Tree) {
		if want := haves[r.Generation-1].Tree; tree.Digest() != want.Digest() {
			t.Errorf("generation %d is another tree", r.Generation)
		}
		steps++
	})
	if err != nil || steps != generations/2-1 {
		t.Errorf("%d generations were told: %v", steps, err)
	}
}

func TestResolveOverManyGenerationsNamesTheDamagedOne(t *testing.T) {
	d := newDamagedEtcd(t)
	// Neither generation 2 nor the last has its digest; each record still follows the other.
	parent := d.heads[1].Position.Commit
	for g := uint64(2); g <= 4; g++ {
		r := d.alter(g, func(r *codec.Record) {
			if r.Parent = parent; g != 3 {
				r.Digest[0]++
			}
		})
		parent = r.Commit
	}
	h := d.heads[4].Head
	h.Position.Commit = parent
	d.putHead(h)
	err := d.resolve(d.haves[1])
	if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "at generation 2 ") {
		t.Errorf("%v", err)
	}
}

// BenchmarkResolve catches up generations each of which changed one file of 10,000.
func BenchmarkResolve(b *testing.B) {
	const directories, files, generations = 100, 100, 1000
	c := store.NewClient(store.Config{Endpoints: []string{devetcdtest.Start(b)}, Prefix: "/confsyncd", Log: hclog.NewNullLogger()})
	defer c.Close()
	s := c.Tenant("prod")
	whole := func(i, j int, content string) codec.Change {
		return codec.Change{Path: fmt.Sprintf("d%02d/f%02d", i, j), New: file(content), Content: codec.Content{Whole: []byte(content)}}
	}
	r := &codec.Record{Tenant: diff.TenantID{1}, Generation: 1, Founding: true}
	for i := range directories {
		r.List.Changes = append(r.List.Changes, codec.Change{Path: fmt.Sprintf("d%02d", i), New: diff.Entry{Kind: diff.Directory, Mode: 0o755}})
		for j := range files {
			r.List.Changes = append(r.List.Changes, whole(i, j, fmt.Sprint(i, j)))
		}
	}
	var first store.Have
	var head *store.Head
	var tree diff.Tree
	for g := range generations + 1 {
		var err error
		if tree, err = tree.With(r.List.Diff()); err != nil {
			b.Fatal(err)
		}
		r.Digest = tree.Digest()
		draft := s.NewDraft(b.Context(), head)
		if head, err = draft.Commit(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		if g == 0 {
			first = store.Have{Position: head.Position, Tree: tree}
		}
		r = &codec.Record{Tenant: diff.TenantID{1}, Generation: head.Position.Generation + 1, Parent: head.Position.Commit}
		r.List.Changes = []codec.Change{whole(g%directories, g*7%files, fmt.Sprint("generation", g))}
	}
	view, err := s.View(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for name, have := range map[string]store.Have{"generations=1000": first, "from=nothing": {}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Resolve(b.Context(), have, view); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
