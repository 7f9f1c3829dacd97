//go:build !lean

package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// past is a tenant with a long history, and what its tree was at each generation.
type past struct {
	*damagedEtcd
	trees map[uint64]diff.Tree
	head  *store.Head
}

// newPast makes a history with all that one can have: generations 1 to 4 on a founding,
// 5 to 40 that rest on keyframes of 4 and 20, a founding at 50 after a rewind that lost
// some, whose list lies in parts, and 51 to 53.
func newPast(t *testing.T) *past {
	p := &past{damagedEtcd: newDamagedEtcd(t), trees: make(map[uint64]diff.Tree)}
	for i, have := range p.haves {
		p.trees[uint64(i)] = have.Tree
	}
	p.head = p.heads[4]
	p.keyframe()
	for g := 5; g <= 40; g++ {
		p.commitOn(map[string]string{"a": fmt.Sprint("content ", g), fmt.Sprint("dir-", g%7): fmt.Sprint("new ", g)}, g%5 == 0)
		if g == 20 {
			p.keyframe()
		}
	}
	p.found(50, manyFiles(4000, 10, 3))
	for g := 51; g <= 53; g++ {
		p.commitOn(map[string]string{"a": fmt.Sprint("content ", g)}, false)
	}
	return p
}

func (p *past) keyframe() {
	p.Helper()
	h, err := p.store.MakeKeyframe(p.Context(), p.view(), nil)
	if err != nil {
		p.Fatal(err)
	}
	p.head = h
}

func (p *past) commitOn(files map[string]string, packed bool) {
	p.Helper()
	p.head = p.mustCommit(p.head, files, packed)
	p.trees[p.head.Position.Generation] = p.tree
}

// found begins the history anew, with the files alone.
func (p *past) found(generation uint64, files map[string]string) {
	p.Helper()
	r := &codec.Record{
		Tenant: p.tenant, Generation: generation, Founding: true, Parent: diff.Hash{9}, Time: time.Unix(0, 1), Publisher: "p", Instance: "i",
	}
	var changes []diff.Change
	for path, content := range files {
		p.contents[diff.Sum([]byte(content))] = []byte(content)
		changes = append(changes, diff.Change{Path: path, New: file(content)})
	}
	tree, err := diff.Tree{}.With(changes)
	if err != nil {
		p.Fatal(err)
	}
	d := p.store.NewDraft(p.Context(), p.head)
	for _, c := range changes {
		r.List.Changes = append(r.List.Changes, codec.Change{Path: c.Path, New: c.New, Content: codec.Content{Whole: p.contents[c.New.Hash]}})
	}
	r.Digest = tree.Digest()
	if p.head, err = d.Commit(p.Context(), r); err != nil {
		p.Fatal(err)
	}
	p.tree = tree
	p.trees[generation] = tree
}

// whole fetches every content of a version.
func (p *past) whole(v *store.Version) {
	p.Helper()
	want := make(map[diff.Hash]bool)
	var entries []diff.Entry
	for _, e := range v.Tree.All() {
		want[e.Hash] = true
		entries = append(entries, e)
	}
	err := v.Fetch(p.Context(), entries, func(diff.Hash) []byte { return nil }, func(e diff.Entry, content []byte) error {
		if !bytes.Equal(content, p.contents[e.Hash]) {
			return errors.New("wrong content")
		}
		delete(want, e.Hash)
		return nil
	})
	if err != nil || len(want) > 0 {
		p.Fatalf("generation %d: %d contents are missing: %v", v.Position().Generation, len(want), err)
	}
}

