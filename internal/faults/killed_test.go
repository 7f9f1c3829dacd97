//go:build faults

package faults

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/lab"
)

// killedCases end processes, or stop them, in the midst of what they do.
func killedCases() []Case {
	mixed := Setup{Empty: true, Files: 1}
	return slices.Concat([]Case{
		{
			Name: "agent and publisher at random moments",
			How:  "SIGKILL again and again while files are edited, and started again at once",
			Try: func(w *World) {
				for range 10 {
					w.Edit(5)
					time.Sleep(time.Duration(w.Writer.Draw(60)) * time.Millisecond)
					w.do(w.Target.Daemon.Kill())
					w.Honest()
					w.Agent()
					w.Edit(5)
					time.Sleep(time.Duration(w.Writer.Draw(60)) * time.Millisecond)
					w.do(w.Source.Daemon.Kill())
					w.Publish()
					w.Count("kills", 2)
				}
				w.Healed()
			},
		},
		{
			Name: "between rename and journal",
			How: `SIGKILL by ptrace of the agent before it writes "at" to the journal; in tree mode, when the trees are exchanged and ` +
				"their directories are about to be synced",
			Setup: mixed,
			Try:   (*World).killBeforeAt,
		},
		{
			Name:  "in mid-staging of a large changeset",
			How:   "SIGKILL by ptrace of push, then of pull, at moments spread over 300 files of 20 KB, all changed",
			Slow:  true,
			Setup: mixed,
			Try:   (*World).killStaging,
		},
		{
			Name:  "agent told to end in mid-apply",
			How:   "SIGTERM by ptrace before every fourth call of an apply: it exits with 0, and no apply is left half done",
			Slow:  true,
			Setup: mixed,
			Try: func(w *World) {
				w.interruptAgents(syscall.SIGTERM, 4, func(p *lab.Process) {
					w.endedWell(p)
					w.Honest()
					if _, pending, err := install.ReadState(w.Target.Dir); err != nil || pending != nil {
						w.wrong("b", "an apply was left half done after SIGTERM: %v, %v", pending != nil, err)
					}
					w.do(lab.Leftovers(w.Target.Dir))
				})
			},
		},
		{
			Name:  "publisher told to end in mid-commit",
			How:   "SIGTERM by ptrace before every call on its memory, and every write to etcd: it exits with 0",
			Modes: []string{"files"},
			Setup: mixed,
			Try:   func(w *World) { w.interruptPublishers(syscall.SIGTERM, 1, w.endedWell) },
		},
		{
			Name: "agent stopped past a compaction",
			How:  "SIGSTOP, 30 commits, etcd compacted and defragmented, once with its connections cut besides, SIGCONT",
			Try: func(w *World) {
				w.stopPast(w.Target, w.TargetProxies, func() {
					for range 30 {
						w.publishEdit()
					}
				})
			},
		},
		{
			Name: "publisher stopped past a compaction",
			How: "SIGSTOP, 10 commits of a push beside it, other keys' revisions, and edits that nobody publishes, etcd compacted and defragmented, " +
				"once with its connections cut besides, SIGCONT",
			Modes: []string{"files"},
			Try: func(w *World) {
				w.stopPast(w.Source, w.SourceProxies, func() {
					for range 10 {
						w.Replace(2)
						w.Push()
					}
					cl := w.Cluster.Client(w.T)
					for i := range 50 {
						_, err := cl.Put(w.Context(), "/elsewhere", fmt.Sprint(i))
						w.do(err)
					}
					w.Edit(5)
				})
			},
		},
	}, killedCallsCases())
}

// endedWell looks that a process that was told to end exited with 0.
func (w *World) endedWell(p *lab.Process) {
	w.Helper()
	if p.Err != nil {
		w.wrong("f", "after SIGTERM: %v, see %s", p.Err, lab.Tail(p.Log))
	}
}

