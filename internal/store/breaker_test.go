package store

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errAway = errors.New("away")

func TestBackoff(t *testing.T) {
	var b Backoff
	for range 3 { // the same again after each Reset
		limit := retryFirst
		var longest time.Duration
		for i := range 200 {
			d := b.Next()
			if d <= 0 || d > limit+time.Millisecond {
				t.Fatalf("wait %d is %v, want up to %v", i, d, limit)
			}
			longest = max(longest, d)
			limit = min(limit*3/2, retryLast)
		}
		if longest < retryLast*3/4 {
			t.Errorf("the longest of 200 waits is %v, want up to %v", longest, retryLast)
		}
		b.Reset()
	}
}

func TestBackoffWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{delay: retryLast}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		begin := time.Now()
		if err := b.Wait(t.Context()); err != nil || time.Since(begin) > retryLast+time.Millisecond {
			t.Errorf("waited %v: %v", time.Since(begin), err)
		}
	})
}

// calls makes calls that stay under way until they are released.
type calls struct {
	breaker *breaker
	running chan struct{} // holds one token for each call under way
	release chan error    // what calls return with; nil means that etcd was reached
	ended   chan error
}

func newCalls(b *breaker) *calls {
	return &calls{breaker: b, running: make(chan struct{}, 10), release: make(chan error), ended: make(chan error, 10)}
}

func (c *calls) start(ctx context.Context, n int) {
	for range n {
		go func() {
			c.ended <- c.breaker.do(ctx, func() (bool, error) {
				c.running <- struct{}{}
				err := <-c.release
				<-c.running
				return err == nil, err
			})
		}()
	}
	synctest.Wait()
}

func (c *calls) underWay(t *testing.T, want int) {
	t.Helper()
	synctest.Wait()
	if got := len(c.running); got != want {
		t.Fatalf("%d calls under way, want %d", got, want)
	}
}

func (b *breaker) fail(t *testing.T, times int) {
	t.Helper()
	for range times {
		if err := b.do(t.Context(), func() (bool, error) { return false, errAway }); !errors.Is(err, errAway) {
			t.Fatal(err)
		}
	}
}

func TestBreaker(t *testing.T) {
	t.Run("lets all calls through at first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker()
			b.fail(t, breakAfter-1)
			c := newCalls(b)
			c.start(t.Context(), 3)
			c.underWay(t, 3)
			for range 3 {
				c.release <- nil
			}
		})
	})
	t.Run("lets one call at a time through after five failures, and all after a success", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker()
			b.fail(t, breakAfter)
			c := newCalls(b)
			c.start(t.Context(), 4)
			c.underWay(t, 1)
			c.release <- errAway
			c.underWay(t, 1)
			c.release <- nil
			c.underWay(t, 1) // those that were waiting already still take turns
			c.start(t.Context(), 3)
			c.underWay(t, 4)
			for range 5 {
				c.release <- nil
			}
			c.underWay(t, 0)
			if b.open() || len(c.ended) != 7 {
				t.Errorf("open %v, %d calls ended", b.open(), len(c.ended))
			}
		})
	})
	t.Run("does not count an etcd that refuses", func(t *testing.T) {
		b := newBreaker()
		for range 2 * breakAfter {
			if err := b.do(t.Context(), func() (bool, error) { return true, ErrRefused }); !errors.Is(err, ErrRefused) {
				t.Fatal(err)
			}
		}
		if b.open() {
			t.Error("it is open")
		}
	})
	t.Run("counts all calls", func(t *testing.T) {
		c := Client{breaker: newBreaker()}
		c.breaker.fail(t, breakAfter)
		if got, want := c.Calls(), (Calls{Made: breakAfter, Failed: breakAfter, Broken: true}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if err := c.breaker.do(t.Context(), func() (bool, error) { return true, nil }); err != nil {
			t.Fatal(err)
		}
		if got, want := c.Calls(), (Calls{Made: breakAfter + 1, Failed: breakAfter}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
	t.Run("begins to count anew after a success", func(t *testing.T) {
		b := newBreaker()
		b.fail(t, breakAfter-1)
		if err := b.do(t.Context(), func() (bool, error) { return true, nil }); err != nil {
			t.Fatal(err)
		}
		b.fail(t, breakAfter-1)
		if b.open() {
			t.Error("it is open")
		}
		b.fail(t, 1)
		if !b.open() {
			t.Error("it is not open")
		}
	})
	t.Run("does not count calls whose context ended", func(t *testing.T) {
		b := newBreaker()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 2 * breakAfter {
			_ = b.do(ctx, func() (bool, error) { return false, errAway })
		}
		if b.open() {
			t.Error("it is open")
		}
	})
	t.Run("waiting ends with its context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker()
			b.fail(t, breakAfter)
			c := newCalls(b)
			c.start(t.Context(), 1)
			ctx, cancel := context.WithCancel(t.Context())
			c.start(ctx, 1)
			cancel()
			if err := <-c.ended; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			c.underWay(t, 1)
			c.release <- nil
			if err := <-c.ended; err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("a call that waits beats", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker()
			b.fail(t, breakAfter)
			c := newCalls(b)
			c.start(t.Context(), 1)
			var last atomic.Pointer[time.Time]
			beat := func() {
				now := time.Now()
				last.Store(&now)
			}
			beat()
			c.start(Beating(t.Context(), beat), 1)
			for range 60 {
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if since := time.Since(*last.Load()); since > 2*beatEvery {
					t.Fatalf("no beat for %v", since)
				}
			}
			c.release <- nil
			c.release <- nil
		})
	})
	t.Run("tells since when calls fail, and with what", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := NewClient(Config{})
			if _, err := c.Failing(); err != nil {
				t.Error(err)
			}
			begin := time.Now()
			for range 2 * breakAfter {
				c.breaker.fail(t, 1)
				if since, err := c.Failing(); !errors.Is(err, errAway) || !since.Equal(begin) {
					t.Errorf("%v since %v, want %v", err, since, begin)
				}
				time.Sleep(time.Second)
			}
			if err := c.breaker.do(t.Context(), func() (bool, error) { return true, nil }); err != nil {
				t.Error(err)
			}
			if _, err := c.Failing(); err != nil {
				t.Error(err)
			}
		})
	})
}
