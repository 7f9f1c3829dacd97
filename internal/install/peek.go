package install

import (
	"errors"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// Peek opens a target without its lock and without completing or changing anything, so
// that it may be done beside an agent: for State, Check, Accepted, Rebase (in memory
// alone) and Close. What an interrupted apply left is taken for not yet applied. The
// error wraps ErrNested, ErrUnswitchable, journal.ErrNewer, or says that the directory cannot be opened.
func Peek(o Options) (*Target, error) {
	if err := nested(o.Dir); err != nil {
		return nil, err
	}
	if o.Mode == Tree {
		if err := CheckTree(o.Dir); err != nil {
			return nil, err
		}
	}
	t, err := openReading(o)
	if err != nil {
		return nil, err
	}
	s, _, err := ReadState(o.Dir)
	switch {
	case errors.Is(err, journal.ErrNone), errors.Is(err, journal.ErrDamaged):
		s = t.State()
	case err != nil:
		return nil, errors.Join(err, t.Close())
	}
	t.peeked = &s
	return t, nil
}

// rebased is Rebase of a target that is open for reading alone.
func (t *Target) rebased(to diff.Position) { t.peeked.Position = justBefore(to) }

// justBefore is where a target is said to be, so that it may go on to a position.
func justBefore(to diff.Position) diff.Position {
	return diff.Position{Tenant: to.Tenant, Generation: to.Generation - 1}
}