func (w *World) killBeforeAt() {
	w.Helper()
	m := w.NewMixed()
	w.Publish()
	journal, parent := filepath.Join(w.Target.Dir, ".confsyncd", "journal"), filepath.Dir(w.Target.Dir)
	tr, n := &lab.Trace{Counts: func(c lab.Call) bool { return c.Name == "pwrite64" && c.Path == journal }}, 2 // The first is "next".
	if w.Mode == "tree" {
		tr, n = &lab.Trace{Counts: func(c lab.Call) bool { return c.Name == "fsync" && c.Path == parent }}, 1
	}
	for range 10 {
		tr.Arm(0, nil)
		w.do(w.Target.StartTraced(tr, "agent", w.AgentFlags()...))
		w.applied()
		if w.stopRead == nil {
			w.Read()
		}
		w.arm(tr, n, syscall.SIGKILL)
		m.Turn()
		if !w.interrupted(w.Target, tr, func() bool { return false }) {
			w.Fatal("not killed")
		}
		if err := w.differ(); err != nil {
			w.wrong("a", "all was renamed, but %v", err)
		}
		w.Honest()
	}
	w.Healed()
	w.Agent()
}

func (w *World) killStaging() {
	w.Helper()
	w.do(w.Writer.Mkdirs("many"))
	change := func() {
		for i := range 300 {
			w.do(w.Writer.Write(fmt.Sprintf("many/f%03d", i), 0o644, 20_000))
		}
	}
	change()
	sockets, files := w.sourceCalls()[1], w.targetCalls()
	if w.killAt(w.Source, sockets, 0, "push", "--publisher", "ci") || w.killAt(w.Target, files, 0, "pull", w.AgentFlags()...) {
		w.Fatal("killed although nothing was armed")
	}
	sends, calls := sockets.Calls(), files.Calls()
	w.Logf("%d writes to etcd, %d calls on the target", sends, calls)
	w.Read()
	const times = 8
	for i := range times {
		change()
		before := w.Source.Generation(w.T)
		w.killAt(w.Source, sockets, 1+sends*i/times+w.Writer.Draw(max(1, sends/times)), "push", "--publisher", "ci")
		w.Push()
		w.onceMore(before)
		w.killAt(w.Target, files, 1+calls*i/times+w.Writer.Draw(calls/times), "pull", w.AgentFlags()...)
		w.Honest()
		w.Pull()
	}
	w.Publish()
	w.Agent()
}

// stopPast stops a daemon while something is done and etcd compacted, twice.
func (w *World) stopPast(h *lab.Host, proxies []*lab.Proxy, do func()) {
	w.Helper()
	for _, cut := range []bool{false, true} {
		w.do(h.Daemon.Cmd.Process.Signal(syscall.SIGSTOP))
		do()
		w.compact()
		if cut {
			for _, p := range proxies {
				p.Reset()
			}
		}
		w.Healed()
		w.do(h.Daemon.Cmd.Process.Signal(syscall.SIGCONT))
		w.Count("stops", 1)
		w.Converge()
	}
}

// compact takes all revisions but the newest away from etcd.
func (w *World) compact() {
	w.Helper()
	cl := w.Cluster.Client(w.T)
	now, err := cl.Get(w.Context(), "/", clientv3.WithCountOnly())
	w.do(err)
	_, err = cl.Compact(w.Context(), now.Header.Revision, clientv3.WithCompactPhysical())
	w.do(err)
	for _, m := range w.Cluster.Members {
		_, defragErr := cl.Defragment(w.Context(), m.Endpoint())
		err = errors.Join(err, defragErr)
	}
	w.do(err)
}

// publishEdit edits, and waits until that is committed.
func (w *World) publishEdit() {
	w.Helper()
	before := lab.CountLines(w.Source.Log, `"committed"`)
	w.Replace(2)
	_, err := lab.Eventually(w.c.within(), func() error {
		if lab.CountLines(w.Source.Log, `"committed"`) == before {
			return fmt.Errorf("not committed, see %s", lab.Tail(w.Source.Log))
		}
		return nil
	})
	w.do(err)
}
