//go:build !lean

package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// advance commits one file and takes channels along.
func (f *fixture) advance(base *store.Head, founding bool, content string, channels ...string) *store.Head {
	f.Helper()
	r := &codec.Record{Tenant: f.tenant, Generation: 1, Founding: true, Time: time.Unix(0, 1), Publisher: "p", Instance: "i"}
	if base != nil {
		r.Generation, r.Parent, r.Founding = base.Position.Generation+1, base.Position.Commit, founding
		if !founding {
			r.Keyframe = base.Keyframe
		}
	}
	r.List.Changes = []codec.Change{{Path: "a", New: file(content), Content: codec.Content{Whole: []byte(content)}}}
	tree, err := diff.Tree{}.With([]diff.Change{{Path: "a", New: file(content)}})
	if err != nil {
		f.Fatal(err)
	}
	r.Digest = tree.Digest()
	d := f.store.NewDraft(f.Context(), base)
	d.Channels(channels...)
	head, err := d.Commit(f.Context(), r)
	if err != nil {
		f.Fatal(err)
	}
	f.tree = tree
	return head
}

// channels tells where the channels are that etcd has.
func (f *fixture) channels() string {
	f.Helper()
	text := ""
	for _, c := range f.view().Head.AllChannels() {
		text += fmt.Sprintf("%s=%d ", c.Name, c.Generation)
	}
	return text
}

func TestCommitAdvancesItsChannels(t *testing.T) {
	f := newFixture(t)
	want := func(want string) {
		t.Helper()
		if got := f.channels(); got != want {
			t.Fatalf("channels are at %q, want %q", got, want)
		}
	}
	h := f.advance(nil, true, "1", "main")
	want("main=1 ")
	if h.Channels != nil {
		t.Errorf("main at the head is written: %+v", h.Channels)
	}
	h = f.advance(h, false, "2", "canary")
	want("canary=2 main=1 ")
	h = f.advance(h, false, "3")
	want("canary=2 main=1 ")
	h = f.advance(h, false, "4", "canary", "main")
	want("canary=4 main=4 ")
	h = f.advance(h, false, "5", "canary")
	if _, err := f.store.MoveChannel(t.Context(), "stable", diff.Position{Tenant: f.tenant, Generation: 5, Commit: h.Position.Commit}); err != nil {
		t.Fatal(err)
	}
	want("canary=5 main=4 stable=5 ")
	// The commit was made for the head before: the channel that moved since stays.
	f.advance(h, false, "6", "main")
	want("canary=5 main=6 stable=5 ")
	// What channels were at may be gone at a founding.
	f.advance(f.view().Head, true, "7", "main")
	want("canary=7 main=7 stable=7 ")
}

