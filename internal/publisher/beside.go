package publisher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
	"github.com/confsyncd/confsyncd/internal/store"
)

// A publisher goes on beside commits that others make under its name: a rollback, or a push from
// elsewhere. It remembers two trees then: the head's, and its base, which is the directory as
// it was published last. What differs from the base is an edit, and is committed on top of the
// head; the rest of the head stays as it is, until the directory is equal to it again.

// steps are the trees that lead to a head, by generation.
type steps map[uint64]step

type step struct {
	tree     diff.Tree
	founding bool
	// publisher and instance are of who committed it.
	publisher, instance string
}

func (s steps) add(r *codec.Record, tree diff.Tree) {
	s[r.Generation] = step{tree, r.Founding, r.Publisher, r.Instance}
}

// whose tells by whom a commit was made.
type whose int

const (
	foreign whose = iota
	// ours: this publisher, or one of its election, from the directory.
	ours
	// beside: another, under the name of one of them.
	beside
)

// whose tells by whom a step was made.
func (p *Publisher) whose(s step) whose {
	switch {
	case s.instance == p.memory.instance(), p.election != nil && p.election.Peer(s.instance):
		return ours
	case s.founding:
		return foreign
	case s.publisher == p.options.Name, p.election != nil && p.election.Named(s.publisher):
		return beside
	}
	return foreign
}

// walk brings what is known up to the view's head, and returns the base there: what is
// committed from the directory moves it, what is committed beside it does not. ok is false if
// somebody else made a commit in between, or it is not known who did: then there is no base.
func (p *Publisher) walk(ctx context.Context, known store.Have, view store.View) (v *store.Version, base diff.Tree, ok bool, err error) {
	steps := make(steps)
	v, err = p.options.Store.ResolveEach(ctx, known, view, steps.add)
	if err != nil {
		return nil, diff.Tree{}, false, err
	}
	at, tree := known.Position.Generation, known.Tree
	if !known.Position.IsZero() {
		base = p.memory.base()
	}
	for _, g := range slices.Sorted(maps.Keys(steps)) {
		next := steps[g]
		if g <= at {
			continue
		}
		by := p.whose(next)
		if by == foreign || g != at+1 && !next.founding {
			return v, diff.Tree{}, false, nil
		}
		if by == ours {
			after := next.tree
			if !next.founding {
				after = diff.Rebase(base, tree, next.tree)
			}
			p.lineage.moved(base, after)
			base = after
		}
		at, tree = g, next.tree
	}
	return v, base, at == view.Head.Position.Generation, nil
}

// goOn stands on a head without taking the directory for what it is to become.
func (p *Publisher) goOn(ctx context.Context, view store.View, dir diff.Tree) (standing, error) {
	head, known := view.Head, p.memory.have()
	if head.Digest == dir.Digest() {
		if err := p.options.Store.Leads(ctx, view); err != nil {
			return standing{}, err
		}
	}
	from := known
	if known.Position.Tenant != head.Position.Tenant {
		from = store.Have{} // a push --found led it on
	}
	v, base, ok, err := p.walk(ctx, from, view)
	if err != nil {
		return standing{}, err
	}
	if !ok && head.Digest == dir.Digest() {
		return p.adopt(ctx, view, dir)
	}
	if !ok {
		return standing{}, conflict("this directory differs from it, so it is not published; make them equal, or use --take-over to publish the directory",
			"generation %d of tenant %q was published by %q (instance %s), and others published before it", head.Position.Generation, p.options.Tenant, head.Publisher, head.Instance)
	}
	if head.Digest == dir.Digest() {
		base = v.Tree
	}
	if err := p.memory.remember(head.Position, v.Tree, base); err != nil {
		return standing{}, err
	}
	if known.Position != head.Position {
		p.tellStands(head)
	}
	p.stood = head.Position
	return standing{head: head, base: v.Tree, last: head.Position, dir: base}, nil
}

const oursName = "ours"

