package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// finish checks that nothing was committed beyond what the steps account for, and
// reports the run.
func (r *replay) finish(ctx context.Context, began time.Time) error {
	if err := r.expectNothing(ctx); err != nil {
		return err
	}
	head, err := r.services.head(ctx)
	if err != nil {
		return err
	}
	if head != r.generation {
		return fmt.Errorf("the head is at generation %d, the steps made %d", head, r.generation)
	}
	size, err := r.services.bytesInUse(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("steps        %d, %d of them change nothing\n", r.steps, r.idle)
	fmt.Printf("generations  %d, %d of them pushed past the deletion guard\n", r.generation, r.pushes)
	fmt.Printf("files        %d at the end, identical after every step\n", r.tree.files())
	fmt.Printf("etcd         %d bytes in use\n", size)
	slices.SortFunc(r.latencies, func(a, b latency) int { return cmp.Compare(a.Duration, b.Duration) })
	fmt.Printf("latency      p50 %v, p99 %v, max %v: from the end of a step's edits to an identical target, pushes aside\n",
		r.percentile(50), r.percentile(99), r.percentile(100))
	if n := len(r.latencies); n > 0 {
		slowest := r.latencies[n-1]
		fmt.Printf("slowest      step %d, commit %.12s\n", slowest.step, slowest.commit)
	}
	fmt.Printf("duration     %v\n", time.Since(began).Round(100*time.Millisecond))
	return nil
}

// percentile returns the latency that p of 100 steps do not exceed. The latencies are
// sorted.
func (r *replay) percentile(p int) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	n := (len(r.latencies)*p + 99) / 100 // rounded up: the nearest rank
	return r.latencies[n-1].Round(100 * time.Microsecond)
}
