//go:build bench

package bench

import (
	"fmt"
	"math"
	"slices"
)

// Sample is what was measured of one thing, again and again, all in one unit.
type Sample []float64

// Percentile is the smallest value that p percent are not above; NaN of none.
func (s Sample) Percentile(p float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(len(s)-1, max(0, int(math.Ceil(float64(len(s))*p/100))-1))]
}

// Median is the value in the middle.
func (s Sample) Median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	if n := len(s); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(s)/2]
}

// Mean is the average.
func (s Sample) Mean() float64 {
	sum := 0.0
	for _, v := range s {
		sum += v
	}
	return sum / float64(len(s))
}

// Max is the largest.
func (s Sample) Max() float64 { return slices.Max(s) }

// spread tells the quartiles, and of how many they are; "" of a single value.
func (s Sample) spread() string {
	if len(s) < 2 {
		return ""
	}
	return fmt.Sprintf("%s–%s of %d", figure(s.Percentile(25)), figure(s.Percentile(75)), len(s))
}

// figure writes a number with three digits that count, or more before the point.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case a >= 100 || v == math.Trunc(v):
		return thousands(fmt.Sprintf("%.0f", v))
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// thousands puts commas between groups of three digits.
func thousands(digits string) string {
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
