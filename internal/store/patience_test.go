package store

import (
	"testing"
	"time"
)

func TestPatience(t *testing.T) {
	var p patience
	for _, step := range []struct {
		took, next time.Duration
	}{
		{0, callTimeout},
		{callTimeout, 2 * callTimeout}, // not done
		{2 * callTimeout, 4 * callTimeout},
		{15 * time.Second, 30 * time.Second}, // done
		{50 * time.Second, longest},
		{10 * time.Millisecond, callTimeout},
	} {
		p.took(step.took)
		if got := p.limit(); got != step.next {
			t.Errorf("after %v: %v, want %v", step.took, got, step.next)
		}
	}
}
