//go:build faults

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// etcdRestoreCases take etcd's history back, or away.
func etcdRestoreCases() []Case {
	return []Case{
		restoredTwice("restored from a snapshot twice", "etcdctl snapshot save; the server killed and its data made anew by etcdutl snapshot restore, twice in a row; hosts that were at older and at newer generations are offline through both", 1),
		restoredTwice("restored from a snapshot twice, three members", "as above, each of three members from the same snapshot", 3),
		restoredTwice("restored from a snapshot twice, with the revision bumped", "as above, with --bump-revision 1000000000 --mark-compacted", 1, "--bump-revision", "1000000000", "--mark-compacted"),
		{
			Name:  "restored twice, and the publisher's memory lost",
			How:   "as above, and state_dir of the publisher removed before the second; then \"push --found ID:GEN\" as the agent's message says",
			Modes: []string{"files"},
			Try:   func(w *World) { w.memoryLost() },
		},
		{
			Name: "restored from an older snapshot while the publisher is committing",
			How:  "etcdutl snapshot restore of an older state while files are edited all the time",
			// Nothing is left of a few dozen files after seconds of these edits.
			Setup: Setup{Publish: []string{"--max-delete", "100%"}},
			Try: func(w *World) {
				w.Rewound = true
				for range 2 {
					snapshot := w.snapshot()
					stop := w.editing()
					w.progress(5)
					w.do(w.Cluster.Kill())
					w.do(w.Cluster.Return(snapshot))
					w.do(w.Cluster.Start())
					w.progress(1)
					stop()
					w.Healed()
					w.Converge()
					w.Count("faults", 1)
				}
			},
		},
		wiped("wiped under running daemons", 1),
		wiped("wiped under running daemons, three members", 3),
	}
}

func restoredTwice(name, how string, members int, flags ...string) Case {
	return Case{
		Name: name, How: how, Modes: []string{"files"}, Setup: Setup{Members: members},
		Try: func(w *World) {
			w.Rewound = true
			away := []*lab.Host{w.offline("b")}
			snapshot := w.snapshot()
			away = append(away, w.offline("c"))
			for i := range 2 {
				w.commit(3)
				away = append(away, w.offline(fmt.Sprint("d", i)))
				w.restore(snapshot, flags...)
				w.commit(1)
				away = append(away, w.offline(fmt.Sprint("e", i)))
			}
			w.comeBack(away...)
		},
	}
}

func wiped(name string, members int) Case {
	return Case{
		Name: name, How: "all members killed, their data removed, and started again, twice; a host is offline through both", Modes: []string{"files"}, Setup: Setup{Members: members},
		Try: func(w *World) {
			w.Rewound = true
			away := []*lab.Host{w.offline("b")}
			for range 2 {
				w.commit(2)
				before := w.Source.Generation(w.T)
				w.do(w.Cluster.Kill())
				w.Replace(3)
				for _, m := range w.Cluster.Members {
					w.do(m.Wipe())
				}
				w.do(w.Cluster.Start())
				w.Healed()
				w.Converge()
				w.founded(before)
				w.Count("faults", 1)
			}
			w.comeBack(away...)
		},
	}
}

// memoryLost restores etcd twice, and takes the publisher's memory the second time.
func (w *World) memoryLost() {
	w.Rewound = true
	away := []*lab.Host{w.offline("b")}
	snapshot := w.snapshot()
	w.commit(2)
	away = append(away, w.offline("c"))
	w.restore(snapshot)
	w.commit(2)
	away = append(away, w.offline("d"))
	highest := w.Source.Generation(w.T)

	w.do(w.Source.Stop())
	w.do(w.Cluster.Kill())
	w.do(w.Cluster.Return(snapshot))
	w.do(w.Cluster.Start())
	w.do(os.RemoveAll(w.Source.State))
	w.Replace(3)
	var reason string
	w.kept(func() {
		w.Publish()
		w.Says(w.Source, "holding: nothing is published", w.Source.Dir, "--take-over")
		w.Shows(w.Source, "holding", "--take-over")
		w.Says(w.Target, "holding: files are kept", "rewound", "--found")
		reason = w.Shows(w.Target, "holding", "rewound", "--found")
	})
	remedy := regexp.MustCompile(`"confsyncd (push [^"]*)"`).FindStringSubmatch(reason)
	if remedy == nil || !strings.HasSuffix(remedy[1], fmt.Sprint(":", highest)) {
		w.wrong("f", "no push --found of generation %d in: %s", highest, reason)
		w.FailNow()
	}
	args := strings.Fields(strings.Replace(remedy[1], " DIR ", " "+w.Source.Dir+" ", 1))
	if r := w.Source.Command(w.T, append(args, "--publisher", "ci")...); r.Code != 0 {
		w.wrong("f", "the remedy does not work: %v", r)
		w.FailNow()
	}
	w.Healed()
	w.Converge()
	w.commit(1)
	w.comeBack(away...)
	w.Count("faults", 2)
}

