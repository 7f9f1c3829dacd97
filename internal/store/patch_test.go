//go:build !lean

package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// edit is a file that a commit changes, as a patch of what the tree has there.
type edit struct {
	path, content string
	packed        bool // the frame lies in a pack
}

// patch commits edits on top of base. alter, which may be nil, changes what is sent.
func (f *fixture) patch(base *store.Head, alter func(*codec.Change), edits ...edit) *store.Head {
	f.Helper()
	slices.SortFunc(edits, func(a, b edit) int { return diff.ComparePaths(a.path, b.path) })
	r := &codec.Record{
		Tenant: f.tenant, Generation: base.Position.Generation + 1, Parent: base.Position.Commit, Keyframe: base.Keyframe,
		Time: time.Unix(0, 1), Publisher: "p", Instance: "i",
	}
	d := f.store.NewDraft(f.Context(), base)
	packer := codec.NewPacker(d.Stage)
	spots := make(map[int]codec.Spot)
	for i, e := range edits {
		ch := f.change(e)
		if e.packed {
			spot, err := packer.Add(ch.Content.Patch.Frame)
			if err != nil {
				f.Fatal(err)
			}
			spots[i], ch.Content.Patch.Frame = spot, nil
		}
		r.List.Changes = append(r.List.Changes, ch)
	}
	if err := packer.Close(); err != nil {
		f.Fatal(err)
	}
	for i, spot := range spots {
		p := r.List.Changes[i].Content.Patch
		r.List.Changes[i].Content = packer.Content(spot)
		r.List.Changes[i].Content.Patch = p
	}
	for i := range r.List.Changes {
		if alter != nil {
			alter(&r.List.Changes[i])
		}
	}
	tree, err := f.tree.With(r.List.Diff())
	if err != nil {
		f.Fatal(err)
	}
	r.Digest = tree.Digest()
	head, err := d.Commit(f.Context(), r)
	if err != nil {
		f.Fatal(err)
	}
	f.tree = tree
	return head
}

// change returns what a commit says of an edit.
func (f *fixture) change(e edit) codec.Change {
	f.Helper()
	old, ok := f.tree.Get(e.path)
	if !ok {
		f.Fatalf("there is no %s", e.path)
	}
	f.contents[diff.Sum([]byte(e.content))] = []byte(e.content)
	frame, ok := codec.NewCoder().EncodePatch(f.contents[old.Hash], []byte(e.content))
	if !ok {
		f.Fatalf("no patch for %s", e.path)
	}
	return codec.Change{Path: e.path, New: file(e.content), Content: codec.Content{
		Patch: &codec.Patch{Base: old.Hash, Frame: frame, Size: int64(len(frame))},
	}}
}

// haves returns a function that finds these contents, and how often it did.
func haves(contents ...string) (func(diff.Hash) []byte, *int) {
	found := 0
	return func(h diff.Hash) []byte {
		for _, c := range contents {
			if diff.Sum([]byte(c)) == h {
				found++
				return []byte(c)
			}
		}
		return nil
	}, &found
}

// fetch returns the content at a path in the view, for somebody at have who holds what
// held finds.
func (f *fixture) fetch(from store.Have, path string, held func(diff.Hash) []byte) (string, error) {
	f.Helper()
	v, err := f.store.Resolve(f.Context(), from, f.view())
	if err != nil {
		f.Fatal(err)
	}
	e, _ := v.Tree.Get(path)
	got := ""
	err = v.Fetch(f.Context(), []diff.Entry{e}, held, func(_ diff.Entry, b []byte) error {
		got = string(b)
		return nil
	})
	return got, err
}

// mustFetch fails the test unless the content is the tree's.
func (f *fixture) mustFetch(from store.Have, path string, held func(diff.Hash) []byte) {
	f.Helper()
	got, err := f.fetch(from, path, held)
	e, _ := f.tree.Get(path)
	if err != nil || got != string(f.contents[e.Hash]) {
		f.Fatalf("%s is not what was committed, or not to be had: %v", path, err)
	}
}

