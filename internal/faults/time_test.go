//go:build faults

package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/lab"
)

const (
	tenYears = 10 * 365 * 24 * time.Hour
	days     = 3 * 24 * time.Hour
)

// clocked builds the program whose processes go by a clock of their own, once.
var clocked = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(scratch, "clocked.d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	return lab.BuildClocked(dir, *sourceFlag, "./cmd/confsyncd")
})

// timeCases turn clocks and stop processes.
func timeCases() []Case {
	const build = "confsyncd is built with a runtime whose clock is read from shared memory, process by process: "
	return []Case{
		{
			Name: "clocks twenty years apart", Setup: Setup{Empty: true},
			How: build + "the publisher's is ten years ahead, the agent's ten years behind, then the other way round, then both are right; restarts between",
			Try: (*World).apart,
		},
		{
			Name: "clocks that jump", Setup: Setup{Empty: true},
			How: build + "both daemons' clocks jump by up to ten years, on and back, 60 times while files are edited",
			Try: (*World).jumping,
		},
		{
			Name: "an agent that worked in the future", Setup: Setup{Empty: true},
			How: build + "the agent's clock is ten years ahead (then: behind) while it switches and keeps what others edited, then it is killed, and the clock is right",
			Try: (*World).future,
		},
		{
			Name: "processes stopped for days", Setup: Setup{Empty: true},
			How: build + "SIGSTOP of the agent, the publisher, both; three days pass for all their clocks and timers; files are edited, " +
				"etcd is killed, started, compacted meanwhile; SIGCONT",
			Try: (*World).stoppedForDays,
		},
		{
			Name: "time stamps of source and target ten years on and back",
			How:  "utimensat of all files and directories to ten years ahead, then behind; contents of the same size written, the time stamp set back",
			Try:  (*World).stamped,
		},
		{
			Name: "time stamps of all state ten years on and back",
			How:  "both daemons killed, utimensat of state_dir, .confsyncd and its sibling to ten years ahead, then behind, a hold file of the future; daemons started",
			Try:  (*World).stampedState,
		},
	}
}

// clocks give each host a clock of its own, and start publisher and agent.
func (w *World) clocks() (publisher, agent *lab.Clock) {
	w.Helper()
	built, err := clocked()
	if err != nil {
		w.result.Skipped = err.Error()
		w.Skip(err)
	}
	w.Lab.Program = built
	publisher, agent = lab.NewClock(w.T), lab.NewClock(w.T)
	w.Source.Env, w.Target.Env = publisher.Env(), agent.Env()
	return publisher, agent
}

func (w *World) apart() {
	publisher, agent := w.clocks()
	publisher.Set(tenYears)
	agent.Set(-tenYears)
	w.Start()
	for _, off := range []time.Duration{-tenYears, 0} {
		w.Edit(10)
		w.Healed()
		w.Converge()
		publisher.Set(off)
		agent.Set(-off)
		w.Count("clock jumps", 2)
		w.Edit(10)
		w.Healed()
		w.Converge()
		w.do(w.Target.Daemon.Kill())
		w.do(w.Source.Daemon.Kill())
		w.Honest()
		w.Edit(10)
		w.Publish()
		w.Agent()
		w.Healed()
		w.Converge()
	}
	for _, r := range []lab.Ran{
		w.Source.Command(w.T, "log", "--tenant", tenant), w.Source.Command(w.T, "status", "--tenant", tenant), w.Source.Command(w.T, "verify", "--tenant", tenant),
	} {
		if r.Code != 0 {
			w.wrong("f", "%v", r)
		}
	}
}

func (w *World) jumping() {
	publisher, agent := w.clocks()
	w.Start()
	for range 60 {
		for _, c := range []*lab.Clock{publisher, agent} {
			c.Set(time.Duration(w.Writer.Draw(240)-120) * tenYears / 120)
			w.Count("clock jumps", 1)
		}
		w.Edit(3)
		time.Sleep(time.Duration(w.Writer.Draw(80)) * time.Millisecond)
	}
	w.Healed() // It is wrong still.
	w.Converge()
	publisher.Set(0)
	agent.Set(0)
	w.Edit(3)
	w.Healed()
}

func (w *World) future() {
	_, agent := w.clocks()
	w.Start()
	w.BeStrange() // Others edit the target: what they wrote is kept.
	w.reader.Skip(func(path string) bool { return path == "top.conf" })
	w.top()
	for _, off := range []time.Duration{tenYears, -tenYears} {
		agent.Set(off)
		w.Count("clock jumps", 1)
		for range 2 {
			w.do(os.WriteFile(filepath.Join(w.Target.Dir, "top.conf"), []byte("edited by others\n"), 0o600))
			w.Equal(w.c.within())
			w.Replace(5)
			w.Equal(w.c.within())
		}
		w.do(w.Target.Daemon.Kill())
		w.Count("kills", 1)
		agent.Set(0)
		w.Agent()
		w.Replace(5)
		w.Equal(w.c.within())
		w.Replace(5)
		w.Equal(w.c.within())
		if w.Mode == "tree" {
			w.oldTreesGo()
		}
	}
	w.Healed()
}

