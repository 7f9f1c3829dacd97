//go:build faults

package faults

import (
	"errors"
	"slices"
)

// etcdCases are faults of etcd, and of the way to it.
func etcdCases() []Case {
	return slices.Concat(serverCases(), networkCases(), relayCases(), memberCases(), versionCases(),
		etcdSpaceCases(), etcdRestoreCases(), etcdElsewhereCases(), etcdAccessCases(), etcdTLSCases())
}

// serverCases end etcd's servers.
func serverCases() []Case {
	return []Case{
		{
			Name:  "server killed and started again",
			How:   "kill -9 of the only member while files are edited",
			Modes: []string{"files"},
			Try: func(w *World) {
				for range 5 {
					w.Replace(3)
					w.do(w.Cluster.Kill())
					w.Edit(10)
					w.do(w.Cluster.Start())
					w.Count("kills", 1)
				}
				w.Healed()
			},
		},
		{
			Name:  "leader killed",
			How:   "kill -9 of the leader of three members, started again when the next edit has arrived",
			Modes: []string{"files"},
			Setup: Setup{Members: 3},
			Try: func(w *World) {
				for range 3 {
					leader := w.Cluster.Members[w.Cluster.Leader(w.T)]
					w.Edit(5)
					w.do(leader.Kill())
					w.Edit(5)
					w.Healed() // Two of three are enough.
					w.Converge()
					w.do(errors.Join(leader.Launch(), leader.Await()))
					w.Count("kills", 1)
				}
			},
		},
	}
}
