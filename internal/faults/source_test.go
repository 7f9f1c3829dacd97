//go:build faults

package faults

// sourceCases are what people and programs do in a source.
func sourceCases() []Case { return nil }
