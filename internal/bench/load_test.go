//go:build bench

package bench

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// loadAgents and loadEdits are of how many the load is measured.
const (
	loadAgents = 240
	loadEdits  = 15
)

func loadFigure() Figure {
	return Figure{
		Name: "load",
		How: fmt.Sprintf(`User and system time, of /proc/PID/stat, of %d agents as above while one of 10 files of 2 KB is edited %d times, less that of as long without an edit, for each
agent and edit.`, loadAgents, loadEdits),
		Measure: measureLoad,
	}
}

func measureLoad(m *Meter) {
	etcd := m.Etcd()
	l := m.Lab(etcd)
	c := &crowd{m: m, rng: rand.New(rand.NewPCG(9, 2)), source: l.Host(m.T, "crowd", "source"), etcd: etcd.Client(m.T), agents: m.Hosts(agents, etcd, "crowd")}
	c.commits = c.etcd.Watch(m.Context(), "/confsyncd/crowd/pub/head")
	m.Must(WriteTree(c.source.Dir, 10, 2048, 1))
	m.Must(c.source.Start("publish", "--settle", "0s"))
	c.agents.Grow(loadAgents)
	c.edit() // A base for the patches; and all is warm.
	time.Sleep(time.Second)

	begin, before := time.Now(), c.agents.Processor()
	for range loadEdits {
		c.edit()
		time.Sleep(400 * time.Millisecond) // Agents look at what they wrote.
	}
	took, busy := time.Since(begin), c.agents.Processor()-before
	time.Sleep(took)
	idle := c.agents.Processor() - before - busy
	each := float64(loadAgents * loadEdits)
	m.Row(Row{
		What: "processor of an agent for one edit of 2 KB", Unit: "ms", Value: ms(busy-idle) / each,
		Note: fmt.Sprintf("beside %s ms in each second without edits", figure(ms(idle)/took.Seconds()/loadAgents)),
	})
}

// Processor is how much of the processor all members have taken.
func (f *Hosts) Processor() (sum time.Duration) {
	f.m.Helper()
	for _, c := range f.crews {
		sum += f.m.processorOf(c.cmd.Process.Pid)
	}
	return sum
}
