package store

import (
	"context"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// MakeKeyframe stages a keyframe of the view's head and publishes it.
func (s *Store) MakeKeyframe(ctx context.Context, view View, have func(diff.Hash) []byte) (*Head, error) {
	k, err := s.StageKeyframe(ctx, view, have)
	if err != nil {
		return nil, err
	}
	return s.PublishKeyframe(ctx, view.Head, k)
}

// Staged returns how many Txns of packs are known to be applied.
func (d *Draft) Staged() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.put)
}

// Impatient makes the store's client send a commit once, and read it back.
func Impatient(s *Store) { s.client.patience = 0 }
