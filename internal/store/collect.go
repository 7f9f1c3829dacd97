package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// sweepRest is the shortest rest between two Txns of a sweep.
	sweepRest = 20 * time.Millisecond
	// sweepTries is how many times in a row a sweep may lose a race before it gives up.
	sweepTries = 20
)

// SweepRest returns for how long etcd is left to others after a Txn of a sweep that took so
// long.
func SweepRest(took time.Duration) time.Duration {
	return min(max(restTimes*took, sweepRest), longestRest)
}

// Collect marks what is not kept, tells that to marked, and removes it, also beside
// publishers and other sweeps. If marked returns false nothing is removed. It returns what
// went, also beside an error, which is one of those of Mark and Remove.
func (w *Sweeper) Collect(ctx context.Context, marked func(*Garbage) bool) (went Count, err error) {
	view, err := w.store.View(ctx)
	if err != nil {
		return went, err
	}
	g, err := w.Mark(ctx, view)
	if err != nil || !marked(g) {
		return went, err
	}
	for tries := 0; !g.Empty(); {
		begin := time.Now()
		n, err := g.Remove(ctx, w.store, view)
		went = went.Add(n)
		switch {
		case errors.Is(err, ErrLostRace) && tries < sweepTries:
			tries++
			if view, err = w.store.View(ctx); err != nil {
				return went, err
			}
		case err != nil:
			return went, fmt.Errorf("%w; what is left is removed by the next sweep", err)
		default:
			tries = 0
		}
		if err := sleep(ctx, SweepRest(time.Since(begin))); err != nil {
			return went, err
		}
	}
	return went, nil
}
