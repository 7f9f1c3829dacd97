package store

import (
	"context"
	"time"
)

// beatEvery is how often a call that waits for others shows that it is not stuck.
const beatEvery = 5 * time.Second

// beatKey is the context's key of the function that Beating was given.
type beatKey struct{}

// Beating returns a context whose calls to etcd call beat when they begin, and every
// five seconds while they wait for their turn: what takes many calls, or waits for those
// of others to an etcd that is away, is slow and not stuck. One call by itself beats
// only at its beginning. beat may be called from several goroutines.
func Beating(ctx context.Context, beat func()) context.Context {
	return context.WithValue(ctx, beatKey{}, beat)
}

func beat(ctx context.Context) {
	if beat, ok := ctx.Value(beatKey{}).(func()); ok {
		beat()
	}
}

// turn waits for the one token of a channel of capacity 1, which is given back by
// receiving from it. It returns ctx's error if that ends first.
func turn(ctx context.Context, token chan struct{}) error {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case token <- struct{}{}:
			return nil
		case <-tick.C:
			beat(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