func TestChannelNeverGoesBack(t *testing.T) {
	f := newFixture(t)
	h1 := f.advance(nil, true, "1", "main")
	h2 := f.advance(h1, false, "2", "main")
	move := func(name string, to diff.Position) error {
		_, err := f.store.MoveChannel(t.Context(), name, to)
		return err
	}
	if err := move("main", h1.Position); !errors.Is(err, store.ErrBackwards) {
		t.Errorf("main went back: %v", err)
	}
	if err := errors.Join(move("stable", h1.Position), move("stable", h2.Position), move("stable", h2.Position)); err != nil {
		t.Error(err)
	}
	if err := move("stable", h1.Position); !errors.Is(err, store.ErrBackwards) {
		t.Errorf("stable went back: %v", err)
	}
	foreign := h2.Position
	foreign.Tenant = diff.TenantID{9}
	if err := move("stable", foreign); !errors.Is(err, store.ErrForeignTenant) {
		t.Errorf("of another tenant: %v", err)
	}
	if _, err := f.store.DeleteChannel(t.Context(), "stable"); err != nil {
		t.Error(err)
	}
	if _, err := f.store.DeleteChannel(t.Context(), "stable"); !errors.Is(err, store.ErrNoChannel) {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := f.store.DeleteChannel(t.Context(), "main"); err == nil {
		t.Error("the last one is gone")
	}
	if got := f.channels(); got != "main=2 " {
		t.Errorf("channels are at %q", got)
	}
}

// Commits, keyframes and moves of several channels race for the same head: none is lost,
// and no channel ever goes back.
func TestChannelsMoveBesideCommits(t *testing.T) {
	f := newFixture(t)
	const commits = 60
	f.advance(nil, true, "0", "main")
	g, ctx := errgroup.WithContext(t.Context())
	over, end := context.WithCancel(ctx)
	watch := func(name string) func() error {
		return func() error {
			last := uint64(0)
			for over.Err() == nil {
				view, err := f.store.View(ctx)
				if err != nil {
					return err
				}
				if _, err := f.store.MoveChannel(ctx, name, view.Head.Position); err != nil && !errors.Is(err, store.ErrBackwards) {
					return err
				}
				if view, err = f.store.View(ctx); err != nil {
					return err
				}
				at, ok := view.Head.On(name)
				if !ok || at.Generation < last {
					return fmt.Errorf("%s is at %d (%t) after %d", name, at.Generation, ok, last)
				}
				last = at.Generation
			}
			return nil
		}
	}
	g.Go(watch("a"))
	g.Go(watch("b"))
	for i := range commits {
		f.advance(f.view().Head, false, fmt.Sprint(i), "main")
	}
	end()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	head := f.view().Head
	if head.Position.Generation != commits+1 {
		t.Errorf("head is at %d", head.Position.Generation)
	}
	for _, name := range []string{"a", "b"} {
		if _, ok := head.On(name); !ok {
			t.Errorf("%s is gone", name)
		}
	}
}

// A host of a channel that stays behind comes to where the channel is, whatever came above.
func TestChannelBehindTheHead(t *testing.T) {
	f := newFixture(t)
	type step struct {
		at   diff.Position
		tree diff.Tree
	}
	steps := make([]step, 41)
	var head *store.Head
	for i := range 40 {
		head = f.mustCommit(head, map[string]string{fmt.Sprintf("f%d", i%7): fmt.Sprint("content ", i)}, i%5 == 0)
		if i%10 == 9 {
			var err error
			if head, err = f.store.MakeKeyframe(t.Context(), f.view(), nil); err != nil {
				t.Fatal(err)
			}
		}
		steps[i+1] = step{head.Position, f.tree}
	}
	view := f.view()
	for to := 1; to <= 40; to++ {
		lags, err := f.store.As(t.Context(), view, steps[to].at)
		if err != nil {
			t.Fatalf("to %d: %v", to, err)
		}
		for _, from := range []int{0, 1, to / 2, to - 1, to} {
			v, err := f.store.Resolve(t.Context(), store.Have{Position: steps[from].at, Tree: steps[from].tree}, lags)
			if err != nil {
				t.Fatalf("from %d to %d: %v", from, to, err)
			}
			if v.Position() != steps[to].at || v.Tree.Digest() != steps[to].tree.Digest() {
				t.Fatalf("from %d to %d: at %v", from, to, v.Position())
			}
			if err := v.Fetch(t.Context(), filesOf(v.Tree), nil, func(diff.Entry, []byte) error { return nil }); err != nil {
				t.Fatalf("from %d to %d: %v", from, to, err)
			}
		}
		if to > 1 {
			if _, err := f.store.Resolve(t.Context(), store.Have{Position: steps[to].at, Tree: steps[to].tree}, lags); err != nil {
				t.Fatal(err)
			}
		}
	}
	wrong := steps[20].at
	wrong.Commit[0]++
	if _, err := f.store.As(t.Context(), view, wrong); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("another commit than the channel names: %v", err)
	}
	a, _ := f.store.As(t.Context(), view, steps[20].at)
	b, _ := f.store.As(t.Context(), view, steps[21].at)
	if a.Head.Same(b.Head) || a.Head.Same(view.Head) {
		t.Error("heads of different generations are the same")
	}
}

func filesOf(tree diff.Tree) []diff.Entry {
	var list []diff.Entry
	for _, e := range tree.All() {
		if e.HasContent() {
			list = append(list, e)
		}
	}
	return list
}
