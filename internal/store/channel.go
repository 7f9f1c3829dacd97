package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

var (
	// ErrBackwards says that a channel would come to an older generation than it is at.
	ErrBackwards = errors.New("a channel never goes back")
	// ErrNoChannel says that the tenant has no channel of that name.
	ErrNoChannel = errors.New("no such channel")
)

// Channels says which channels the commit advances; without it that is
// codec.MainChannel. The others stay where they are, as does a rollout whose channel is not
// among them. A founding takes all channels along: what they were at is gone.
func (d *Draft) Channels(names ...string) { d.marks.channels = names }

// Ahead has the hosts that a rollout lets go ahead of their channel come to the commit, too.
func (d *Draft) Ahead() { d.marks.ahead = true }

// led returns next, the head of a commit on top of base, with its channels.
func led(next codec.Head, base *Head, m marks) codec.Head {
	names := m.channels
	var all []codec.Channel
	var ahead *codec.Ahead
	if base != nil {
		all, ahead = base.AllChannels(), base.Ahead
	}
	founding := next.Founding == next.Position.Generation
	switch {
	case founding:
		ahead = nil
	case ahead != nil && m.ahead:
		moved := *ahead
		moved.Generation, moved.Commit = next.Position.Generation, next.Position.Commit
		ahead = &moved
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(c codec.Channel) bool { return c.Name == name }) {
			all = append(all, codec.Channel{Name: name})
		}
	}
	for i, c := range all {
		if founding || slices.Contains(names, c.Name) {
			all[i].Generation, all[i].Commit = next.Position.Generation, next.Position.Commit
		}
	}
	return next.WithChannels(all, ahead)
}

// As returns the view as it was when position was the head: for somebody who follows a
// channel that has stayed behind. It reads one record, unless position is the head. It
// returns an error that wraps ErrGone if that is not there, ErrDamaged if it is another commit
// than position says, codec.ErrNewer, or what became of the call.
func (s *Store) As(ctx context.Context, view View, position diff.Position) (View, error) {
	if view.Err != nil || view.Head == nil || view.Head.Position == position {
		return view, nil
	}
	r, err := s.retained(ctx, view, position.Generation)
	if err != nil {
		return View{}, err
	}
	if r.Position() != position {
		return View{}, fmt.Errorf("%w: the record of generation %d is commit %v, a channel names %v",
			ErrDamaged, position.Generation, r.Commit, position.Commit)
	}
	head, err := s.headAt(ctx, view, r)
	if err != nil {
		return View{}, err
	}
	// Nothing in etcd is compared with it; it only tells one such head from another.
	if head.raw, err = codec.EncodeHead(head.Head); err != nil {
		return View{}, err
	}
	view.Head, view.records = head, nil
	return view, nil
}

// Retained returns the position of a generation, which the history still has. The errors
// are those of At.
func (s *Store) Retained(ctx context.Context, view View, generation uint64) (diff.Position, error) {
	switch {
	case view.Err != nil:
		return diff.Position{}, damagedUnlessNewer(view.Err)
	case view.Head == nil:
		return diff.Position{}, ErrNoHead
	case view.Head.Position.Generation == generation:
		return view.Head.Position, nil
	}
	r, err := s.retained(ctx, view, generation)
	if err != nil {
		return diff.Position{}, err
	}
	return r.Position(), nil
}

// MoveChannel makes a channel point to a position of the history, and makes the channel if
// there is none of that name. It does nothing if that is where the channel is. It returns
// ErrBackwards if the channel is beyond it, ErrGone if its record is not there, ErrNoHead,
// ErrForeignTenant if the tenant has another id by now, or what became of the call.
func (s *Store) MoveChannel(ctx context.Context, name string, to diff.Position) (*Head, error) {
	return s.edit(ctx, "move channel "+name, func(view View) (codec.Head, error) {
		h := view.Head.Head
		if to.Tenant != h.Position.Tenant {
			return h, ErrForeignTenant
		}
		if is, ok, err := s.positionAt(ctx, to.Generation, view.revision); err != nil {
			return h, err
		} else if !ok || is != to {
			return h, fmt.Errorf("generation %d: %w", to.Generation, ErrGone)
		}
		if _, err := s.As(ctx, view, to); err != nil { // What it rests on may be gone.
			return h, err
		}
		return Moved(h, name, to)
	})
}

