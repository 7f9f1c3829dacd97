//go:build faults

package faults

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestFaults tries every case of the table, or, with -sample, as many as the time allows,
// in an order that the seed gives.
func TestFaults(t *testing.T) {
	type trial struct {
		group string
		c     Case
		mode  string
	}
	var trials []trial
	for _, g := range groups() {
		for _, c := range g.Cases {
			for _, m := range c.modes() {
				trials = append(trials, trial{g.Name, c, m})
			}
		}
	}
	seed := theSeed()
	t.Logf("seed %d (repeat with -seed %d)", seed, seed)
	if *sampleFlag > 0 {
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(trials), func(i, j int) { trials[i], trials[j] = trials[j], trials[i] })
	}
	end, endAlone := time.Now().Add(*sampleFlag), time.Now().Add(*sampleFlag/4) // Those that run alone come first.
	for _, tr := range trials {
		name := tr.group + "/" + tr.c.Name
		if tr.mode != "" {
			name += "/" + tr.mode
		}
		t.Run(name, func(t *testing.T) {
			if !tr.c.Alone {
				t.Parallel()
			}
			if *sampleFlag > 0 && (tr.c.Slow || time.Now().After(end) || tr.c.Alone && time.Now().After(endAlone)) {
				t.Skip("not in this sample")
			}
			tr.c.run(t, tr.group, tr.mode)
		})
	}
}
