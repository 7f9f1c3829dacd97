//go:build !lean

package fleet_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confsyncd/confsyncd/internal/fleet"
)

// spoken returns when hosts say something, in order, if all of them have news at the same
// times, which are settled a while later.
func spoken(t *testing.T, hosts int, news []time.Duration, takes time.Duration) (said []time.Duration) {
	synctest.Test(t, func(*testing.T) {
		begin := time.Now()
		var mu sync.Mutex // guards said
		var wg sync.WaitGroup
		for range hosts {
			wg.Go(func() {
				for _, at := range fleet.Spoken(begin, news, takes) {
					mu.Lock()
					said = append(said, at)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	})
	slices.Sort(said)
	return said
}

func TestThousandHostsThatApplyAtOnceSayLessThanOnceEachInFiveSeconds(t *testing.T) {
	const hosts, each = 1000, 5 * time.Second
	const chance = hosts / 100 // that a few speak at nearly the same times says nothing
	var many []time.Duration
	for at := time.Duration(0); at < 30*time.Second; at += 300 * time.Millisecond {
		many = append(many, at)
	}
	for name, tt := range map[string]struct {
		news  []time.Duration
		takes time.Duration
	}{
		"one generation":                    {[]time.Duration{0}, 100 * time.Millisecond},
		"one that takes long":               {[]time.Duration{0}, 7 * time.Second},
		"one after the other":               {many, 100 * time.Millisecond},
		"one after the other, none settles": {many, 400 * time.Millisecond},
		"two, a pause apart":                {[]time.Duration{0, each}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			said := spoken(t, hosts, tt.news, tt.takes)
			for i := range said {
				// Windows that begin with something that is said: others of that length hold no more.
				for j := i; j < len(said); j++ {
					window := max(said[j]-said[i], each)
					if n := j - i + 1; float64(n) > hosts*window.Seconds()/each.Seconds()+chance {
						t.Fatalf("from %v to %v it was said %d times, %.0f times a second", said[i], said[j], n, float64(n)/window.Seconds())
					}
				}
			}
		})
	}
}

func TestHostSaysSoonWhatBecameOfAnApply(t *testing.T) {
	for name, tt := range map[string]struct {
		takes    time.Duration
		from, to time.Duration // when it is said first
		times    int
	}{
		"nothing is under way": {0, 0, time.Second, 1},
		"it takes a moment":    {3 * time.Second, 3 * time.Second, 4 * time.Second, 1},
		"it takes long":        {20 * time.Second, 5 * time.Second, 6 * time.Second, 2},
	} {
		t.Run(name, func(t *testing.T) {
			for range 100 {
				said := spoken(t, 1, []time.Duration{0}, tt.takes)
				if len(said) != tt.times || said[0] < tt.from || said[0] > tt.to {
					t.Fatalf("said at %v", said)
				}
			}
		})
	}
}
