//go:build !lean

package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/lab"
	"github.com/confsyncd/confsyncd/internal/store"
)

// stand takes a seat in the tenant's election, and makes the fixture's store its leader's.
func (f *fixture) stand() *store.Candidacy {
	f.Helper()
	c, err := f.store.Stand(f.Context(), codec.Candidate{Publisher: "p", Instance: "i"}, time.Minute)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := c.Leave(context.Background()); err != nil && !errors.Is(err, store.ErrUnreachable) {
			f.Log(err) // a test may have ended the lease
		}
	})
	f.store = f.store.LedBy(c.Seat())
	return c
}

// vacate takes the seat away by other hands.
func (f *fixture) vacate(seat store.Seat) {
	f.Helper()
	if err := f.store.Vacate(f.Context(), seat); err != nil {
		f.Fatal(err)
	}
}

func TestLeadersCommitComparesItsSeat(t *testing.T) {
	f := newFixture(t)
	c := f.stand()
	h1 := f.mustCommit(nil, map[string]string{"a": "one"}, false)
	h2 := f.mustCommit(h1, map[string]string{"a": "two"}, true)
	k, err := f.store.StageKeyframe(t.Context(), f.view(), nil)
	if err != nil {
		t.Fatal(err)
	}
	f.vacate(c.Seat())
	for name, packed := range map[string]bool{"a small one": false, "with packs": true} {
		if _, err := f.commit(h2, map[string]string{"a": name}, packed); !errors.Is(err, store.ErrNotLeader) || errors.Is(err, store.ErrLostRace) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.commit(h1, map[string]string{"a": "late"}, false); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("on a head that has moved: %v", err)
	}
	if _, err := f.store.PublishKeyframe(t.Context(), h2, k); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("a keyframe: %v", err)
	}
	if head := f.view().Head; !head.Same(h2) {
		t.Errorf("the head is %+v", head)
	}
}

func TestSeatTakenAnewIsAnotherSeat(t *testing.T) {
	f := newFixture(t)
	plain := f.store
	first := f.stand()
	f.store = plain
	if err := first.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := f.stand()
	f.store = plain.LedBy(first.Seat())
	if _, err := f.commit(nil, map[string]string{"a": "one"}, false); !errors.Is(err, store.ErrNotLeader) {
		t.Fatalf("by the first seat: %v", err)
	}
	f.store = plain.LedBy(second.Seat())
	f.mustCommit(nil, map[string]string{"a": "one"}, false)
}

func TestLeadersCommitWhoseReplyWasLost(t *testing.T) {
	t.Run("is found although the leadership has ended", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		c := f.stand()
		f.proxy.Do(lab.Harm{DropAnswers: true})
		done := f.commitLater(t.Context(), nil, map[string]string{"a": "one"}, false)
		f.applied(1)
		f.direct.vacate(c.Seat())
		f.proxy.Heal()
		if o := f.takes(done, heals); o.err != nil || o.head.Position.Generation != 1 {
			t.Fatalf("%+v: %v", o.head, o.err)
		}
	})
	t.Run("is found below the next leader's", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		h1 := f.mustCommit(nil, map[string]string{"a": "one"}, false)
		c := f.stand()
		f.proxy.Do(lab.Harm{DropAnswers: true})
		done := f.commitLater(t.Context(), h1, map[string]string{"b": "two"}, false)
		h2 := f.applied(2)
		f.direct.vacate(c.Seat())
		f.direct.tree = entries(t, "a", "one", "b", "two")
		f.direct.mustCommit(h2, map[string]string{"c": "three"}, false)
		f.proxy.Heal()
		if o := f.takes(done, heals); o.err != nil || o.head.Position != h2.Position {
			t.Fatalf("%+v: %v", o.head, o.err)
		}
	})
	t.Run("is not sent again once the leadership has ended", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		c := f.stand()
		f.proxy.Do(lab.Harm{HoldRequests: true, HoldAnswers: true})
		done := f.commitLater(t.Context(), nil, map[string]string{"a": "one"}, false)
		f.direct.vacate(c.Seat())
		f.proxy.Heal()
		if o := f.takes(done, heals); !errors.Is(o.err, store.ErrNotLeader) {
			t.Fatalf("%+v: %v", o.head, o.err)
		}
		if head := f.direct.view().Head; head != nil {
			t.Errorf("generation %d", head.Position.Generation)
		}
	})
}

func TestCandidates(t *testing.T) {
	f := newFixture(t)
	plain := f.store
	read := func() store.Candidates {
		t.Helper()
		now, err := plain.Candidates(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
	before := read()
	first := f.stand()
	f.store = plain
	second := f.stand()
	now := read()
	if len(now.List) != 2 || now.List[0].Seat != first.Seat() || now.List[1].Seat != second.Seat() || now.List[0].Publisher != "p" {
		t.Fatalf("%+v", now)
	}
	if before.Covers(first.Seat()) || !now.Covers(first.Seat()) || !now.Has(first.Seat()) || before.Has(first.Seat()) {
		t.Error("a list that was read before a seat was taken says nothing about it")
	}
	if err := plain.CandidatesChange(t.Context(), before); err != nil { // at once
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := plain.CandidatesChange(ctx, now); err != nil || ctx.Err() == nil {
		t.Fatalf("without a change: %v", err)
	}
	f.vacate(first.Seat())
	if now = read(); len(now.List) != 1 || now.List[0].Seat != second.Seat() {
		t.Fatalf("%+v", now)
	}
}
