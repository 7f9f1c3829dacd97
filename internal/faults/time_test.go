//go:build faults

package faults

// timeCases turn clocks and stop processes.
func timeCases() []Case { return nil }
