//go:build faults

package faults

import "slices"

// targetCases are what becomes of a target's disk, and what others do in it.
func targetCases() []Case {
	cases := slices.Concat(diskCases(), errorCases(), localCases(), otherCases(), stateCases(), movedCases(), homeCases())
	for i := range cases {
		// While a fault lasts, many edits gather in one changeset: what guards the source
		// is not the subject here.
		cases[i].Setup.Publish = append(cases[i].Setup.Publish, "--max-delete", "100%")
	}
	return cases
}
