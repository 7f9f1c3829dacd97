package metrics

import (
	"math"
	"time"
)

// The bounds of buckets: from a millisecond, each twice the one before, up to 65.5 s.
const (
	firstBound = 0.001 // seconds
	buckets    = 18    // the last one has no bound
)

// bound returns the upper bound of a bucket in seconds.
func bound(i int) float64 {
	if i == buckets-1 {
		return math.Inf(1)
	}
	return firstBound * float64(uint64(1)<<i)
}

// durations is a histogram; its owner guards it.
type durations struct {
	counts [buckets]uint64
	sum    float64 // seconds
}

// observe counts a duration; a negative one, which only clocks that differ make, as 0.
func (d *durations) observe(took time.Duration) {
	seconds := max(took.Seconds(), 0)
	i := 0
	for seconds > bound(i) {
		i++
	}
	d.counts[i]++
	d.sum += seconds
}
