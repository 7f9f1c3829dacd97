package lab

import (
	"context"
	"fmt"
	"time"
)

// Eventually waits until what reports no error, and returns how long that took.
func Eventually(within time.Duration, what func() error) (time.Duration, error) {
	begin := time.Now()
	for {
		asked := time.Now()
		err := what()
		if err == nil {
			return time.Since(begin), nil
		}
		if time.Since(begin) > within {
			return within, fmt.Errorf("not within %v: %w", within, err)
		}
		time.Sleep(max(10*time.Millisecond, time.Since(asked)/2))
	}
}

// Sleep waits for d, and reports whether ctx lasted as long.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
