//go:build faults

package faults

import "slices"

// targetCases are what becomes of a target's disk, and what others do in it.
func targetCases() []Case {
	return slices.Concat([]Case{{
		Name: "a file system that fails by itself", Modes: []string{"files"},
		How:   "a FUSE file system that answers errors and loses what it was given",
		Needs: Needs{Work: "not written: errors at each system call of the agent, full and read-only file systems, and cuts of the power stand for it"},
	}}, diskCases(), errorCases(), localCases(), otherCases(), stateCases(), movedCases(), homeCases())
}
