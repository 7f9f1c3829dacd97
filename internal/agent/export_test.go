package agent

import "time"

// Hasten makes an agent look by the clock so often. With deaf it watches nothing.
func (a *Agent) Hasten(look, deep time.Duration, deaf bool) {
	a.every = intervals{look: look, deep: deep, control: 20 * time.Millisecond}
	if deaf {
		a.watch = newWatch("/nowhere", a.options.Log)
	}
}

// RepairAgain makes an agent wait so long before the second repair of a path in a row.
func (a *Agent) RepairAgain(after time.Duration) { a.drifts = newDrifts(after) }