// rememberOurs notes, durably, whether the newest commit that is known comes from the
// directory.
func (m *memory) rememberOurs(ours bool) error {
	if m.ours == ours {
		return nil
	}
	m.ours = ours
	if m.readOnly() {
		return nil
	}
	var err error
	if ours {
		err = m.dir.WriteFile(oursName, nil, 0o600)
	} else {
		err = m.dir.Remove(oursName)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = m.lock.Sync() // It is the directory.
	}
	if err != nil {
		m.ours = !ours
		return fmt.Errorf("remember whose the head is: %w", err)
	}
	return nil
}

// loadOurs reads what rememberOurs wrote.
func (m *memory) loadOurs() error {
	_, err := m.dir.Lstat(oursName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("whose the head is: %w", err)
	}
	m.ours = err == nil
	return nil
}

// together notes that the directory is equal to the head again, so that all that differs from
// now on is edits. A standby may see there what was before the commits that were taken back,
// and catch up later: it believes that only after a while.
func (p *Publisher) together(dir diff.Tree) error {
	known := p.memory.have()
	if !p.memory.apart() || !p.stands() || dir.Digest() != known.Tree.Digest() {
		p.equalled = time.Time{}
		return nil
	}
	if p.equalled.IsZero() {
		p.equalled = time.Now()
	}
	if p.election != nil && p.seat.IsZero() && time.Since(p.equalled) < cachePatience {
		return nil
	}
	return p.memory.remember(known.Position, known.Tree, known.Tree)
}

// waysOut names what makes directory and head equal again.
func (o Options) waysOut() string {
	return o.pushWith("--take-over") + " publishes the directory; " +
		fmt.Sprintf("\"confsyncd pull --write-source --tenant %s --dir %s\" brings the head into it", o.Tenant, o.Dir)
}

// beside tells that the directory differs from the head, where, and what to do about it.
func (d *diary) beside(generation uint64, apart []diff.Change) string {
	const most = 20
	list := make([]string, 0, min(len(apart), most))
	for _, c := range apart[:min(len(apart), most)] {
		how := "differs"
		switch {
		case c.Created():
			how = "is only in the directory"
		case c.Deleted():
			how = "is only in the head"
		}
		list = append(list, fmt.Sprintf("%q %s", c.Path, how))
	}
	if !slices.Equal(list, d.told.Apart) || len(apart) != d.told.ApartTotal {
		d.told.Apart, d.told.ApartTotal, d.wrote = list, len(apart), false
	}
	if len(apart) == 0 {
		return ""
	}
	return fmt.Sprintf("generation %d has what others committed beside this directory, and %d paths differ; what is edited is published on top of it; %s",
		generation, len(apart), d.options.waysOut())
}

// beside reports whether others have committed what the directory does not have.
func (s standing) beside() bool { return s.dir.Digest() != s.base.Digest() }

// onto returns what was found as it is to be committed.
func (s standing) onto(found *scan.Result) *scan.Result {
	if !s.beside() {
		return found
	}
	merged := *found
	merged.Tree = diff.Rebase(s.base, s.dir, found.Tree)
	return &merged
}

// published returns the directory of which nothing is left to be committed once tree is, but
// for the paths that are left to a later commit.
func (s standing) published(tree, dir diff.Tree, left []string) diff.Tree {
	if !s.beside() {
		return tree
	}
	back := make([]diff.Change, len(left))
	for i, path := range left {
		back[i].Path = path
		back[i].New, _ = s.dir.Get(path)
	}
	base, err := dir.With(back)
	if err != nil {
		return s.dir // They are found once more, and are in the head already.
	}
	return base
}

// settle notes that there is nothing to commit, although the directory was edited: the head
// has it already.
func (p *Publisher) settle(on standing, dir diff.Tree) error {
	if !on.beside() || p.memory.have().Position != on.last {
		return nil
	}
	return p.memory.remember(on.last, on.base, dir)
}
