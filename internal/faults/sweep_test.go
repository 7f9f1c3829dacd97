//go:build faults

package faults

import (
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// sweepCases disturb sweeps, and have them disturb others.
func sweepCases() []Case {
	few := []string{"--retain-generations", "2", "--retain-age", "0s", "--sweep"}
	by := func(sweep string) Setup { return Setup{Publish: append(slices.Clone(few), sweep)} }
	return []Case{
		{
			Name: "gc killed at every sixteenth write to etcd", Modes: []string{"files"}, Setup: by("0s"), Slow: true,
			How: "SIGKILL by ptrace before the n-th write to etcd of a gc that keeps two generations and no pack for being young, n = 1, 17, … until one ends unkilled, while a publisher and an agent are at work; verify --store finds all right each time",
			Try: func(w *World) {
				h := w.history()
				w.Swept = true
				for n, killed := 1, true; killed; n += 16 {
					w.outdate(h, 3)
					killed = w.killGC(n)
					w.storeIsRight()
				}
				w.Healed()
			},
		},
		{
			Name: "swept and compacted while an agent sleeps", Modes: []string{"files"}, Setup: by("0s"),
			How: "SIGSTOP of the agent, commits until nothing that it has is retained, gc, compaction and defragmentation, SIGCONT; three times",
			Try: func(w *World) {
				h := w.history()
				w.Swept = true
				for range 3 {
					w.do(w.Target.Daemon.Cmd.Process.Signal(syscall.SIGSTOP))
					w.outdate(h, 6)
					w.gc()
					h.compact()
					w.do(w.Target.Daemon.Cmd.Process.Signal(syscall.SIGCONT))
					w.Healed()
					w.Converge()
				}
				w.storeIsRight()
			},
		},
		{
			Name: "publisher cut off in the middle of its sweeps", Modes: []string{"files"}, Setup: by("1s"),
			How: "a publisher that sweeps every second, and a proxy that throws away what etcd answers, for 1.2 s, five times while it commits",
			Try: func(w *World) {
				w.Swept = true
				for range 5 {
					for range 4 {
						w.do(w.Writer.Large("weight.bin", 100<<10))
						lab.Sleep(w.Context(), 300*time.Millisecond) // So that they are commits of their own.
					}
					w.SourceProxies[0].Do(lab.Harm{DropAnswers: true})
					lab.Sleep(w.Context(), 1200*time.Millisecond) // So long it lasts: that is the fault.
					w.SourceProxies[0].Heal()
					w.Count("partitions", 1)
				}
				w.Healed()
				w.Converge()
				w.storeIsRight()
			},
		},
	}
}

// outdate makes so many commits, each of which outweighs the tree: so there are keyframes.
func (w *World) outdate(h *history, commits int) {
	w.Helper()
	for range commits {
		before := h.commits()
		w.do(w.Writer.Large("weight.bin", 100<<10))
		h.grown(before)
	}
}

// gcFlags keep next to nothing.
func gcFlags() []string {
	return []string{"gc", "--tenant", tenant, "--retain-generations", "2", "--retain-age", "0s", "--young", "0s"}
}

// gc removes what is not retained.
func (w *World) gc() {
	w.Helper()
	if r := w.Target.Command(w.T, gcFlags()...); r.Code != 0 {
		w.wrong("c", "gc: %v", r)
	}
}

// killGC runs a gc that is killed before its n-th write to etcd, and reports whether it was.
func (w *World) killGC(n int) bool {
	w.Helper()
	tr := &lab.Trace{Counts: lab.Call.Socket}
	w.arm(tr, n, syscall.SIGKILL)
	args := append(gcFlags(), "--endpoints", w.Cluster.Members[0].Endpoint())
	log := filepath.Join(w.TempDir(), "gc") // Beside the target it would be what the agent has left over.
	p, err := lab.StartTraced(tr, log, lab.Environment(), program, args...)
	w.do(err)
	<-p.Ended
	if tr.Disarm() == nil {
		w.do(p.Err)
		return false
	}
	return true
}

// storeIsRight checks all that lies in etcd.
func (w *World) storeIsRight() {
	w.Helper()
	if r := w.Target.Command(w.T, "verify", "--store", "--tenant", tenant); r.Code != 0 {
		w.wrong("c", "etcd holds what is not right: %v", r)
	}
}
