package publisher

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestSettling(t *testing.T) {
	const settle, maxDelay = time.Second, 5 * time.Second
	// look waits as it is told until nothing is to be waited for, and returns for how long;
	// news tells of each look whether it finds something new, and the last for all after it.
	look := func(settle time.Duration, news ...bool) time.Duration {
		var s settling
		begin := time.Now()
		for i := 0; ; i++ {
			wait := s.wait(news[min(i, len(news)-1)], settle, maxDelay)
			if wait <= 0 {
				if s != (settling{}) {
					t.Errorf("it still holds %+v", s)
				}
				return time.Since(begin)
			}
			time.Sleep(wait)
		}
	}
	for _, tt := range []struct {
		name   string
		settle time.Duration
		news   []bool
		want   time.Duration
	}{
		{"nothing new is not waited for", settle, []bool{false}, 0},
		{"what is new is looked at again after settle", settle, []bool{true, false}, settle},
		{"what changes again is waited for again", settle, []bool{true, true, true, false}, 3 * settle},
		{"what changes all the time is waited for until max_delay", settle, []bool{true}, maxDelay},
		{"no settle is no wait", 0, []bool{true}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if got := look(tt.settle, tt.news...); got != tt.want {
					t.Errorf("it waits %v, want %v", got, tt.want)
				}
			})
		})
	}
}