// Moved returns the head with a channel at another position, or ErrBackwards.
func Moved(h codec.Head, name string, to diff.Position) (codec.Head, error) {
	if at, ok := h.On(name); ok && at.Generation > to.Generation {
		return h, fmt.Errorf("%w: %s is at generation %d, not to come to %d", ErrBackwards, name, at.Generation, to.Generation)
	}
	all := slices.DeleteFunc(h.AllChannels(), func(c codec.Channel) bool { return c.Name == name })
	all = append(all, codec.Channel{Name: name, Generation: to.Generation, Commit: to.Commit})
	return h.WithChannels(all, h.Ahead), nil
}

// DeleteChannel takes a channel away: agents that follow it keep their files and wait. It
// returns ErrNoChannel if there is none, and the errors of MoveChannel.
func (s *Store) DeleteChannel(ctx context.Context, name string) (*Head, error) {
	return s.edit(ctx, "delete channel "+name, func(view View) (codec.Head, error) {
		h := view.Head.Head
		if _, ok := h.On(name); !ok {
			return h, fmt.Errorf("%w: %s", ErrNoChannel, name)
		}
		all := slices.DeleteFunc(h.AllChannels(), func(c codec.Channel) bool { return c.Name == name })
		if len(all) == 0 {
			return h, fmt.Errorf("%s is the only channel, and a tenant has one", name)
		}
		return h.WithChannels(all, h.Ahead), nil
	})
}

// edit replaces the head by what change makes of it, at the same position, again until no
// other write comes between, or an attempt is ambiguous for commitPatience. Nothing was
// removed from etcd since the view that change got. change may be called several times, and must
// say nothing new about a head that it has made.
func (s *Store) edit(ctx context.Context, op string, change func(View) (codec.Head, error)) (*Head, error) {
	var pace Backoff
	until := time.Now().Add(s.client.patience)
	for {
		head, err := s.editOnce(ctx, op, change)
		lost := errors.Is(err, ErrLostRace)
		if err == nil || !lost && (!Temporary(err) || time.Now().After(until)) {
			return head, err
		}
		if waitErr := pace.Wait(ctx); waitErr != nil {
			return nil, fmt.Errorf("%w: %w", err, waitErr)
		}
	}
}

func (s *Store) editOnce(ctx context.Context, op string, change func(View) (codec.Head, error)) (*Head, error) {
	fence, err := s.readFence(ctx)
	if err != nil {
		return nil, err
	}
	view, err := s.View(ctx)
	switch {
	case err != nil:
		return nil, err
	case view.Err != nil:
		return nil, damagedUnlessNewer(view.Err)
	case view.Head == nil:
		return nil, ErrNoHead
	}
	next, err := change(view)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	raw, err := codec.EncodeHead(next)
	if err != nil {
		return nil, err
	}
	if string(raw) == string(view.Head.raw) {
		return view.Head, nil
	}
	revision, err := s.swap(ctx, op, s.headIs(view.Head), []clientv3.Op{clientv3.OpPut(s.keys.head(), string(raw))}, fence.unmoved())
	if err != nil {
		return nil, err
	}
	return &Head{Head: next, raw: raw, modRevision: revision}, nil
}

// EndRollback takes the mark of a rollback from the head, if that is at a position still: its
// publisher has the tree by now. It returns the errors of MoveChannel.
func (s *Store) EndRollback(ctx context.Context, at diff.Position) (*Head, error) {
	return s.edit(ctx, "end the rollback", func(view View) (codec.Head, error) {
		h := view.Head.Head
		if h.Position == at {
			h.Rollback = 0
		}
		return h, nil
	})
}

// Lead makes hosts follow a rollout instead of its channel, or no longer if it is nil: those
// that have come further than their channel then keep what they have until it comes. It
// returns the errors of MoveChannel.
func (s *Store) Lead(ctx context.Context, ahead *codec.Ahead) (*Head, error) {
	return s.edit(ctx, "lead", func(view View) (codec.Head, error) {
		h := view.Head.Head
		return h.WithChannels(h.AllChannels(), ahead), nil
	})
}
