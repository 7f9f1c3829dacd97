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
	// dir is the directory of which nothing is left to be committed: base, unless the
	// publisher goes on beside commits of others.
	dir diff.Tree
	// last is the position that the next commit follows; its generation may be above
	// the head's.
	last diff.Position
}

// judge decides whether the publisher may publish under the head of the view, with tree
// as the directory's. It returns ErrConflict or ErrRefused, with what to do about it, if
// not.
func (p *Publisher) judge(view store.View, tree diff.Tree) (verdict, error) {
	if view.Err != nil {
		return 0, view.Err
	}
	if !p.asked {
		p.asked, p.first = true, view.Head
	}
	return p.claim(view.Head, tree).judge(view.Head)
}

// stand returns what a publisher that may publish commits on top of.
func (p *Publisher) stand(ctx context.Context, view store.View, does verdict, tree diff.Tree) (standing, error) {
	known := p.memory.have()
	if view.Head != nil && view.Head.Instance == p.memory.instance() {
		if err := p.memory.rememberOurs(true); err != nil {
			return standing{}, err
		}
	}
	switch does {
	case founds:
		return p.foundOn(view.Head)
	case stays:
		return standing{head: view.Head, base: known.Tree, last: known.Position, dir: p.memory.base()}, nil
	case joins, goesOn:
	}
	if !known.Position.IsZero() && view.Head.Position.Tenant == known.Position.Tenant {
		holds, err := p.options.Store.Holds(ctx, view, known.Position)
		if err != nil {
			return standing{}, err
		}
		if !holds {
			return p.foundOn(view.Head)
		}
	}
	if does == goesOn {
		return p.goOn(ctx, view, tree)
	}
	return p.adopt(ctx, view, tree)
}

// commits returns the store that commits are made in: only while the registration is what
// was read, and in an election only while the publisher leads.
func (p *Publisher) commits() *store.Store {
	s := p.options.Store
	if p.registered != nil {
		s = s.RegisteredAs(*p.registered)
	}
	if p.election == nil {
		return s
	}
	return s.LedBy(p.seat)
}

func (p *Publisher) claim(head *store.Head, tree diff.Tree) claim {
	c := claim{
		options: p.options, push: p.push, instance: p.memory.instance(), known: p.memory.have().Position, stood: p.stood,
		digest: tree.Digest(), takeOver: p.options.TakeOver && p.first.Same(head), unsure: p.unsure,
		apart: p.memory.apart(), ours: p.memory.ours,
	}
	if p.registered != nil {
		c.registered = p.registered.Registration
	}
	if p.election != nil {
		found := p.lineage.look(p.memory.base(), tree)
		c.lineage = &found
	}
	return c
}

// follows returns what a founding follows: what is remembered, or what an operator
// says, but never less than what is remembered of the same tenant id.
func (p *Publisher) follows() store.Have {
	known := p.memory.have()
	if !p.leadsOn() {
		return known
	}
	found := *p.push.Found
	if known.Position.Tenant == found.Tenant && known.Position.Generation > found.Generation {
		return known
	}
	return store.Have{Position: found, Tree: known.Tree}
}

// leadsOn reports whether an operator says what a founding follows.
func (p *Publisher) leadsOn() bool { return p.push != nil && p.push.Found != nil }

// foundOn stands on nothing in etcd: the next commit is a founding. It returns ErrConflict if
// that would undo what others have committed beside the directory, which only etcd had.
func (p *Publisher) foundOn(head *store.Head) (standing, error) {
	known := p.follows()
	s := standing{head: head, founding: true, base: known.Tree, last: known.Position, dir: known.Tree}
	buried := !p.leadsOn() && p.registered.Buried(s.last.Tenant) != nil
	if p.memory.apart() && !(p.options.TakeOver && p.first.Same(head)) && !p.leadsOn() && !buried {
		return s, conflict("publish the directory with "+p.options.pushWith("--take-over"),
			"etcd has lost generation %d, which was committed beside this directory and differs from it", known.Position.Generation)
	}
	switch {
	case s.last.Tenant.IsZero(), buried:
		s.last = diff.Position{Tenant: p.registered.ID}
		if s.last.Tenant.IsZero() { // Nobody created it: it is born here.
			rand.Read(s.last.Tenant[:]) // never fails, see crypto/rand
		}
	default:
		// Agents may have one commit more than is remembered: etcd had it, and this
		// publisher was killed, or etcd was, before it knew. They follow a founding
		// above that one only.
		s.last.Generation++
		if p.election != nil {
			s.last.Generation += unseenCommits
		}
	}
	if head != nil {
		s.last.Generation = max(s.last.Generation, head.Position.Generation)
	}
	return s, nil
}

// adopt stands on a head that this process did not write.
func (p *Publisher) adopt(ctx context.Context, view store.View, tree diff.Tree) (standing, error) {
	head := view.Head
	equal := head.Digest == tree.Digest()
	if equal {
		// Else what is committed on top of it could be followed by nobody.
		if err := p.options.Store.Leads(ctx, view); err != nil {
			return standing{}, err
		}
	} else {
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
	// What is known of another tenant id, or that the directory is not what was published,
	// is given up only for what is committed: a guard may yet refuse. So is what a push knows
	// that is to undo a rollback: the next one may not be meant to.
	known := p.memory.state.Position
	undoing := p.push != nil && head.Rollback > 0
	final := equal || !undoing && !p.memory.apart() && (known.IsZero() || known.Tenant == head.Position.Tenant)
	if (known != head.Position || p.memory.apart()) && final {
		if err := p.memory.rememberOurs(head.Instance == p.memory.instance()); err != nil {
			return standing{}, err
		}
		if err := p.memory.remember(head.Position, tree, tree); err != nil {
			return standing{}, err
		}
		p.tellStands(head)
	}
	p.stood = head.Position
	return standing{head: head, base: tree, last: head.Position, dir: tree}, nil
}

func (p *Publisher) tellStands(head *store.Head) {
	p.options.Log.Info("stands on the head in etcd", "tenant", p.options.Tenant, "generation", head.Position.Generation,
		"publisher", head.Publisher)
}
