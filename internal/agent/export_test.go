package agent

import "time"

// Hasten makes an agent look by the clock so often. With deaf it watches nothing.
func (a *Agent) Hasten(look, deep time.Duration, deaf bool) {
	a.every = intervals{look: look, deep: deep, control: 20 * time.Millisecond}
	if deaf {
		a.watch = newWatch("/nowhere", driftSettle, a.options.Log)
	}
}

// Settle makes an agent wait for less quiet before it puts right what has drifted, and
// less long before it does so again.
func (a *Agent) Settle(quiet, first time.Duration) {
	a.drifts = newDrifts(quiet, first)
	a.watchFor(quiet)
}
