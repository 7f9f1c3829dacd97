package publisher

import (
	"context"
	"crypto/rand"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// standing is what a publisher that is live commits on top of.
type standing struct {
	head *store.Head // nil if there is none
	// base is the tree that the next commit changes. At a founding it is what was
	// remembered: guards compare with it.
	base     diff.Tree
	founding bool
	// last is the position that the next commit follows; its generation may be above
	// the head's.
	last diff.Position
}

// stand decides whether the publisher is live under the head of the view, with tree
// as the directory's. It returns ErrConflict or ErrRefused, with what to do about it,
// if it is not.
func (p *Publisher) stand(ctx context.Context, view store.View, tree diff.Tree) (standing, error) {
	if view.Err != nil {
		return standing{}, view.Err
	}
	known := p.memory.have()
	if !p.asked {
		p.asked, p.first = true, view.Head
	}
	if view.Head == nil {
		if found := p.options.found; found != nil {
			known = p.lead(*found, known)
		}
		return p.foundOn(nil, known), nil
	}
	head := view.Head
	takeOver := p.options.TakeOver && p.first.Same(head)
	if found := p.options.found; found != nil {
		if err := p.mayPush(head, takeOver); err != nil {
			return standing{}, err
		}
		return p.foundOn(head, p.lead(*found, known)), nil
	}
	switch {
	case !known.Position.IsZero() && head.Position.Tenant != known.Position.Tenant && !takeOver && !p.ledOn(head):
		return standing{}, refuse("see whether this is the right etcd; --take-over publishes this directory there, "+
			"and "+p.pushWith("--found ID:GEN")+" leads agents of the old tenant id on",
			"etcd has tenant %q with id %v, this publisher knows it as %v", p.options.Tenant, head.Position.Tenant, known.Position.Tenant)
	case head.Position == known.Position && !p.options.push && (p.stood == head.Position || head.Instance == p.memory.instance()):
		return standing{head: head, base: known.Tree, last: known.Position}, nil
	}
	if err := p.mayPublish(head, tree, takeOver); err != nil {
		return standing{}, err
	}
	if !known.Position.IsZero() && head.Position.Tenant == known.Position.Tenant {
		holds, err := p.options.Store.Holds(ctx, view, known.Position)
		if err != nil {
			return standing{}, err
		}
		if !holds {
			return p.foundOn(head, known), nil
		}
	}
	return p.adopt(ctx, view, tree)
}

// ledOn reports whether a push --found of this directory, beside this process, gave the
// head its tenant id: it then lies above what is remembered. One that an etcd restored
// from a backup has kept from before such a push lies below.
func (p *Publisher) ledOn(head *store.Head) bool {
	return head.Instance == p.memory.instance() && head.Position.Generation > p.memory.have().Position.Generation
}

// lead returns what a founding that an operator asked for follows: never less than what
// is remembered of the same tenant id.
func (p *Publisher) lead(found diff.Position, known store.Have) store.Have {
	if known.Position.Tenant == found.Tenant && known.Position.Generation > found.Generation {
		return known
	}
	return store.Have{Position: found, Tree: known.Tree}
}

// foundOn stands on what is remembered: the next commit is a founding.
func (p *Publisher) foundOn(head *store.Head, known store.Have) standing {
	s := standing{head: head, founding: true, base: known.Tree, last: known.Position}
	if s.last.Tenant.IsZero() {
		rand.Read(s.last.Tenant[:]) // never fails, see crypto/rand
	} else {
		// Agents may have one commit more than is remembered: etcd had it, and this
		// publisher was killed, or etcd was, before it knew. They follow a founding
		// above that one only.
		s.last.Generation++
	}
	if head != nil {
		s.last.Generation = max(s.last.Generation, head.Position.Generation)
	}
	return s
}

// mayPublish returns ErrConflict unless the head's publisher is this one, or the
// directory holds just what the head does.
func (p *Publisher) mayPublish(head *store.Head, tree diff.Tree, takeOver bool) error {
	if p.options.push {
		if head.Digest == tree.Digest() {
			return nil
		}
		return p.mayPush(head, takeOver)
	}
	if takeOver || head.Instance == p.memory.instance() || head.Digest == tree.Digest() {
		return nil
	}
	return conflict("this directory differs from it, so it is not published; make them equal, or use --take-over to publish the directory",
		"generation %d of tenant %q was published by %q (instance %s)", head.Position.Generation, p.options.Tenant, head.Publisher, head.Instance)
}

// mayPush returns ErrConflict unless the head has this publisher's name.
func (p *Publisher) mayPush(head *store.Head, takeOver bool) error {
	if takeOver || head.Publisher == p.options.Name {
		return nil
	}
	return conflict(`give its name with --publisher if it is you, or use --take-over to publish the directory in its place`,
		"generation %d of tenant %q was published by %q, not by %q", head.Position.Generation, p.options.Tenant, head.Publisher, p.options.Name)
}

// adopt stands on a head that this process did not write.
func (p *Publisher) adopt(ctx context.Context, view store.View, tree diff.Tree) (standing, error) {
	head := view.Head
	equal := head.Digest == tree.Digest()
	if !equal {
		have := p.memory.have()
		if have.Position.Tenant != head.Position.Tenant {
			have = store.Have{}
		}
		v, err := p.options.Store.Resolve(ctx, have, view)
		if err != nil {
			return standing{}, err
		}
		tree = v.Tree
	}
	// What is known of another tenant id is given up only for what is committed: a guard
	// may yet refuse.
	known := p.memory.state.Position
	final := known.IsZero() || known.Tenant == head.Position.Tenant || equal
	if known != head.Position && final {
		if err := p.memory.remember(head.Position, tree); err != nil {
			return standing{}, err
		}
		p.tellStands(head)
	}
	p.stood = head.Position
	return standing{head: head, base: tree, last: head.Position}, nil
}

func (p *Publisher) tellStands(head *store.Head) {
	p.options.Log.Info("stands on the head in etcd", "tenant", p.options.Tenant, "generation", head.Position.Generation,
		"publisher", head.Publisher)
}
