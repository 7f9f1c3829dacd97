package journal

import (
	"fmt"
	"slices"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// Meta says whose memory a journal is. The strings are opaque to it.
type Meta struct {
	Tenant, Prefix, Selection, Instance string
	// UID and GID are the owner that was last enforced; -1 is none.
	UID, GID int64
}

// State is what a journal remembers. Its slices are not to be changed.
type State struct {
	Meta Meta
	// Position is what the tree is at; zero if it never was at any.
	Position diff.Position
	// Managed is, of a target, what is installed, by path in the target; of a
	// source, the committed tree.
	Managed diff.Tree
	// All is the whole tenant's tree where a target selects a part of it, else
	// equal to Managed, and then not stored twice.
	All diff.Tree
	// Left are the paths, sorted, that were managed until a change of selection
	// left them behind.
	Left []string
	// Suspect are the managed paths of which it is not known whether the disk has
	// what Managed says: they must be verified.
	Suspect []string
}

// Pending is what a tree is becoming: a next without its at.
type Pending struct {
	Meta     Meta
	Position diff.Position
	// Changes are the changes of Managed, in path order. One whose Old and New are
	// equal writes anew what is there.
	Changes []diff.Change
	// AllChanges are the changes of State.All, in path order. They are not stored
	// where All is equal to Managed before and after, and come back nil from such a
	// journal.
	AllChanges []diff.Change
	// Leave are managed paths that cease to be, yet stay where they are.
	Leave []string
	// Prune are paths of State.Left, in path order, that go away for good.
	Prune []string
	// Back lets the generation fall, which nothing else does: an operator wants an
	// older one of the same tenant.
	Back bool

	// ToManaged and ToAll are what the caller takes the changes to lead to. Where that is
	// so these very trees become the State's, which makes none of its own. Not stored.
	ToManaged, ToAll diff.Tree

	// whole says that All equals Managed before and after.
	whole bool
}

// after returns the state that p leads to, and completes p.whole where AllChanges
// are at hand.
func (s State) after(p *Pending, suspect []string) (State, error) {
	if err := s.admit(p); err != nil {
		return State{}, err
	}
	changes := p.Changes
	for _, path := range p.Leave {
		changes = append(slices.Clip(changes), diff.Change{Path: path})
	}
	managed, err := lead(s.Managed, changes, p.ToManaged)
	if err != nil {
		return State{}, fmt.Errorf("managed tree: %w", err)
	}
	all := managed
	if !p.whole {
		if all, err = lead(s.All, p.AllChanges, p.ToAll); err != nil {
			return State{}, fmt.Errorf("whole tree: %w", err)
		}
		if all.Digest() == managed.Digest() {
			all = managed
			p.whole = s.All.Digest() == s.Managed.Digest()
		}
	}
	return State{
		Meta: p.Meta, Position: p.Position, Managed: managed, All: all,
		Left: left(s.Left, p.Leave, p.Prune, managed), Suspect: suspect,
	}, nil
}

// lead returns the tree that changes lead to: to, if that is at hand and they do.
func lead(from diff.Tree, changes []diff.Change, to diff.Tree) (diff.Tree, error) {
	if len(changes) > 0 && to != (diff.Tree{}) && slices.Equal(diff.Compare(from, to), changes) {
		return to, nil
	}
	return from.With(slices.Clone(changes))
}

// Become returns the state that p leads to: for a journal that is created with what
// Next and At would have made of another one. The error is Next's.
func (s State) Become(p Pending, suspect ...string) (State, error) {
	p.whole = false
	return s.after(&p, slices.Clone(suspect))
}

// admit holds the rule that generations never fall, unless that is what is asked for.
func (s State) admit(p *Pending) error {
	from, to := s.Position, p.Position
	switch {
	case to.IsZero():
		return fmt.Errorf("%w: the next position is none", ErrGeneration)
	case from.IsZero() || from == to:
		return nil
	case from.Tenant != to.Tenant:
		if s.Meta.Tenant == p.Meta.Tenant && s.Meta.Prefix == p.Meta.Prefix {
			return fmt.Errorf("%w: tenant %q has id %v here, and now %v", ErrTenant, s.Meta.Tenant, from.Tenant, to.Tenant)
		}
		return nil
	case p.Back && to.Generation < from.Generation:
		return nil
	case to.Generation <= from.Generation:
		return fmt.Errorf("%w: from %d (commit %v) to %d (commit %v)",
			ErrGeneration, from.Generation, from.Commit, to.Generation, to.Commit)
	}
	return nil
}

// left returns, sorted, the paths left behind before and now, without those that
// are managed again or go away.
func left(before, leave, prune []string, managed diff.Tree) []string {
	if len(before)+len(leave) == 0 {
		return nil
	}
	paths := slices.Concat(before, leave)
	slices.SortFunc(paths, diff.ComparePaths)
	paths = slices.Compact(paths)
	return slices.DeleteFunc(paths, func(p string) bool {
		_, again := managed.Get(p)
		_, gone := slices.BinarySearchFunc(prune, p, diff.ComparePaths)
		return again || gone
	})
}
