//go:build faults

package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/lab"
)

// killedCallsCases kill processes at every file system call that they make, one after
// another, until a run ends without having made as many.
func killedCallsCases() []Case {
	mixed := Setup{Empty: true, Files: 1}
	return []Case{
		{
			Name: "pull at every call",
			How: "SIGKILL by ptrace before the n-th call that opens for writing, changes, locks or syncs a file of the target, n = 1, 2, … until a pull " +
				"ends unkilled; a small changeset of all kinds, there and back; another pull makes all equal and leaves nothing over",
			Slow:  true,
			Setup: mixed,
			Try:   func(w *World) { w.killPulls(w.targetCalls(), false) },
		},
		{
			Name:  "first pull at every call",
			How:   "as pull at every call, each time into a new target",
			Slow:  true,
			Setup: mixed,
			Try:   (*World).killFirstPulls,
		},
		{
			Name:  "pull while it removes an old tree, at every call",
			How:   "as pull at every call, only the calls on trees that were switched out; each pull 10 s after the last switch",
			Modes: []string{"tree"},
			Slow:  true,
			Setup: mixed,
			Try:   func(w *World) { w.killPulls(w.oldTreeCalls(), true) },
		},
		{
			Name:  "agent at every fourth call",
			How:   "as pull at every call, but of the daemon from the edit on, n = 1, 5, …; the next daemon makes all equal",
			Slow:  true,
			Setup: mixed,
			Try: func(w *World) {
				w.interruptAgents(syscall.SIGKILL, 4, func(*lab.Process) { w.Honest() })
			},
		},
		{
			Name: "push at every call",
			How: "SIGKILL by ptrace before the n-th call that opens for writing, changes, locks or syncs a file of the publisher's memory, then before the n-th write " +
				"to etcd, n = 1, 2, … until a push ends unkilled; another push commits, or says that all is committed: one generation for each changeset",
			Modes: []string{"files"},
			Slow:  true,
			Setup: mixed,
			Try:   (*World).killPushes,
		},
		{
			Name:  "publisher at every call",
			How:   "as push at every call, but of the daemon from the edit on; the next daemon goes on",
			Modes: []string{"files"},
			Setup: mixed,
			Try: func(w *World) {
				w.interruptPublishers(syscall.SIGKILL, 1, func(*lab.Process) {})
			},
		},
	}
}

// oldTreesStay is how long trees that were switched out stay at least.
const oldTreesStay = 10 * time.Second

// sibling is where a target in tree mode has its stage and its old trees.
func (w *World) sibling() string {
	return filepath.Join(filepath.Dir(w.Target.Dir), "."+filepath.Base(w.Target.Dir)+".confsyncd")
}

// targetCalls counts the calls on the target's files, but for those of old trees: how many
// are removed depends on the time.
func (w *World) targetCalls() *lab.Trace {
	old := w.oldTreeCalls()
	return &lab.Trace{Counts: func(c lab.Call) bool { return c.Below(w.Target.Dir, w.sibling()) && !old.Counts(c) }}
}

func (w *World) oldTreeCalls() *lab.Trace {
	return &lab.Trace{Counts: func(c lab.Call) bool {
		name, ok := strings.CutPrefix(c.Path, w.sibling()+"/")
		return ok && (strings.HasPrefix(name, "old-") || strings.HasPrefix(name, "gone-"))
	}}
}

// sourceCalls are those on what the publisher remembers, and what it sends.
func (w *World) sourceCalls() []*lab.Trace {
	memory := filepath.Join(w.Source.State, "sources")
	return []*lab.Trace{{Counts: func(c lab.Call) bool { return c.Below(memory) }}, {Counts: lab.Call.Socket}}
}

// killPulls changes the source, and kills a pull at each call. With late, old trees may go.
func (w *World) killPulls(tr *lab.Trace, late bool) {
	w.Helper()
	m := w.NewMixed()
	w.Push()
	w.Pull()
	w.Read()
	for n, killed := 1, true; killed; n++ {
		killed = false
		for range 2 {
			m.Turn()
			w.Push()
			if late {
				lab.Sleep(w.Context(), oldTreesStay)
			}
			killed = w.killAt(w.Target, tr, n, "pull", w.AgentFlags()...) || killed
			w.Honest()
			w.Pull()
		}
	}
	w.Publish()
	w.Agent()
}

