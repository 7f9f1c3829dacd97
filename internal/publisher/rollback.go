package publisher

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// rollbackGroup is how many bytes of contents and bases are in memory while patches are made.
const rollbackGroup = 16 << 20

// RollbackOptions say what is rolled back, and how.
type RollbackOptions struct {
	Store  *store.Store
	Tenant string
	// Name is the publisher's name of the commit; empty: the head's.
	Name string
	// Generation is the one whose tree comes back.
	Generation uint64
	// Parent is the generation that the head must be at; nil: any.
	Parent *uint64
	// Message is the commit's; empty: one that names the generation.
	Message string
	// MaxDelete is the share of the files that may go, 0 to 1, and Allow.Delete lifts that.
	MaxDelete float64
	Allow     Allow
	// DryRun commits nothing.
	DryRun bool
}

// Rollback makes a new generation with the tree of an older one, and returns nil if the head
// has that tree already; after a dry run, what would be committed, without position.
// Contents that lie in packs stay where they are. All channels that are at that generation
// or beyond come to the new one, and so do hosts that a rollout has let go ahead as far. The commit has an instance of its own, so
// that a publisher of the tenant knows that its directory was not what was published.
//
// If another commit comes in between it begins anew, on top of that; with Parent it returns
// ErrConflict. It returns ErrRefused if more than MaxDelete of the files would go, an error
// that wraps store.ErrGone if the generation is not there, any other of store.At, and the
// last error of etcd when ctx ends.
func Rollback(ctx context.Context, o RollbackOptions) (*Commit, error) {
	begin := time.Now()
	r := rollback{RollbackOptions: o, instance: newInstance()}
	var pace store.Backoff
	for looked := false; ; {
		view, err := o.Store.View(ctx)
		var commit *Commit
		if err == nil {
			commit, err = r.once(ctx, view)
		}
		// What is missing may have been compacted away between two reads, once.
		gone := errors.Is(err, store.ErrGone) && !looked
		looked = looked || gone
		switch {
		case err == nil && commit != nil:
			commit.Duration = time.Since(begin)
			return commit, nil
		case err == nil:
			return nil, nil
		case !gone && !errors.Is(err, store.ErrLostRace) && !errors.Is(err, store.ErrRegistration) && !store.Temporary(err):
			return nil, o.Store.Advised(err)
		}
		if pace.Wait(ctx) != nil {
			return nil, err
		}
	}
}

// newInstance returns a word that no other publisher has.
func newInstance() string {
	var word [8]byte
	rand.Read(word[:]) // never fails, see crypto/rand
	return hex.EncodeToString(word[:])
}

// rollback is a Rollback that is under way.
type rollback struct {
	RollbackOptions
	instance string
	// unsure is the generation of a commit whose outcome is unknown; 0 if there is none.
	unsure uint64
}

// once tries on top of one head.
func (o *rollback) once(ctx context.Context, view store.View) (*Commit, error) {
	if view.Err != nil {
		return nil, view.Err
	}
	if o.unsure > 0 {
		if done, err := o.settled(ctx, view); done != nil || err != nil {
			return done, err
		}
	}
	if view.Head != nil && o.Parent != nil && view.Head.Position.Generation != *o.Parent {
		return nil, conflict("look at what came in between, and roll back again with the generation that \"confsyncd status\" shows",
			"the head of tenant %q is at generation %d, by %q, and not at %d", o.Tenant, view.Head.Position.Generation, view.Head.Publisher, *o.Parent)
	}
	now, err := o.Store.Resolve(ctx, store.Have{}, view)
	if err != nil {
		return nil, err
	}
	then, err := o.Store.At(ctx, view, o.Generation)
	if err != nil {
		return nil, err
	}
	changes := diff.Compare(now.Tree, then.Tree)
	if len(changes) == 0 {
		return nil, nil
	}
	if err := o.guard(now.Tree, then.Tree, changes); err != nil {
		return nil, err
	}
	registered, err := o.Store.Registration(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := withinQuota(registered.Registration, o.Tenant, usageOf(now.Tree), usageOf(then.Tree)); err != nil {
		return nil, err
	}
	if o.DryRun {
		return &Commit{Changes: changes}, nil
	}
	draft := o.Store.RegisteredAs(registered).NewDraft(ctx, now.Head)
	draft.Channels(o.channels(now.Head)...)
	if ahead := now.Head.Ahead; ahead != nil && ahead.Generation >= o.Generation {
		draft.Ahead()
	}
	draft.Rollback(o.Generation)
	sent, err := newComeback(now, then, draft).contents(ctx, changes)
	if err != nil {
		draft.Discard()
		return nil, err
	}
	record := o.record(now.Head, then.Tree, sent)
	head, err := draft.Commit(ctx, record)
	if errors.Is(err, store.ErrAmbiguous) {
		o.unsure = record.Generation
	}
	if err != nil {
		return nil, err
	}
	return &Commit{Position: head.Position, Changes: changes, Bytes: newBytes(changes)}, nil
}

// settled returns the commit whose outcome was unknown if it is in the history, else nil.
func (o *rollback) settled(ctx context.Context, view store.View) (*Commit, error) {
	for c, err := range o.Store.Commits(ctx, view, o.unsure, 0) {
		if err != nil {
			return nil, err
		}
		if c.Record.Instance == o.instance {
			return &Commit{Position: c.Record.Position(), Changes: c.Changes, Bytes: newBytes(c.Changes)}, nil
		}
	}
	return nil, nil
}

// guard returns ErrRefused if so much would go that it looks like a mistake.
func (o *rollback) guard(now, then diff.Tree, changes []diff.Change) error {
	gone, had := deleted(changes), files(now)
	if o.Allow.Delete || !tooMany(gone, had, files(then), o.MaxDelete) {
		return nil
	}
	return refuse("if that is meant, roll back with --allow delete", "%d of %d files would be deleted, more than max_delete = %.0f%%",
		gone, had, 100*o.MaxDelete)
}

// channels returns those that have what is rolled back: all that are at the generation, or
// beyond it.
func (o *rollback) channels(head *store.Head) []string {
	names := []string{} // Not nil: that would be the main one.
	for _, c := range head.AllChannels() {
		if c.Generation >= o.Generation {
			names = append(names, c.Name)
		}
	}
	return names
}

func (o *rollback) record(head *store.Head, tree diff.Tree, sent []codec.Change) *codec.Record {
	r := &codec.Record{
		Tenant: head.Position.Tenant, Generation: head.Position.Generation + 1, Parent: head.Position.Commit, Time: time.Now(),
		Publisher: o.Name, Instance: o.instance, Message: o.Message, Digest: tree.Digest(), Keyframe: head.Keyframe,
		List: codec.List{Changes: sent},
	}
	if r.Publisher == "" {
		r.Publisher = head.Publisher
	}
	if r.Message == "" {
		r.Message = fmt.Sprintf("rollback to generation %d", o.Generation)
	}
	return r
}

// newBytes is the size of the contents that changes bring.
func newBytes(changes []diff.Change) (n int64) {
	_, places := firsts(changes, false)
	for _, i := range places {
		n += changes[i].New.Size
	}
	return n
}