func (f *fixture) at(h *store.Head) store.Have {
	return store.Have{Position: h.Position, Tree: f.tree}
}

// text returns lines that do not compress much.
func text(size int, seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 2))
	var s strings.Builder
	for s.Len() < size {
		fmt.Fprintf(&s, "upstream_%d = %016x # %d\n", r.IntN(1000), r.Uint64(), r.IntN(100))
	}
	return s.String()[:size]
}

func TestPatchedContent(t *testing.T) {
	f := newFixture(t)
	one := text(3000, 1)
	two, three, four := one+"two\n", one+"two\nthree\n", one+"four\n"
	h := f.mustCommit(nil, map[string]string{"a": one, "b": one}, true)
	first := f.at(h)
	h = f.patch(h, nil, edit{path: "a", content: two})
	second := f.at(h)
	h = f.patch(h, nil, edit{path: "a", content: three, packed: true}, edit{path: "b", content: four, packed: true})
	both := f.at(h)

	f.check(store.Have{}, f.view())
	f.check(first, f.view())
	for _, tt := range []struct {
		name  string
		from  store.Have
		holds []string
		asks  int // of these, how many are used
	}{
		{"for somebody who holds the base", second, []string{two}, 1},
		{"for somebody who holds the base's base", first, []string{one}, 1},
		{"for somebody who lost the base", second, nil, 0},
		{"for somebody who lost all", first, nil, 0},
		{"for somebody who has nothing", store.Have{}, nil, 0},
		{"for somebody at the head, who lost it", both, nil, 0},
		{"for somebody at the head, who holds it", both, []string{three}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			held, found := haves(tt.holds...)
			f.mustFetch(tt.from, "a", held)
			if *found != tt.asks {
				t.Errorf("%d contents that are held were used, want %d", *found, tt.asks)
			}
		})
	}
	t.Run("for somebody whose base is damaged", func(t *testing.T) {
		f.mustFetch(second, "a", func(diff.Hash) []byte { return []byte(two + "edited here") })
	})
}

func TestContentThatComesBackAsAPatchOfItsOwnPatch(t *testing.T) {
	f := newFixture(t)
	one := text(3000, 1)
	two := one + "two\n"
	h := f.mustCommit(nil, map[string]string{"a": one}, false)
	first := f.at(h)
	for range 3 {
		h = f.patch(h, nil, edit{path: "a", content: two})
		f.mustFetch(first, "a", nil)
		f.mustFetch(store.Have{}, "a", nil)
		h = f.patch(h, nil, edit{path: "a", content: one})
		f.mustFetch(first, "a", nil)
		f.mustFetch(store.Have{}, "a", nil)
	}
}

