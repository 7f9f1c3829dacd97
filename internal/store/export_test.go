package store

import (
	"context"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
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

// Send puts what was staged so far into etcd, and returns once it is there.
func (d *Draft) Send() {
	d.mu.Lock()
	sent := len(d.put)
	d.mu.Unlock()
	if len(d.batch) == 0 {
		return
	}
	for d.flush(); d.Staged() == sent && d.ctx.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
}

// Place returns where the version's content lies.
func (v *Version) Place(hash diff.Hash) codec.Content { return v.places[hash].Content }

// SameSweeper reports whether one sweeper has marked both.
func (g *Garbage) SameSweeper(o *Garbage) bool { return g.sweeper == o.sweeper }

// Revision returns the view's.
func (v View) Revision() int64 { return v.revision }