func (w *World) killFirstPulls() {
	w.Helper()
	w.NewMixed()
	w.Push()
	tr := w.targetCalls()
	for n := 1; w.killAt(w.Target, tr, n, "pull", w.AgentFlags()...); n++ {
		if generation, err := lab.JournalGeneration(w.Target.Dir); err == nil && generation > 0 {
			w.Honest()
		}
		w.Pull()
		w.do(w.reader.Once())
		w.do(os.RemoveAll(w.Target.Dir))
		w.do(os.RemoveAll(w.sibling()))
		w.do(os.Mkdir(w.Target.Dir, 0o755))
		w.reader = &lab.Reader{Dir: w.Target.Dir, Ledger: w.Writer.Ledger}
	}
	w.Read()
	w.Publish()
	w.Agent()
}

// interruptAgents signals an agent at every step-th call, and looks at the target
// before the next agent begins.
func (w *World) interruptAgents(sig syscall.Signal, step int, look func(*lab.Process)) {
	w.Helper()
	m := w.NewMixed()
	w.Publish()
	tr := w.targetCalls()
	for n, hit := 1, true; hit; n += step {
		hit = false
		for range 2 {
			if w.Target.Daemon == nil {
				tr.Arm(0, nil)
				w.do(w.Target.StartTraced(tr, "agent", w.AgentFlags()...))
				w.applied()
			}
			if w.stopRead == nil {
				w.Read()
			}
			applied := lab.CountLines(w.Target.Log, `"applied"`)
			w.arm(tr, n, sig)
			m.Turn()
			if p := w.Target.Daemon; w.interrupted(w.Target, tr, func() bool { return lab.CountLines(w.Target.Log, `"applied"`) > applied }) {
				hit = true
				look(p)
			}
		}
	}
	w.Equal(w.c.within())
}

func (w *World) killPushes() {
	w.Helper()
	m := w.NewMixed()
	w.Push()
	w.Pull()
	w.Read()
	for _, tr := range w.sourceCalls() {
		for n, killed := 1, true; killed; n++ {
			killed = false
			for range 2 {
				m.Turn()
				before := w.Source.Generation(w.T)
				killed = w.killAt(w.Source, tr, n, "push", "--publisher", "ci") || killed
				w.Push()
				w.onceMore(before)
				w.Pull()
			}
		}
	}
	w.Publish()
	w.Agent()
}

// interruptPublishers signals a publisher at every step-th call, and looks before the next
// publisher begins.
func (w *World) interruptPublishers(sig syscall.Signal, step int, look func(*lab.Process)) {
	w.Helper()
	m := w.NewMixed()
	w.Publish()
	w.Agent()
	w.Equal(w.c.within())
	w.Read()
	w.do(w.Source.Stop())
	for _, tr := range w.sourceCalls() {
		for n, hit := 1, true; hit; n += step {
			hit = false
			for range 2 {
				if w.Source.Daemon == nil {
					tr.Arm(0, nil)
					w.do(w.Source.StartTraced(tr, "publish", w.PublishFlags()...))
					w.publishes()
				}
				committed := lab.CountLines(w.Source.Log, `"committed"`)
				before := w.Source.Generation(w.T)
				m.held = func() {
					w.busy()
					w.arm(tr, n, sig)
				}
				m.Turn()
				if p := w.Source.Daemon; w.interrupted(w.Source, tr, func() bool { return lab.CountLines(w.Source.Log, `"committed"`) > committed }) {
					hit = true
					look(p)
					w.Publish()
					w.Equal(w.c.within())
					w.publishes()
					w.onceMore(before + 1)
					w.do(w.Source.Stop())
					continue
				}
				w.Equal(w.c.within())
				w.onceMore(before)
			}
		}
		if w.Source.Daemon != nil {
			w.do(w.Source.Stop())
		}
	}
	w.Publish()
}

// applied waits until the target equals the source, and its journal says so.
func (w *World) applied() {
	w.Helper()
	w.Equal(w.c.within())
	head := w.Source.Generation(w.T)
	_, err := lab.Eventually(w.c.within(), func() error {
		s, pending, err := install.ReadState(w.Target.Dir)
		if err == nil && (pending != nil || s.Position.Generation != head) {
			err = fmt.Errorf("the journal is at %d, the head at %d", s.Position.Generation, head)
		}
		if _, fresh := os.Lstat(filepath.Join(w.Target.Dir, ".confsyncd", "fresh")); err == nil && fresh == nil {
			err = errors.New("the switch of the tree is yet to be made durable")
		}
		return err
	})
	w.do(err)
}

