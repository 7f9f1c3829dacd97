//go:build faults

package faults

// powerCases cut the power of file systems.
func powerCases() []Case { return nil }