func TestAtIsTheTreeOfAnyRetainedGeneration(t *testing.T) {
	p := newPast(t)
	view := p.view()
	foundings := make(map[uint64]uint64)
	for g := uint64(1); g <= 53; g++ {
		v, err := p.store.At(t.Context(), view, g)
		if g > 40 && g < 50 {
			if !errors.Is(err, store.ErrGone) || !strings.Contains(err.Error(), "generations 1 to 40 and 50 to 53 are there") {
				t.Errorf("generation %d, which was lost: %v", g, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("generation %d: %v", g, err)
		}
		if v.Position().Generation != g || v.Tree.Digest() != p.trees[g].Digest() {
			t.Fatalf("generation %d: %d entries at generation %d, want %d", g, v.Tree.Len(), v.Position().Generation, p.trees[g].Len())
		}
		foundings[v.Head.Founding]++
		p.whole(v)
	}
	if foundings[1] != 4 || foundings[50] != 4 || foundings[0] != 36 {
		t.Errorf("foundings: %v", foundings)
	}
	for _, g := range []uint64{54, 1 << 60} {
		if _, err := p.store.At(t.Context(), view, g); !errors.Is(err, store.ErrGone) || !strings.Contains(err.Error(), "generations 1 to 53 are there") {
			t.Errorf("generation %d: %v", g, err)
		}
	}
	v, err := p.store.At(t.Context(), view, 0)
	if err != nil || v.Position() != p.head.Position {
		t.Fatalf("generation 0: %v", err)
	}
}

func TestAtRefusesWhatIsNotRight(t *testing.T) {
	if f := newFixture(t); true {
		if _, err := f.store.At(t.Context(), f.view(), 1); !errors.Is(err, store.ErrNoHead) {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		damage func(d *damagedEtcd)
		want   error
	}{
		{"garbage", func(d *damagedEtcd) { d.put(logKey(3), []byte("garbage")) }, store.ErrDamaged},
		{"garbage below it", func(d *damagedEtcd) { d.put(logKey(2), []byte("garbage")) }, store.ErrDamaged},
		{"a gap below it", func(d *damagedEtcd) { d.remove(logKey(2)) }, store.ErrGone},
		{"its founding missing", func(d *damagedEtcd) { d.remove(logKey(1)) }, store.ErrGone},
		{"another generation's record", func(d *damagedEtcd) { d.put(logKey(3), d.get(logKey(2))) }, store.ErrDamaged},
		{"another tenant's record", func(d *damagedEtcd) { d.alter(3, func(r *codec.Record) { r.Tenant[0]++ }) }, store.ErrForeignTenant},
		{"another tree", func(d *damagedEtcd) { d.alter(3, func(r *codec.Record) { r.Digest[0]++ }) }, store.ErrDamaged},
		{"another parent", func(d *damagedEtcd) { d.alter(3, func(r *codec.Record) { r.Parent[0]++ }) }, store.ErrDamaged},
		{"a keyframe that is its own", func(d *damagedEtcd) {
			d.alter(3, func(r *codec.Record) {
				r.Keyframe = codec.KeyframeRef{Generation: 3, Pack: codec.PackRef{Hash: diff.Hash{1}, Size: 1}}
			})
		}, store.ErrDamaged},
		{"a keyframe that is not there", func(d *damagedEtcd) {
			d.alter(3, func(r *codec.Record) {
				r.Keyframe = codec.KeyframeRef{Generation: 2, Pack: codec.PackRef{Hash: diff.Hash{1}, Size: 1}}
			})
		}, store.ErrGone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDamagedEtcd(t)
			tt.damage(d)
			if _, err := d.store.At(t.Context(), d.view(), 3); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// generations lists what Commits yields.
func (p *past) generations(from, to uint64) []*store.Commit {
	p.Helper()
	var list []*store.Commit
	for c, err := range p.store.Commits(p.Context(), p.view(), from, to) {
		if err != nil {
			p.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

func TestCommitsAreTheHistoryNewestFirst(t *testing.T) {
	p := newPast(t)
	all := p.generations(0, 0)
	if len(all) != 44 || all[0].Record.Generation != 53 || all[43].Record.Generation != 1 {
		t.Fatalf("%d commits", len(all))
	}
	for i, c := range all {
		r := c.Record
		if i > 0 && r.Generation >= all[i-1].Record.Generation {
			t.Fatalf("generation %d after %d", r.Generation, all[i-1].Record.Generation)
		}
		before := p.trees[r.Generation-1]
		if r.Founding {
			before = diff.Tree{}
		}
		if want := diff.Compare(before, p.trees[r.Generation]); len(want) != len(c.Changes) || len(want) == 0 || want[0] != c.Changes[0] {
			t.Errorf("generation %d: %d changes, want %d", r.Generation, len(c.Changes), len(want))
		}
		if c.Keyframe != (r.Generation == 4 || r.Generation == 20) || r.Founding != (r.Generation == 1 || r.Generation == 50) {
			t.Errorf("generation %d: keyframe %v, founding %v", r.Generation, c.Keyframe, r.Founding)
		}
	}
	if all[3].Bytes < 30000 || all[0].Bytes != int64(len("content 53")) {
		t.Errorf("%d bytes at the founding, %d at the head", all[3].Bytes, all[0].Bytes)
	}

	t.Run("a part of it", func(t *testing.T) {
		for _, tt := range []struct{ from, to, first, last uint64 }{{18, 22, 22, 18}, {35, 50, 50, 35}, {52, 99, 53, 52}, {1, 1, 1, 1}, {20, 20, 20, 20}} {
			list := p.generations(tt.from, tt.to)
			if len(list) == 0 || list[0].Record.Generation != tt.first || list[len(list)-1].Record.Generation != tt.last {
				t.Errorf("%+v: %d commits", tt, len(list))
			}
		}
		if list := p.generations(42, 48); len(list) != 0 {
			t.Errorf("%d commits where none are left", len(list))
		}
		if list := p.generations(20, 20); !list[0].Keyframe {
			t.Error("the keyframe of a generation that is no longer the newest is not known")
		}
	})
	t.Run("is not read on when nobody listens", func(t *testing.T) {
		p.put(logKey(2), []byte("garbage"))
		for c, err := range p.store.Commits(t.Context(), p.view(), 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if c.Record.Generation == 30 {
				break
			}
		}
		var last error
		for _, last = range p.store.Commits(t.Context(), p.view(), 0, 0) {
		}
		if !errors.Is(last, store.ErrDamaged) {
			t.Errorf("it ends with %v although a record is garbage", last)
		}
	})
	t.Run("notices what does not hang together", func(t *testing.T) {
		p.alter(20, func(r *codec.Record) { r.Message = "forged" })
		var last error
		for _, last = range p.store.Commits(t.Context(), p.view(), 0, 0) {
		}
		if !errors.Is(last, store.ErrDamaged) && !errors.Is(last, store.ErrRewound) {
			t.Errorf("it ends with %v although a record was forged", last)
		}
	})
}

func TestVerifyNamesEachThingThatIsWrong(t *testing.T) {
	tests := []struct {
		name   string
		damage func(p *past)
		want   []string // parts of what is told, in any order
	}{
		{"nothing", func(*past) {}, nil},
		{
			"a record of garbage", func(p *past) { p.put(logKey(30), []byte("garbage")) },
			[]string{"record of generation 30: damaged", "generation 31: its parent is not there", "the trees up to generation 40"},
		},
		{
			"a record that is missing", func(p *past) { p.remove(logKey(30)) },
			[]string{"generation 31: its parent is not there", "the trees up to generation 40"},
		},
		{
			"a record that was replaced", func(p *past) { p.alter(10, func(r *codec.Record) { r.Message = "x" }) },
			[]string{"generation 11 names another parent", "the trees up to generation 20"},
		},
		{
			"the first record missing, as while a sweep is under way", func(p *past) { p.remove(logKey(1)) }, nil,
		},
		{
			"a tree with another digest", func(p *past) { p.alter(53, func(r *codec.Record) { r.Digest[0]++ }) },
			[]string{"the head names commit", "the trees up to generation 53", "the tree of the head"},
		},
		{
			"a pack of an old generation missing", func(p *past) { p.remove(p.packOf(25)) },
			[]string{"generation 25: pack "},
		},
		{
			"a damaged pack of an old generation", func(p *past) { p.put(p.packOf(25), []byte("garbage")) },
			[]string{"generation 25: damaged in etcd"},
		},
		{
			"a part of a list missing", func(p *past) { p.remove(p.packOf(50)) },
			[]string{"record of generation 50: pack", "generation 50: pack", "the trees up to generation 53", "the tree of the head"},
		},
		{
			"a keyframe missing", func(p *past) { p.remove(p.keyframeOf(21)) },
			[]string{"the keyframe of generation 20: pack", "the trees up to generation 40: keyframe of generation 20"},
		},
		{"a content of the head that its record does not hold", func(p *past) {
			p.commitOn(map[string]string{"packed": "content of the head"}, true)
			p.remove(p.packOf(54))
		}, []string{"generation 54: pack", `content of "packed"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPast(t)
			tt.damage(p)
			var told []string
			var progress int
			checked, err := p.store.Verify(t.Context(), p.view(), store.VerifyOptions{
				Wrong:    func(err error) { told = append(told, err.Error()) },
				Progress: func(string, int, int) { progress++ },
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(told) != len(tt.want) {
				t.Errorf("told of %d things, want %d", len(told), len(tt.want))
			}
			for _, part := range tt.want {
				if !strings.Contains(strings.Join(told, "\n"), part) {
					t.Errorf("it does not tell of %q", part)
				}
			}
			if checked.Records < 43 || checked.Keyframes != 2 || checked.Packs < 10 || progress < 50 {
				t.Errorf("checked %+v", checked)
			}
			if t.Failed() {
				t.Log(strings.Join(told, "\n"))
			}
		})
	}
}

// packOf returns the key of the first pack that a record names.
func (p *past) packOf(generation uint64) string {
	p.Helper()
	r, err := codec.NewCoder().DecodeRecord(p.get(logKey(generation)))
	if err != nil {
		p.Fatal(err)
	}
	return "/confsyncd/prod/pub/packs/" + append(r.List.Parts, r.List.Packs...)[0].Hash.String()
}

// keyframeOf returns the key of the keyframe that a record names.
func (p *past) keyframeOf(generation uint64) string {
	p.Helper()
	r, err := codec.NewCoder().DecodeRecord(p.get(logKey(generation)))
	if err != nil {
		p.Fatal(err)
	}
	return "/confsyncd/prod/pub/packs/" + r.Keyframe.Pack.Hash.String()
}
