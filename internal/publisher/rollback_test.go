//go:build !lean

package publisher_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/store"
)

// rollback rolls back to a generation, under the head's name.
func (p *place) rollback(o publisher.RollbackOptions) (*publisher.Commit, error) {
	p.Helper()
	o.Store, o.Tenant, o.MaxDelete = p.store, p.options.Tenant, p.options.MaxDelete
	return publisher.Rollback(p.Context(), o)
}

// mustRollback rolls back, and demands that the head is that tree then.
func (p *place) mustRollback(to uint64) *publisher.Commit {
	p.Helper()
	c, err := p.rollback(publisher.RollbackOptions{Generation: to})
	if err != nil || c == nil {
		p.Fatalf("%+v, %v", c, err)
	}
	view, err := p.store.View(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	then, err := p.store.At(p.Context(), view, to)
	if err != nil || view.Head.Digest != then.Tree.Digest() {
		p.Fatalf("the head is not the tree of generation %d: %v", to, err)
	}
	p.head() // Every content is there.
	return c
}

func TestRollbackSendsNoContentThatLiesInPacks(t *testing.T) {
	p := newPlace(t)
	for _, version := range []uint64{1, 2} {
		for i := range 50 {
			p.write(fmt.Sprint("d/", i), text(2000, version*1000+uint64(i)))
		}
		p.mustPush()
	}
	was := p.sent("d/7")
	c := p.mustRollback(1)
	if c.Position.Generation != 3 || len(c.Changes) != 50 || c.Bytes != 50*2000 {
		t.Errorf("%+v with %d changes", c.Position, len(c.Changes))
	}
	is := p.sent("d/7")
	if len(is.Packs) == 0 || is.Packs[0] == was.Packs[0] {
		t.Errorf("lies at %+v", is)
	}
	p.mustRollback(2)
	if is := p.sent("d/7"); len(is.Packs) != 1 || is.Packs[0] != was.Packs[0] || is.Offset != was.Offset {
		t.Errorf("lies at %+v, want where it lay: %+v", is, was)
	}
}

func TestRollbackSendsSmallContentsAgain(t *testing.T) {
	p := newPlace(t)
	old := text(3000, 1)
	p.write("a", old)
	p.write("b", "one")
	p.mustPush()
	p.write("a", strings.Replace(old, "#", "-", 1))
	p.remove("b")
	p.write("c", "new")
	p.mustPush()
	p.mustRollback(1)
	if c := p.sent("a"); c.Patch == nil || len(c.Patch.Frame) == 0 {
		t.Errorf("what lay in a record comes back as %+v, want a patch of what it replaces", c)
	}
	if c := p.sent("b"); string(c.Whole) != "one" {
		t.Errorf("what is new comes back as %+v, want it whole", c)
	}
	p.await(map[string]string{"a": old, "b": "one"})
}

func TestRollbackIsRefused(t *testing.T) {
	p := newPlace(t)
	p.write("keep", "one")
	p.mustPush()
	for i := range 30 {
		p.write(fmt.Sprint(i), fmt.Sprint("content ", i))
	}
	p.mustPush()
	parent := uint64(1)
	for _, tt := range []struct {
		name string
		o    publisher.RollbackOptions
		want error
	}{
		{"so much would go", publisher.RollbackOptions{Generation: 1}, publisher.ErrRefused},
		{"the head is another", publisher.RollbackOptions{Generation: 1, Parent: &parent, Allow: publisher.Allow{Delete: true}}, publisher.ErrConflict},
		{"nothing is there", publisher.RollbackOptions{Generation: 7}, store.ErrGone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := p.rollback(tt.o); !errors.Is(err, tt.want) || errors.Is(err, store.ErrDamaged) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	if v, _ := p.head(); v.Position().Generation != 2 {
		t.Errorf("the head is at %d", v.Position().Generation)
	}
	if c, err := p.rollback(publisher.RollbackOptions{Generation: 1, DryRun: true, Allow: publisher.Allow{Delete: true}}); err != nil || len(c.Changes) != 30 {
		t.Errorf("a dry run: %+v, %v", c, err)
	}
	if c, err := p.rollback(publisher.RollbackOptions{Generation: 2}); c != nil || err != nil {
		t.Errorf("to what it is: %+v, %v", c, err)
	}
}

// A keyframe that was staged before a rollback may be named after it.
func TestRollbackBesideAKeyframe(t *testing.T) {
	p := newPlace(t)
	for version := range 3 {
		p.write("a", fmt.Sprint("version ", version))
		p.write("b", text(30000, uint64(version)))
		p.mustPush()
	}
	view, err := p.store.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	keyframe, err := p.store.StageKeyframe(t.Context(), view, func(diff.Hash) []byte { return nil })
	if err != nil {
		t.Fatal(err)
	}
	p.mustRollback(1)
	if view, err = p.store.View(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.store.PublishKeyframe(t.Context(), view.Head, keyframe); err != nil {
		t.Fatal(err)
	}
	p.await(map[string]string{"a": "version 0", "b": text(30000, 0)})
}

// What a rollout lets go ahead must not keep what is rolled back from; what it holds back stays
// where it is.
func TestRollbackTakesAlongWhoIsAhead(t *testing.T) {
	for name, tt := range map[string]struct {
		to   uint64
		want uint64 // where hosts are that are ahead
	}{
		"to what is above the channel":       {to: 2, want: 5},
		"to what the channel has, or before": {to: 1, want: 5}, // With the channel.
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.options.Channels = []string{"main"}
			var at [5]diff.Position
			for g := 1; g <= 4; g++ {
				p.write("a", fmt.Sprint("a ", g))
				at[g] = p.mustPush().Position
				p.options.Channels = []string{"canary"} // So main stays at the first.
			}
			if _, err := p.store.Lead(p.Context(), &codec.Ahead{Channel: "main", Generation: 4, Commit: at[4].Commit, Hosts: []codec.Selector{{Parts: codec.AllParts}}}); err != nil {
				t.Fatal(err)
			}
			c := p.mustRollback(tt.to)
			view, err := p.store.View(p.Context())
			if err != nil {
				t.Fatal(err)
			}
			got, ok := view.Head.Follow("main", "host", nil)
			if !ok || got.Generation != tt.want || got != c.Position {
				t.Errorf("a host that was ahead follows %+v, want generation %d", got, tt.want)
			}
		})
	}
}
