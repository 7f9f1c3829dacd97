package rollout

import (
	"context"
	"time"
)

// At makes one step as if it were that time.
func (r *Rollout) At(ctx context.Context, now time.Time) error {
	r.now = func() time.Time { return now }
	_, err := r.once(ctx)
	return err
}

// Hasten makes a running rollout look at hosts so often.
func (r *Rollout) Hasten(every time.Duration) { r.every = every }
