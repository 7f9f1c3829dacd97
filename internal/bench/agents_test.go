//go:build bench

package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/lab"
)

func agentsFigure() Figure {
	return Figure{
		Name: "agents",
		How: `From the rename of one of 10 files of 2 KB in the source (publisher with ` + "`--settle 0s`" + `) until the new one stands in the target of each of up to 5,000 agents. All are on
this machine: 120 in a process, each with its own client, connection, store and target on a tmpfs, and etcd and the publisher beside them. When a file arrived is the
time stamp of its directory, which the kernel sets in the rename. The floor: as many bare etcd clients, 120 in a process and each with a connection, on such a range of keys in the same etcd, from the
start of a Txn of as many bytes until each has the event; in turn.`,
		Profile: `about 0.36 ms of processor for each agent and edit (figure load; pprof of 120 agents: system calls are 40 %, the apply 29 %, allocation 14 %, the look for drift afterwards 9 %, the watcher 7 %). A bare watcher takes 0.05; two processors for 1,000 agents leave 0.06 above that for a mean of 40 ms.
On hosts of their own the agents share nothing. Less would take a lighter apply of one small file: its base is opened and read twice, the target's identity is checked twice, and each patch has a decoder of its own.`,
		Measure: measureAgents,
	}
}

// wave is how long it took until each of many had something, in milliseconds.
type wave struct{ mean, last Sample }

func (w *wave) add(each Sample) {
	w.mean, w.last = append(w.mean, each.Mean()), append(w.last, each.Max())
}

// crowd is many hosts of agents, and one of bare watchers beside it.
type crowd struct {
	m        *Meter
	rng      *rand.Rand
	source   *lab.Host
	etcd     *clientv3.Client
	agents   *Hosts
	watchers *Hosts
	commits  clientv3.WatchChan // of the source
}

func measureAgents(m *Meter) {
	etcd := m.Etcd()
	l := m.Lab(etcd)
	c := &crowd{
		m: m, rng: rand.New(rand.NewPCG(9, 1)), source: l.Host(m.T, "crowd", "source"), etcd: etcd.Client(m.T),
		agents: m.Hosts(agents, etcd, "crowd"), watchers: m.Hosts(watchers, etcd, "floor"),
	}
	if !fineStamps(m, c.agents.order.Dir) {
		m.LeaveOut("The tmpfs of this kernel has no time stamps that are finer than a tick (Linux 6.13 does).")
	}
	c.commits = c.etcd.Watch(m.Context(), "/confsyncd/crowd/pub/head")
	m.Must(WriteTree(c.source.Dir, 10, 2048, 1))
	m.Must(c.source.Start("publish", "--settle", "0s"))
	for _, stage := range []struct {
		size, rounds int
	}{{1, 5}, {10, 5}, {100, 5}, {1000, 7}, {5000, 3}} {
		began := time.Now()
		c.agents.Grow(stage.size)
		c.watchers.Grow(stage.size)
		m.Logf("%d agents and watchers are ready after %v", stage.size, time.Since(began))
		c.stage(stage.size, stage.rounds)
	}
}

// stage measures as many agents and watchers.
func (c *crowd) stage(size, rounds int) {
	m := c.m
	m.Helper()
	rest := 300*time.Millisecond + time.Duration(size)*300*time.Microsecond // Agents look at what they wrote.
	var edit, commit, bare wave
	c.edit() // A base for the patches; and all is warm.
	for range rounds {
		time.Sleep(rest)
		fromEdit, fromCommit := c.edit()
		edit.add(fromEdit)
		commit.add(fromCommit)
		time.Sleep(rest)
		bare.add(c.put())
	}
	memory := c.agents.Memory()
	for line, w := range map[string]wave{"confsyncd, from the edit": edit, "confsyncd, from the commit": commit, "bare watchers, from the Put": bare} {
		m.Point("agents-time", line+": mean", float64(size), w.mean.Median())
		m.Point("agents-time", line+": last", float64(size), w.last.Median())
	}
	m.Point("agents-memory", "agent", float64(size), memory)
	switch size {
	case 1000:
		mean, last := bare.mean.Median(), bare.last.Median()
		m.Row(edit.mean.row(Row{
			What: "1,000 agents, 2 KB edit → all files in place (tmpfs): mean", Target: "≤ 40 ms, ≤ 2 × bare watchers", Unit: "ms",
			Floor: mean, FloorIs: "bare watchers", Bound: min(40, 2*mean), Note: "from the commit " + figure(commit.mean.Median()) + " ms",
		}))
		m.Row(edit.last.row(Row{
			What: "the same: last", Target: "≤ 80 ms", Unit: "ms", Floor: last, FloorIs: "bare watchers", Bound: 80,
			Note: "from the commit " + figure(commit.last.Median()) + " ms",
		}))
	case 5000:
		last := bare.last.Median()
		m.Row(edit.last.row(Row{
			What: "5,000 agents on one machine, the same: last", Target: "≤ 2 × bare watchers' last", Unit: "ms", Floor: last, FloorIs: "bare watchers", Bound: 2 * last,
			Note: "from the commit " + figure(commit.last.Median()) + " ms",
		}))
		m.Row(Row{What: "memory of one of 5,000 agents", Unit: "MB", Value: memory, Note: "a share of its process, which has 120 of them, included"})
	}
}