// publishes waits until the publisher, which has begun, has committed an edit.
func (w *World) publishes() {
	w.Helper()
	committed := lab.CountLines(w.Source.Log, `"committed"`)
	w.do(w.Writer.Write("begun", 0o644, 200))
	_, err := lab.Eventually(w.c.within(), func() error {
		if lab.CountLines(w.Source.Log, `"committed"`) == committed {
			return fmt.Errorf("nothing committed, see %s", lab.Tail(w.Source.Log))
		}
		return nil
	})
	w.do(err)
	w.Equal(w.c.within())
}

// busy waits until the publisher knows of a hold file: one that comes and goes while it
// scans it does not see, so that a changeset becomes two.
func (w *World) busy() {
	w.Helper()
	_, err := lab.Eventually(w.c.within(), func() error {
		s := w.Source.Status(w.T)
		if len(s.Sources) != 1 || s.Sources[0].State != "busy" {
			return fmt.Errorf("not busy: %+v", s.Sources)
		}
		return nil
	})
	w.do(err)
}

// onceMore looks that exactly one generation was made of a changeset.
func (w *World) onceMore(before uint64) {
	w.Helper()
	if after := w.Source.Generation(w.T); after != before+1 {
		w.wrong("c", "from generation %d to %d by one changeset", before, after)
	}
}

// arm has the program signalled before its n-th call.
func (w *World) arm(tr *lab.Trace, n int, sig syscall.Signal) {
	tr.Arm(n, func(pid int, _ lab.Call) {
		w.Count(map[syscall.Signal]string{syscall.SIGKILL: "kills", syscall.SIGTERM: "terms"}[sig], 1)
		_ = syscall.Kill(pid, sig)
	})
}

// killAt runs a command that is killed before the n-th call that tr counts, and reports
// whether it was.
func (w *World) killAt(h *lab.Host, tr *lab.Trace, n int, subcommand string, flags ...string) bool {
	w.Helper()
	w.arm(tr, n, syscall.SIGKILL)
	w.do(h.StartTraced(tr, subcommand, flags...))
	p := h.Daemon
	h.Daemon = nil
	<-p.Ended
	c := tr.Disarm()
	if c == nil {
		w.do(p.Err)
		return false
	}
	w.Logf("killed at call %d: %v", n, c)
	return true
}

// interrupted waits until a daemon is done, or was ended by the signal that tr is armed
// with; whether it was.
func (w *World) interrupted(h *lab.Host, tr *lab.Trace, done func() bool) bool {
	w.Helper()
	p := h.Daemon
	_, err := lab.Eventually(w.c.within(), func() error {
		if p.Over() || tr.Hit() || done() {
			return nil
		}
		return fmt.Errorf("neither done nor ended, see %s", lab.Tail(h.Log))
	})
	w.do(err)
	n := tr.Calls()
	c := tr.Disarm()
	if c == nil && !p.Over() {
		return false
	}
	h.Daemon = nil
	select {
	case <-p.Ended:
	case <-time.After(w.c.within()):
		w.Fatalf("still running after a signal at %v, see %s", c, lab.Tail(h.Log))
	}
	w.Logf("signalled at call %d: %v", n, c)
	if c == nil {
		w.Fatalf("ended by itself: %v, see %s", p.Err, lab.Tail(h.Log))
	}
	return true
}

// Push publishes once.
func (w *World) Push() { w.Source.Must(w.T, "push", "--publisher", "ci") }

// Pull applies once, and looks that nothing is left to be done and nothing left over.
func (w *World) Pull() {
	w.Helper()
	w.Target.Must(w.T, "pull", w.AgentFlags()...)
	if err := w.differ(); err != nil {
		w.wrong("c", "after a pull: %v", err)
	}
	if err := lab.Leftovers(w.Target.Dir); err != nil {
		w.wrong("d", "after a pull: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(w.sibling(), "next")); err == nil {
		w.wrong("d", "after a pull a tree that was being built is left over")
	}
}
