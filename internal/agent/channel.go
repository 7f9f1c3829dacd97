package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// ErrChannel is returned while there is nothing to do but to wait for the target's channel:
// there is none of that name, or it lies behind the target, whose generation never falls.
var ErrChannel = errors.New("waits for its channel")

// Host is who an agent is to those that roll out.
type Host struct {
	ID     string
	Labels map[string]string
}

// channel returns the name of the target's channel.
func (o Options) channel() string { return cmp.Or(o.Channel, codec.MainChannel) }

// follow returns what the target is to come to under a head. It returns ErrChannel if there
// is no such channel.
func (o Options) follow(head *store.Head) (diff.Position, error) {
	at, ok := head.Follow(o.channel(), o.Host.ID, o.Host.Labels)
	if !ok {
		return at, fmt.Errorf("%w: tenant %q has no channel %q; files are kept until there is one: \"confsyncd channel promote FROM %s\" makes it, \"confsyncd channel list\" shows those that are there",
			ErrChannel, o.Tenant, o.channel(), o.channel())
	}
	return at, nil
}

// sameAim reports whether the target is to come to the same under two heads.
func (o Options) sameAim(a, b *store.Head) bool {
	if a == nil || b == nil {
		return false
	}
	from, err := o.follow(a)
	to, otherErr := o.follow(b)
	return err == nil && otherErr == nil && from == to
}

// aim returns the view as it was when what the target follows was the head.
func (a *applier) aim(ctx context.Context, view store.View) (store.View, error) {
	if view.Err != nil || view.Head == nil {
		return view, nil
	}
	to, err := a.options.follow(view.Head)
	if err != nil {
		return view, err
	}
	return a.options.Store.As(ctx, view, to)
}

// behind returns ErrChannel if the channel lies behind the target, in the history that both
// are of.
func (a *applier) behind(ctx context.Context, view store.View, at diff.Position) error {
	head := view.Head
	if view.Err != nil || head == nil {
		return nil
	}
	to, err := a.options.follow(head)
	if err != nil || to == head.Position || at.Tenant != to.Tenant || at.Generation <= to.Generation || at.Generation > head.Position.Generation {
		return err
	}
	held, err := a.options.Store.Holds(ctx, view, at)
	if err != nil || !held {
		return err // What is not held is a rewind, of which Resolve says more.
	}
	return fmt.Errorf("%w: channel %q is at generation %d, behind generation %d here; files are kept until it has come so far",
		ErrChannel, a.options.channel(), to.Generation, at.Generation)
}