func TestPatchesAcrossAKeyframe(t *testing.T) {
	for name, have := range map[string]func(*fixture) func(diff.Hash) []byte{
		"that the publisher rebuilds": func(*fixture) func(diff.Hash) []byte { return nil },
		"of contents that the publisher holds": func(f *fixture) func(diff.Hash) []byte {
			return func(h diff.Hash) []byte { return f.contents[h] }
		},
		"of contents that the publisher holds damaged": func(*fixture) func(diff.Hash) []byte {
			return func(diff.Hash) []byte { return []byte("poison") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			content := text(3000, 1)
			h := f.mustCommit(nil, map[string]string{"a": content, "b": content, "c": "small"}, true)
			past := []string{"", content} // of a, by generation
			next := func() {
				content += "more\n"
				past = append(past, content)
				h = f.patch(h, nil, edit{path: "a", content: content, packed: len(content)%2 == 0})
			}
			next()
			before := f.at(h)
			next()
			keyed, err := f.store.MakeKeyframe(t.Context(), f.view(), have(f))
			if err != nil {
				t.Fatal(err)
			}
			h = keyed
			at := f.at(h)
			f.check(store.Have{}, f.view())
			next()
			next()
			for _, from := range []store.Have{{}, before, at} {
				f.check(from, f.view())
				f.mustFetch(from, "a", nil)
			}
			for generation := uint64(1); generation <= h.Position.Generation; generation++ {
				v, err := f.store.At(t.Context(), f.view(), generation)
				if err != nil {
					t.Fatal(err)
				}
				e, _ := v.Tree.Get("a")
				err = v.Fetch(t.Context(), []diff.Entry{e}, nil, func(_ diff.Entry, b []byte) error {
					if string(b) != past[generation] {
						return fmt.Errorf("generation %d has another content", generation)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
			checked, err := f.store.Verify(t.Context(), f.view(), store.VerifyOptions{
				Wrong: func(err error) { t.Error(err) }, Progress: func(string, int, int) {},
			})
			if err != nil || checked.Contents != f.tree.Len() {
				t.Errorf("%+v, %v", checked, err)
			}
		})
	}
}

func TestAdvanceKeepsKnowingWhereContentsLie(t *testing.T) {
	f := newFixture(t)
	content := text(3000, 1)
	h := f.mustCommit(nil, map[string]string{"a": content, "b": text(100, 2)}, true)
	v, err := f.store.Resolve(t.Context(), store.Have{}, f.view())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		content += "more\n"
		h = f.patch(h, nil, edit{path: "a", content: content})
		if v, err = v.Advance(t.Context(), f.view()); err != nil {
			t.Fatal(err)
		}
		if v.Position() != h.Position || v.Tree.Digest() != f.tree.Digest() {
			t.Fatalf("at %v, want %v", v.Position(), h.Position)
		}
		for path, e := range v.Tree.All() {
			err := v.Fetch(t.Context(), []diff.Entry{e}, nil, func(_ diff.Entry, b []byte) error {
				if !bytes.Equal(b, f.contents[e.Hash]) {
					return errors.New("another content")
				}
				return nil
			})
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
	}
}

func TestDamagedPatch(t *testing.T) {
	one := text(3000, 1)
	two := one + "two\n"
	for name, alter := range map[string]func(*codec.Patch){
		"cut":               func(p *codec.Patch) { p.Frame = p.Frame[:len(p.Frame)-1]; p.Size-- },
		"of another base":   func(p *codec.Patch) { p.Base[0]++ },
		"with a bit turned": func(p *codec.Patch) { p.Frame = bytes.Clone(p.Frame); p.Frame[len(p.Frame)-3] ^= 1 },
		"that promises all": func(p *codec.Patch) {
			p.Frame = []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0}
			p.Size = int64(len(p.Frame))
		},
		"with a window of 2 GiB": func(p *codec.Patch) {
			p.Frame = []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0}
			p.Size = int64(len(p.Frame))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			h := f.mustCommit(nil, map[string]string{"a": one}, false)
			first := f.at(h)
			f.patch(h, func(c *codec.Change) { alter(c.Content.Patch) }, edit{path: "a", content: two})
			held, _ := haves(one)
			for _, from := range []store.Have{{}, first} {
				if _, err := f.fetch(from, "a", held); !errors.Is(err, store.ErrDamaged) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	t.Run("in a circle", func(t *testing.T) {
		f := newFixture(t)
		h := f.mustCommit(nil, map[string]string{"a": one}, false)
		three := two + "three\n"
		h = f.patch(h, func(c *codec.Change) { c.Content.Patch.Base = diff.Sum([]byte(three)) }, edit{path: "a", content: two})
		f.patch(h, nil, edit{path: "a", content: three})
		if _, err := f.fetch(store.Have{}, "a", nil); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("got %v", err)
		}
	})
}

// A host that lost a file that was edited thousands of times rebuilds it, whether it is
// at the beginning or has nothing.
func TestChainOfThreeThousandPatches(t *testing.T) {
	f := newFixture(t)
	const edits = 3000
	lines := strings.SplitAfter(text(10_000, 1), "\n")
	h := f.mustCommit(nil, map[string]string{"a": strings.Join(lines, ""), "b": "b"}, false)
	first := f.at(h)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range edits {
		lines[r.IntN(len(lines))] = fmt.Sprintf("edited_%d = %d\n", i, r.Uint32())
		h = f.patch(h, nil, edit{path: "a", content: strings.Join(lines, ""), packed: i%100 == 0})
	}
	begin := time.Now()
	f.mustFetch(first, "a", nil)
	t.Logf("from generation 1: %v", time.Since(begin))
	begin = time.Now()
	f.mustFetch(store.Have{}, "a", nil)
	t.Logf("from nothing: %v", time.Since(begin))
	begin = time.Now()
	if _, err := f.store.MakeKeyframe(t.Context(), f.view(), nil); err != nil {
		t.Fatal(err)
	}
	t.Logf("keyframe: %v", time.Since(begin))
	f.check(store.Have{}, f.view())
	f.check(first, f.view())
}

// Files that were edited together, and copies that were edited apart, are not rebuilt
// from the beginning each.
func TestManyPatchedContentsThatShareBases(t *testing.T) {
	f := newFixture(t)
	const files, rounds = 100, 10
	content := text(5000, 1)
	start := make(map[string]string)
	for i := range files {
		start[fmt.Sprintf("f%03d", i)] = content
	}
	h := f.mustCommit(nil, start, true)
	first := f.at(h)
	for round := range rounds {
		var edits []edit
		for i := range files {
			edits = append(edits, edit{path: fmt.Sprintf("f%03d", i), packed: true, content: fmt.Sprintf("round = %d\nfile = %d\n%s", round, i*min(round, 1), content)})
		}
		h = f.patch(h, nil, edits...)
	}
	held, found := haves(content)
	for _, from := range []store.Have{first, {}} {
		v, err := f.store.Resolve(t.Context(), from, f.view())
		if err != nil {
			t.Fatal(err)
		}
		var want []diff.Entry
		for _, e := range v.Tree.All() {
			want = append(want, e)
		}
		got := 0
		begin := time.Now()
		err = v.Fetch(t.Context(), want, held, func(e diff.Entry, b []byte) error {
			got++
			if !bytes.Equal(b, f.contents[e.Hash]) {
				return errors.New("another content")
			}
			return nil
		})
		if err != nil || got != files {
			t.Fatalf("%d contents, want %d: %v", got, files, err)
		}
		t.Logf("%v", time.Since(begin))
	}
	if *found > 2*files {
		t.Errorf("what is held was asked for %d times", *found)
	}
}

func TestPatchOfTheLargestFile(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long, above all under the race detector: left out with -short")
	}
	f := newFixture(t)
	one := text(codec.MaxFileSize-100, 1)
	two := one[:30<<20] + "edited\n" + one[30<<20:]
	h := f.mustCommit(nil, map[string]string{"a": one}, true)
	first := f.at(h)
	f.patch(h, nil, edit{path: "a", content: two, packed: true})
	held, _ := haves(one)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	f.mustFetch(first, "a", held)
	runtime.ReadMemStats(&after)
	t.Logf("%v, %d MB allocated", time.Since(begin), (after.TotalAlloc-before.TotalAlloc)>>20)
	f.mustFetch(store.Have{}, "a", nil)
}

// A patch is little to read, but its content is as long to make as it is.
func TestKeyframeIsDueWhenRebuildingTakesLong(t *testing.T) {
	f := newFixture(t)
	content := text(512<<10, 1)
	h := f.mustCommit(nil, map[string]string{"a": content}, true)
	var w store.Weight
	for i := range 200 {
		if err := f.store.Weigh(t.Context(), &w, f.view()); err != nil {
			t.Fatal(err)
		}
		if w.Due(h, 0) {
			if i < 80 {
				t.Errorf("due after %d patches", i)
			}
			return
		}
		content += "more\n"
		h = f.patch(h, nil, edit{path: "a", content: content})
	}
	t.Error("never due")
}
