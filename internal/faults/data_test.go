//go:build faults

package faults

import "slices"

// dataCases are what may lie in etcd that no publisher put there, and changesets that are
// uncommonly large.
func dataCases() []Case {
	return slices.Concat(damageCases(), bombCases(), replayCases(), pathCases(), sizeCases())
}