// commit replaces files, each time as one changeset that the target has when it returns.
func (w *World) commit(times int) {
	w.Helper()
	for range times {
		w.Replace(3)
		w.Equal(20 * time.Second)
	}
}

// editing edits until what it returns is called.
func (w *World) editing() (stop func()) {
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Writer.Run(ctx) }()
	return func() {
		w.Helper()
		cancel()
		w.do(<-ended)
	}
}

// progress waits until that many commits more were made.
func (w *World) progress(commits int) {
	w.Helper()
	before := w.committed()
	_, err := lab.Eventually(20*time.Second, func() error {
		if now := w.committed(); now < before+commits {
			return fmt.Errorf("%d commits, want %d", now, before+commits)
		}
		return nil
	})
	w.do(err)
}

// committed counts what the publisher has logged as committed.
func (w *World) committed() int {
	w.Helper()
	b, err := os.ReadFile(w.Source.Log)
	w.do(err)
	return strings.Count(string(b), `"@message":"committed"`)
}

func (w *World) snapshot() string {
	w.Helper()
	name := filepath.Join(w.TempDir(), "snapshot")
	w.do(w.Cluster.Snapshot(name))
	return name
}

// restore takes etcd back to a snapshot while a file is edited, and waits until the
// history has begun anew and the target follows.
func (w *World) restore(snapshot string, flags ...string) {
	w.Helper()
	before := w.Source.Generation(w.T)
	w.do(w.Cluster.Kill())
	w.Replace(3)
	w.do(w.Cluster.Return(snapshot, flags...))
	w.do(w.Cluster.Start())
	w.Healed()
	w.Converge()
	w.founded(before)
	w.Count("faults", 1)
}

// founded waits until the history was begun anew above a generation.
func (w *World) founded(before uint64) {
	w.Helper()
	_, err := lab.Eventually(20*time.Second, func() error {
		if at := w.Source.Status(w.T).Tenants[0]; at.Founding <= before {
			return fmt.Errorf("head at %d, founded at %d: no new founding above %d", at.Generation, at.Founding, before)
		}
		return nil
	})
	w.do(err)
}

// offline makes a host that has what is published now, and whose agent does not run.
func (w *World) offline(name string) *lab.Host {
	w.Helper()
	h := w.host(name)
	h.Must(w.T, "pull", w.AgentFlags()...)
	return h
}

// comeBack lets hosts that were away catch up, one by pull, the next by an agent, and so
// on, under the eyes of a reader.
func (w *World) comeBack(hosts ...*lab.Host) {
	w.Helper()
	w.commit(1)
	want, err := w.want()
	w.do(err)
	for i, h := range hosts {
		before, err := lab.JournalGeneration(h.Dir)
		w.do(err)
		r := &lab.Reader{Dir: h.Dir, Ledger: w.Writer.Ledger}
		w.do(r.Once())
		if i%2 == 0 {
			h.Must(w.T, "pull", w.AgentFlags()...)
		} else {
			w.do(h.Start("agent", w.AgentFlags()...))
		}
		_, err = lab.Equal(want, h.Dir, 20*time.Second)
		if err == nil {
			err = errors.Join(r.Once(), lab.Honest(h.Dir, nil), lab.Leftovers(h.Dir))
		}
		if err != nil {
			w.wrong("e", "%s, which was at generation %d: %v\nagent: %s", h.Dir, before, err, lab.Tail(h.Log))
		}
		if h.Daemon != nil {
			w.Shows(h, "in_sync")
			w.do(h.Stop())
		}
	}
	w.Count("hosts that came back", len(hosts))
}