// edit replaces a file in the source, and returns how long after the rename, and after the
// first news of the commit, each agent's target had it.
func (c *crowd) edit() (fromEdit, fromCommit Sample) {
	m := c.m
	m.Helper()
	dir, file := filepath.Split(FileName(0))
	stamp := func(i int) int64 {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(c.agents.Target(i), dir), &st); err != nil {
			m.Fatal(err)
		}
		return st.Mtim.Nano()
	}
	before := make([]int64, c.agents.Size)
	for i := range before {
		before[i] = stamp(i) // That it was asked for makes the next one fine.
	}
	for old := true; old; {
		select {
		case <-c.commits:
		default:
			old = false
		}
	}
	text := Config(c.rng, 2048)
	begin := m.Replace(c.source.Dir, FileName(0), text)
	var committed time.Time
	select {
	case <-c.commits:
		committed = time.Now()
	case <-time.After(patience):
		m.Fatal("no commit")
	}
	time.Sleep(c.calm())
	after := make([]int64, len(before))
	_, err := lab.Eventually(patience, func() error {
		for i := range after {
			if after[i] = stamp(i); after[i] == before[i] {
				return fmt.Errorf("%s lacks the edit", c.agents.Target(i))
			}
		}
		return nil
	})
	m.Must(err)
	for i, at := range after {
		got, err := os.ReadFile(filepath.Join(c.agents.Target(i), dir, file))
		if m.Must(err); string(got) != text {
			m.Fatalf("%s has another content", c.agents.Target(i))
		}
		fromEdit = append(fromEdit, ms(time.Unix(0, at).Sub(begin)))
		fromCommit = append(fromCommit, max(0, ms(time.Unix(0, at).Sub(committed))))
	}
	return fromEdit, fromCommit
}

// put puts what the source's last commit was into another range, and returns how long after
// each watcher had it.
func (c *crowd) put() (each Sample) {
	m := c.m
	m.Helper()
	resp, err := c.etcd.Get(m.Context(), "/confsyncd/crowd/pub/log/", clientv3.WithLastRev()...)
	m.Must(err)
	head, err := c.etcd.Get(m.Context(), "/confsyncd/crowd/pub/head")
	m.Must(err)
	puts := []clientv3.Op{
		clientv3.OpPut("/confsyncd/floor/pub/log/0000000000000001", string(resp.Kvs[0].Value)),
		clientv3.OpPut("/confsyncd/floor/pub/head", string(head.Kvs[0].Value)),
	}
	c.watchers.Seen()
	begin := time.Now()
	_, err = c.etcd.Txn(m.Context()).Then(puts...).Commit()
	m.Must(err)
	time.Sleep(c.calm())
	var seen []time.Time
	_, err = lab.Eventually(patience, func() error {
		seen = slices.Concat(seen, c.watchers.Seen())
		if len(seen) < c.watchers.Size {
			return fmt.Errorf("%d of %d watchers have seen it", len(seen), c.watchers.Size)
		}
		return nil
	})
	m.Must(err)
	for _, at := range seen {
		each = append(each, ms(at.Sub(begin)))
	}
	return each
}

// calm is how long nothing is asked of anybody, so that nobody is disturbed.
func (c *crowd) calm() time.Duration {
	return 50*time.Millisecond + time.Duration(c.agents.Size)*200*time.Microsecond
}

// fineStamps reports whether a time stamp that was asked for is renewed by the very next
// change.
func fineStamps(m *Meter, in string) bool {
	dir := filepath.Join(in, "stamps")
	m.Must(os.Mkdir(dir, 0o755))
	for range 5 {
		var before, after unix.Stat_t
		m.Must(unix.Stat(dir, &before))
		begin := time.Now()
		m.Must(os.WriteFile(filepath.Join(dir, fmt.Sprint(begin.UnixNano())), nil, 0o644))
		m.Must(unix.Stat(dir, &after))
		if time.Unix(0, after.Mtim.Nano()).Before(begin) {
			return false
		}
	}
	return true
}
