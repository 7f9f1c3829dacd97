package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	pollInterval = time.Millisecond       // between looks at the target: how exact latencies are
	guardAfter   = 3 * time.Second        // without a commit, before asking whether a guard holds it
	logPatience  = 5 * time.Second        // for the publisher to log what has already arrived
	quietTime    = 300 * time.Millisecond // in which a step that changes nothing must commit nothing
)

// replay is the state between two steps.
type replay struct {
	repo     *repository
	services *services
	target   target
	timeout  time.Duration

	tree       tree   // of the step before
	generation uint64 // that led to it

	steps, idle, pushes int
	latencies           []latency
}

// latency is how long a step's edits took to reach the target.
type latency struct {
	time.Duration
	step   int // counted from 1
	commit string
}

// step makes the source equal commit, and returns when the target is identical and
// was brought there by exactly one generation.
func (r *replay) step(ctx context.Context, number int, commit string) error {
	want, err := r.repo.tree(ctx, commit)
	if err != nil {
		return err
	}
	if number > 0 { // The first hold is older than the publisher.
		if err := r.services.hold(); err != nil {
			return err
		}
	}
	if err := r.repo.checkOut(ctx, commit); err != nil {
		return err
	}
	released := time.Now()
	if err := r.services.release(); err != nil {
		return err
	}
	paths := want.changed(r.tree)
	r.tree = want
	r.steps++
	if len(paths) == 0 {
		r.idle++
		return r.expectNothing(ctx)
	}
	pushed, took, err := r.await(ctx, paths, released)
	if err != nil {
		return err
	}
	if !pushed { // A push waits for us.
		r.latencies = append(r.latencies, latency{took, number + 1, commit})
	}
	return r.expectOne(ctx, pushed)
}

// await waits until the target equals the tree: first at paths, then everywhere. It
// reports whether a guard had to be lifted, and how long it took.
func (r *replay) await(ctx context.Context, paths []string, since time.Time) (pushed bool, took time.Duration, err error) {
	asked := false
	for {
		paths = r.pending(paths)
		at := time.Now()
		if len(paths) == 0 {
			different, err := r.target.differences(r.tree)
			if err != nil {
				return pushed, 0, err
			}
			if len(different) == 0 {
				return pushed, at.Sub(since), nil
			}
			for p := range different {
				paths = append(paths, p)
			}
		}
		if err := r.services.alive(); err != nil {
			return pushed, 0, err
		}
		if time.Since(since) > r.timeout {
			different, err := r.target.differences(r.tree)
			if err != nil {
				return pushed, 0, err
			}
			return pushed, 0, fmt.Errorf("the target is another after %v: %s", r.timeout, list(different))
		}
		if !asked && time.Since(since) > guardAfter && !r.services.commits.any() {
			asked = true
			if pushed, err = r.liftGuard(ctx); err != nil {
				return pushed, 0, err
			}
		}
		if err := sleep(ctx, pollInterval); err != nil {
			return pushed, 0, err
		}
	}
}

// pending drops from paths those at the front that the target has. One look at a path
// that is still to come ends it: it costs little to ask often.
func (r *replay) pending(paths []string) []string {
	for i, p := range paths {
		want, wanted := r.tree[p]
		if r.target.difference(p, want, wanted) != "" {
			return paths[i:]
		}
	}
	return nil
}

// liftGuard publishes with --allow delete if that is what the publisher waits for.
func (r *replay) liftGuard(ctx context.Context) (bool, error) {
	why, err := r.services.refused(ctx)
	if err != nil || why == "" {
		return false, err
	}
	if !strings.Contains(why, "--allow delete") {
		return false, fmt.Errorf("publishing waits for an operator: %s", why)
	}
	fmt.Printf("replay: step %d: pushed with --allow delete: %s\n", r.steps, strings.TrimSpace(why))
	r.pushes++
	return true, r.services.allowDelete(ctx)
}

// expectOne checks that one generation was committed. A push's does not stand in the
// daemon's log; finish counts it.
func (r *replay) expectOne(ctx context.Context, pushed bool) error {
	for until := time.Now().Add(logPatience); !pushed && !r.services.commits.any() && time.Now().Before(until); {
		if err := sleep(ctx, pollInterval); err != nil {
			return err
		}
	}
	want := []uint64{r.generation + 1}
	if pushed {
		want = nil
	}
	if got := r.services.commits.take(); !slices.Equal(got, want) {
		return fmt.Errorf("the publisher committed generations %v, want %v", got, want)
	}
	r.generation++
	return nil
}

// expectNothing checks that the target stays what it is, and nothing is committed.
func (r *replay) expectNothing(ctx context.Context) error {
	if err := sleep(ctx, quietTime); err != nil {
		return err
	}
	if got := r.services.commits.take(); len(got) > 0 {
		return fmt.Errorf("nothing changed, and the publisher committed generations %v", got)
	}
	different, err := r.target.differences(r.tree)
	if err == nil && len(different) > 0 {
		err = fmt.Errorf("nothing changed, and the target is another: %s", list(different))
	}
	return err
}
