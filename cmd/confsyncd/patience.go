package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confsyncd/confsyncd/internal/store"
)

// patience is how long commands that are not daemons wait for an etcd that does not
// answer.
const patience = 10 * time.Second

// errEtcdAway is returned when etcd could not be reached in that time.
var errEtcdAway = errors.New("etcd cannot be reached")

// withPatience runs do with a context that ends when etcd has not answered for a
// while. However long do takes with an etcd that answers is fine.
func withPatience(ctx context.Context, c *store.Client, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if since, err := c.Failing(); err != nil && time.Since(since) > patience {
					cancel(fmt.Errorf("%w: %s has not answered for %v; see that it runs there, and that --endpoints is right: %w",
						errEtcdAway, c.Endpoints(), patience, err))
				}
			}
		}
	}()
	err := do(ctx)
	cause := context.Cause(ctx)
	cancel(nil)
	<-watched
	if errors.Is(err, store.ErrAmbiguous) && errors.Is(cause, errEtcdAway) {
		return fmt.Errorf("%w; the commit may have been made or not: \"confsyncd status\" tells, once etcd answers", cause)
	}
	if err != nil && errors.Is(cause, errEtcdAway) {
		return cause
	}
	return err
}
