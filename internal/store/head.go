package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/confsyncd/confsyncd/internal/codec"
)

// WithHead reads the head and calls do with it, and both again, at a growing pace, while
// the error of either is Temporary and until ctx ends: then it returns that error. What
// is missing is looked for twice, since it may have been removed for its age between two
// reads; missing again under the same head it is ErrDamaged. A head that cannot be
// understood is for do to see. Errors are Advised.
func (s *Store) WithHead(ctx context.Context, do func(View) error) error {
	var last *Head
	var pace Backoff
	for {
		view, err := s.View(ctx)
		if err == nil {
			err = do(view)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrGone) && last != nil && last.Same(view.Head):
			return s.Advised(fmt.Errorf("%w: %w", ErrDamaged, err))
		case errors.Is(err, ErrGone):
			last = view.Head
		case !Temporary(err):
			return s.Advised(err)
		}
		if pace.Wait(ctx) != nil {
			return err
		}
	}
}

// Advised adds to an error that tells of damage what to do about it, and returns any
// other as it is.
func (s *Store) Advised(err error) error {
	if !errors.Is(err, ErrDamaged) && !errors.Is(err, codec.ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w; restore etcd from a backup, or delete its key %s: then the publisher publishes its whole directory anew", err, s.keys.head())
}
