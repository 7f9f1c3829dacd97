package store

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// The pace of retries: full jitter over a delay that grows from retryFirst by half
// each time up to retryLast.
const (
	retryFirst = 100 * time.Millisecond
	retryLast  = 15 * time.Second
	// breakAfter is how many failures in a row open the breaker.
	breakAfter = 5
)

// Backoff paces the retries of one task. The zero Backoff is ready.
type Backoff struct {
	delay time.Duration
}

// Next returns how long to wait before the next try.
func (b *Backoff) Next() time.Duration {
	if b.delay == 0 {
		b.delay = retryFirst
	} else {
		b.delay = min(b.delay*3/2, retryLast)
	}
	return rand.N(b.delay) + time.Millisecond
}

// Reset is called after a success.
func (b *Backoff) Reset() { b.delay = 0 }

// Wait waits for the next try. It returns ctx's error if that ends first.
func (b *Backoff) Wait(ctx context.Context) error { return sleep(ctx, b.Next()) }

// insist makes an attempt again while its error is Temporary, but not more than breakAfter
// times: for what is one of several calls in a row. If each of them failed all, an etcd that
// answers every other call would keep them from ever coming to the last.
func insist(ctx context.Context, attempt func() error) error {
	var pace Backoff
	for tries := 1; ; tries++ {
		if err := attempt(); err == nil || !Temporary(err) || tries == breakAfter || pace.Wait(ctx) != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// breaker lets one call at a time through to an etcd that failed breakAfter times
// in a row, so that a dead or drowning one is not asked by everybody at once.
type breaker struct {
	probe chan struct{} // capacity 1: held by the one call while open

	mu       sync.Mutex // guards what follows
	calls    uint64     // that were made
	failed   uint64     // of them
	failures int        // in a row
	since    time.Time  // when the first of the failed calls began
	last     error      // of the newest
}

func newBreaker() *breaker { return &breaker{probe: make(chan struct{}, 1)} }

// do runs fn, alone if the breaker is open. reached tells whether fn's error came
// from an etcd that works.
func (b *breaker) do(ctx context.Context, fn func() (reached bool, err error)) error {
	if b.open() {
		if err := turn(ctx, b.probe); err != nil {
			return err
		}
		defer func() { <-b.probe }()
		beat(ctx)
	}
	begin := time.Now()
	reached, err := fn()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	switch {
	case reached:
		b.failures = 0
	case ctx.Err() == nil:
		if b.failures == 0 {
			b.since = begin
		}
		b.failures++
		b.failed++
		b.last = err
	}
	return err
}

func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures >= breakAfter
}
