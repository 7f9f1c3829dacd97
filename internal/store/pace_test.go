package store

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestPace(t *testing.T) {
	const txns, each = 20, 10 * time.Millisecond
	for name, tt := range map[string]struct {
		others   int64 // writes of others during each Txn
		inFlight int64 // the most at a time after the first few
		took     time.Duration
	}{
		"nobody else writes: all is sent as fast as etcd takes it":   {0, txnsInFlight, (txns/txnsInFlight + 1) * each},
		"others write: one at a time, and they have etcd in between": {5, 1, (txns - 2*txnsInFlight) * each * (1 + restTimes)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPace()
				var revision, flying, most atomic.Int64
				var wg sync.WaitGroup
				begin := time.Now()
				slots := make(chan struct{}, txnsInFlight)
				for i := range txns {
					slots <- struct{}{}
					wg.Go(func() {
						defer func() { <-slots }()
						_, err := p.do(context.Background(), func() (int64, error) {
							now := flying.Add(1)
							defer flying.Add(-1)
							if i >= 2*txnsInFlight {
								most.Store(max(most.Load(), now))
							}
							time.Sleep(each)
							return revision.Add(1 + tt.others), nil
						})
						if err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				took := time.Since(begin)
				if most.Load() != tt.inFlight || took > 2*tt.took || 2*took < tt.took {
					t.Errorf("%d at a time in %v, want %d in about %v", most.Load(), took, tt.inFlight, tt.took)
				}
			})
		})
	}
}