// oldTreesGo waits until none is left but the newest.
func (w *World) oldTreesGo() {
	w.Helper()
	_, err := lab.Eventually(30*time.Second, func() error {
		entries, err := os.ReadDir(filepath.Join(filepath.Dir(w.Target.Dir), ".dir.confsyncd"))
		var olds []string
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "old-") || strings.HasPrefix(e.Name(), "gone-") {
				olds = append(olds, e.Name())
			}
		}
		if len(olds) > 1 {
			err = errors.Join(err, fmt.Errorf("old trees are left: %v", olds))
		}
		return err
	})
	if err != nil {
		w.wrong("d", "%v", err)
	}
}

func (w *World) stoppedForDays() {
	publisher, agent := w.clocks()
	w.Start()
	etcd := w.Cluster.Client(w.T)
	for _, who := range [][]*lab.Host{{w.Target}, {w.Source}, {w.Source, w.Target}} {
		w.signal(who, syscall.SIGSTOP)
		w.Edit(5)
		w.do(w.Cluster.Kill())
		publisher.Sleep(days)
		agent.Sleep(days)
		w.do(w.Cluster.Start())
		w.Edit(5)
		if who[0] == w.Target {
			// The publisher works on: what the agent watched from is compacted away.
			_, err := lab.Eventually(w.c.within(), func() error { return w.published() })
			w.do(err)
			resp, err := etcd.Get(w.Context(), "any")
			w.do(err)
			_, err = etcd.Compact(w.Context(), resp.Header.Revision, clientv3.WithCompactPhysical())
			w.do(err)
		}
		w.signal(who, syscall.SIGCONT)
		w.Count("stops", len(who))
		w.Healed()
		w.Converge()
		w.Edit(5)
		w.Healed()
		w.Converge()
	}
}

// published returns an error until the publisher has nothing left to commit.
func (w *World) published() error {
	r := w.Source.Run(w.T, "push", "--dry-run", "--publisher", "ci")
	if r.Code != 0 || !strings.Contains(r.Out, "nothing") {
		return fmt.Errorf("push --dry-run: %v", r)
	}
	return nil
}

func (w *World) signal(hosts []*lab.Host, s syscall.Signal) {
	w.Helper()
	for _, h := range hosts {
		w.do(h.Daemon.Cmd.Process.Signal(s))
	}
}

// stamp sets the time stamps of all below a directory. What goes meanwhile does not matter.
func (w *World) stamp(dir string, when time.Time) {
	w.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&fs.ModeSymlink == 0 {
			err = os.Chtimes(name, when, when)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	w.do(err)
}

func (w *World) stamped() {
	const path = "top.conf"
	w.top()
	for i, off := range []time.Duration{tenYears, -tenYears, 0} {
		when := time.Now().Add(off)
		w.stamp(w.Source.Dir, when)
		w.stamp(w.Target.Dir, when)
		w.Count("faults", 1)
		w.Edit(5)
		w.Healed()
		w.Converge()
		// As many bytes, in place, and the time stamp as it was.
		content := fmt.Sprintf("to%d\n", i)
		w.Writer.Ledger.Allow(path, 0o644, content)
		before, err := os.Stat(w.Writer.Name(path))
		w.do(err)
		w.do(os.WriteFile(w.Writer.Name(path), []byte(content), 0o644))
		w.do(os.Chmod(w.Writer.Name(path), 0o644)) // It may have had another mode.
		w.do(os.Chtimes(w.Writer.Name(path), before.ModTime(), before.ModTime()))
		w.Writer.Model[path] = lab.Node{Mode: 0o644, Content: content}
		w.Count("faults", 1)
		w.Healed()
		w.Converge()
	}
}

func (w *World) stampedState() {
	hold := filepath.Join(w.Source.Dir, ".confsyncd-hold")
	for _, off := range []time.Duration{tenYears, -tenYears} {
		w.do(w.Target.Daemon.Kill())
		w.do(w.Source.Daemon.Kill())
		w.Edit(5)
		when := time.Now().Add(off)
		for _, dir := range []string{w.Source.State, w.Target.State, filepath.Join(w.Target.Dir, ".confsyncd"), filepath.Join(filepath.Dir(w.Target.Dir), ".dir.confsyncd")} {
			w.stamp(dir, when)
		}
		w.do(os.WriteFile(hold, nil, 0o600))
		w.do(os.Chtimes(hold, when, when))
		w.Count("faults", 1)
		w.Publish()
		w.Agent()
		_, err := lab.Eventually(w.c.within(), func() error {
			if s := w.Source.Report(w.T).Sources; len(s) != 1 || s[0].State != "busy" {
				return fmt.Errorf("the source is %+v", s)
			}
			return nil
		})
		w.do(err)
		w.do(os.Remove(hold))
		w.Healed()
		w.Converge()
	}
}
