//go:build faults

package faults

// dataCases are what may lie in etcd that no publisher put there.
func dataCases() []Case { return nil }
