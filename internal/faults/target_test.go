//go:build faults

package faults

import "slices"

// targetCases are what becomes of a target's disk, and what others do in it.
func targetCases() []Case {
	return slices.Concat(diskCases(), errorCases(), localCases(), otherCases(), stateCases(), movedCases(), homeCases())
}
