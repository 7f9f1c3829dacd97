//go:build faults

package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// seat is how long a leader may give no sign of life.
const seat = 2 * time.Second

// standbyCases take the live one of several publishers away.
func standbyCases() []Case {
	setup := Setup{Publish: []string{"--standby", "shared", "--standby-ttl", seat.String()}}
	return []Case{
		{
			Name: "leader killed", Modes: []string{"files"}, Setup: setup, Within: 2 * seat,
			How: "kill -9 of the one of two publishers that leads, just after an edit; the other takes over; five times to and fro; its seat lasts 2 s",
			Try: func(w *World) {
				w.StandBy(w.Source.Dir)
				w.Publishers(5, func(leader, standby *lab.Host) {
					w.Replace(3)
					w.do(leader.Daemon.Kill())
					w.Count("kills", 1)
					w.Edit(3)
				})
			},
		},
		{
			Name: "leader told to end", Modes: []string{"files"}, Within: 5 * time.Second,
			Setup: Setup{Publish: []string{"--standby", "shared", "--standby-ttl", "60s"}},
			How:   "SIGTERM to the one of two publishers that leads, and an edit; the other takes over at once, long before the seat of 60 s is lost; five times",
			Try: func(w *World) {
				w.StandBy(w.Source.Dir)
				w.Publishers(5, func(leader, standby *lab.Host) {
					w.do(leader.Stop())
					w.Edit(3)
				})
			},
		},
		{
			Name: "leader stopped past its time, and continued", Modes: []string{"files"}, Setup: setup,
			How: "SIGSTOP of the one that leads, an edit that the other publishes, another edit, SIGCONT: the one that slept changes nothing, and stands by; three times",
			Try: func(w *World) {
				w.StandBy(w.Source.Dir)
				for range 3 {
					leader, standby := w.leader()
					w.do(leader.Daemon.Cmd.Process.Signal(syscall.SIGSTOP))
					w.Edit(3)
					w.Healed()
					w.Converge()
					w.Edit(3)
					w.do(leader.Daemon.Cmd.Process.Signal(syscall.SIGCONT))
					w.state(leader, "standby")
					w.state(standby, "live")
					w.Count("faults", 1)
				}
				w.Healed()
			},
		},
		{
			Name: "etcd away for longer than a seat lasts", Modes: []string{"files"}, Setup: setup,
			How: "kill -9 of etcd, edits, and a start after three times as long: one of two leads again, and publishes",
			Try: func(w *World) {
				w.StandBy(w.Source.Dir)
				w.do(w.Cluster.Kill())
				w.Edit(5)
				lab.Sleep(w.Context(), 3*seat) // So long it is away: that is the fault.
				w.do(w.Cluster.Start())
				w.Count("kills", 1)
				w.Healed()
			},
		},
		{
			Name: "old copy stands by", Modes: []string{"files"},
			Setup: Setup{Publish: []string{"--standby", "copy", "--standby-ttl", seat.String()}},
			How:   "a second publisher with a copy of the directory that was made before some edits; the first is killed: the second publishes nothing, and says why; the first comes back",
			Try: func(w *World) {
				copied := filepath.Join(w.Lab.Dir, "lab-copy")
				w.do(os.CopyFS(copied, os.DirFS(w.Source.Dir)))
				w.Replace(5)
				w.Equal(20 * time.Second)
				old := w.standbyAt(copied)
				w.state(old, "holding")
				w.Says(old, "must not lead", "take-over")
				before := w.Source.Generation(w.T)
				w.do(w.Source.Daemon.Kill())
				w.Count("kills", 1)
				lab.Sleep(w.Context(), 3*seat) // In which it must not lead.
				if now := w.Source.Generation(w.T); now != before {
					w.wrong("c", "generation %d was published from an old copy", now)
				}
				w.Edit(3)
				w.Publish()
				w.Healed()
			},
		},
	}
}

// StandBy starts a second publisher of a directory, and waits until it stands by.
func (w *World) StandBy(dir string) {
	w.Helper()
	w.state(w.standbyAt(dir), "standby")
}

func (w *World) standbyAt(dir string) *lab.Host {
	w.Helper()
	h := w.host(fmt.Sprint("standby", len(w.standbys)))
	h.Dir = dir
	w.standbys = append(w.standbys, h)
	w.do(h.Start("publish", w.PublishFlags()...))
	return h
}

// Publishers takes the leader away, as away does it, and waits until the other one has
// published what was edited; then the first stands by.
func (w *World) Publishers(times int, away func(leader, standby *lab.Host)) {
	w.Helper()
	for range times {
		leader, standby := w.leader()
		begin := time.Now()
		away(leader, standby)
		w.Healed()
		w.healed = begin
		w.Converge()
		w.do(leader.Start("publish", w.PublishFlags()...))
		w.state(leader, "standby")
		w.Count("faults", 1)
	}
}

// leader returns the publisher that leads, and the other one.
func (w *World) leader() (leader, standby *lab.Host) {
	w.Helper()
	pair := []*lab.Host{w.Source, w.standbys[0]}
	_, err := lab.Eventually(20*time.Second, func() error {
		for i, h := range pair {
			if s := h.Status(w.T).Sources; len(s) == 1 && s[0].State == "live" {
				leader, standby = h, pair[1-i]
				return nil
			}
		}
		return errors.New("none of two publishers leads")
	})
	w.do(err)
	return leader, standby
}

// state waits until status tells that a publisher is in a state.
func (w *World) state(h *lab.Host, state string) {
	w.Helper()
	_, err := lab.Eventually(20*time.Second, func() error {
		if s := h.Status(w.T).Sources; len(s) != 1 || s[0].State != state {
			return fmt.Errorf("%+v, want %s, see %s", s, state, lab.Tail(h.Log))
		}
		return nil
	})
	if err != nil {
		w.wrong("f", "%v", err)
		w.FailNow()
	}
}
