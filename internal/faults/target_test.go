//go:build faults

package faults

// targetCases are what becomes of a target's disk, and what others do in it.
func targetCases() []Case { return nil }
