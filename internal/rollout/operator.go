package rollout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/store"
)

var (
	// ErrNone says that the tenant never had a rollout.
	ErrNone = errors.New("there is no rollout")
	// ErrOver says that the rollout is over, or is what it is to become.
	ErrOver = errors.New("nothing to change")
)

// Pause makes the rollout stay where it is until Resume, and what is published meanwhile wait
// too. It returns ErrNone, ErrOver, or what became of the call.
func Pause(ctx context.Context, s *store.Store, by string) (codec.Rollout, error) {
	return change(ctx, s, by, func(now time.Time, r *codec.Rollout) bool {
		if r.State != codec.RolloutRunning && r.State != codec.RolloutHalted {
			return false
		}
		r.State, r.Reason, r.Healthy = codec.RolloutPaused, "by "+by, time.Time{}
		return true
	})
}

// Resume lets a rollout go on that was paused or halted: its stage has all its time again. A
// host that failed still counts until it is well. The errors are those of Pause.
func Resume(ctx context.Context, s *store.Store, by string) (codec.Rollout, error) {
	return change(ctx, s, by, func(now time.Time, r *codec.Rollout) bool {
		if r.State != codec.RolloutPaused && r.State != codec.RolloutHalted {
			return false
		}
		r.State, r.Reason, r.StageBegan = codec.RolloutRunning, "", now
		return true
	})
}

// Abort ends the rollout where it is: hosts that have the generation keep it, and no other
// gets it. What is published next is rolled out anew. The errors are those of Pause.
func Abort(ctx context.Context, s *store.Store, by string) (codec.Rollout, error) {
	return change(ctx, s, by, func(_ time.Time, r *codec.Rollout) bool {
		if r.Over() {
			return false
		}
		r.State, r.Reason, r.Healthy = codec.RolloutAborted, "by "+by, time.Time{}
		return true
	})
}

// change replaces the state by what do makes of it, again while others are faster. do returns
// false if there is nothing to change.
func change(ctx context.Context, s *store.Store, by string, do func(time.Time, *codec.Rollout) bool) (codec.Rollout, error) {
	var pace store.Backoff
	sent := false // an attempt of ours may have been applied
	for {
		view, before, err := s.Rollout(ctx)
		switch {
		case err != nil:
		case before.Err != nil:
			return codec.Rollout{}, before.Err
		case !before.Known:
			return codec.Rollout{}, ErrNone
		default:
			now := time.Now().UTC().Truncate(time.Millisecond)
			next := before.Rollout
			if !do(now, &next) {
				if sent && next.By == by {
					return next, nil
				}
				return next, fmt.Errorf("%w: the rollout of generation %d is %s", ErrOver, next.Generation, next.State)
			}
			next.By, next.Time = by, now
			if view.Head == nil {
				return next, store.ErrNoHead
			}
			if err = s.SetRollout(ctx, view, before, view.Head.Head, next); err == nil {
				return next, nil
			}
			sent = sent || errors.Is(err, store.ErrAmbiguous)
		}
		if !store.Temporary(err) && !errors.Is(err, store.ErrLostRace) || pace.Wait(ctx) != nil {
			return codec.Rollout{}, err
		}
	}
}
