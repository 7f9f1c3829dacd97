package install

import (
	"context"
	"errors"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// Prune removes the paths that changes of the selection have left behind (State.Left).
// Since what they were is not known any more, files and symlinks are kept first.
// Directories that hold anything else stay, and are in Result.Unmanaged. Errors are
// those of Apply.
func (t *Target) Prune(ctx context.Context) (Result, error) {
	if err := t.ready(); err != nil {
		return Result{}, err
	}
	s := t.State()
	if len(s.Left) == 0 {
		return Result{}, nil
	}
	w := &work{t: t, base: s.Managed, want: s.Managed, leave: map[string]bool{}}
	w.pending = journal.Pending{Meta: s.Meta, Position: s.Position, Prune: s.Left}
	c := t.cursor()
	defer c.close()
	for _, path := range s.Left {
		st := step{Change: diff.Change{Path: path}}
		if err := w.look(c, &st); err != nil {
			return Result{}, err
		}
		w.steps = append(w.steps, st)
	}
	w.forbid(c)
	if err := w.access(c); err != nil {
		return Result{}, err
	}
	if w.conflict.Total > 0 {
		return Result{}, &w.conflict
	}
	w.settle()
	err := w.run(ctx, noContents{})
	return w.result, err
}

// noContents provides nothing.
type noContents struct{}

var errNoContents = errors.New("no contents are to be had")

// Fetch returns an error.
func (noContents) Fetch(context.Context, []diff.Entry, func(diff.Hash) []byte, func(diff.Entry, []byte) error) error {
	return errNoContents
}
