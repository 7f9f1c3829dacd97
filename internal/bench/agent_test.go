//go:build bench

package bench

import (
	"fmt"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

func agentFigure() Figure {
	return Figure{
		Name: "resident",
		How: `VmRSS of agents that have just applied 200 and 100,000 files of 2 KB for the first time and have rested for 13 s, and VmHWM of these and of one that applied
10,000; then of the one of 100,000 files after it was started again. All of it counts: the program's own pages, which other processes share, are 13 MB.`,
		Profile: `three quarters are the program itself (RssFile): of its 15 MB the kernel maps what lies around each page that is touched (fault-around), so that resident pages
follow the size of the program, 100 KB for 100 KB; an agent at rest touches 3 to 4 MB of them. By package (nm, probes without each): the runtime's tables 5.7 MB, TLS and X.509
1.2, Protocol Buffers 0.7, HTTP and its profiles 0.7. Less would take a program for the agent alone, or profiles left out of packages (0.4).`,
		Measure: measureAgent,
	}
}

// rest is when an agent that has nothing more to do has given back what it took.
const rest = 13 * time.Second

func measureAgent(m *Meter) {
	l := m.Lab(m.Etcd("--quota-backend-bytes", "8000000000"))
	hosts := make(map[int]*lab.Host)
	for _, files := range []int{200, 10_000, 100_000} {
		tenant := fmt.Sprintf("agent-%d", files)
		source := l.Host(m.T, tenant, "source")
		source.Dir = m.Tree(files)
		source.Must(m.T, "push")
		hosts[files] = l.Host(m.T, tenant, "target")
		m.followed(hosts[files])
	}
	time.Sleep(rest)
	status := func(files int, line string) float64 { return m.memory(hosts[files].Daemon.Cmd.Process.Pid, line) }
	m.Row(Row{
		What: "agent on 200 files, idle", Target: "≤ 20 MB resident", Unit: "MB", Value: status(200, "VmRSS"), Bound: 20,
		Note: fmt.Sprintf("%s MB of it are pages of the program", figure(status(200, "RssFile"))),
	})
	m.Row(Row{
		What: "agent, first sync of 10,000 files: peak", Target: "≤ 64 MB", Unit: "MB", Value: status(10_000, "VmHWM"), Bound: 64,
		Note: fmt.Sprintf("idle afterwards: %s MB", figure(status(10_000, "VmRSS"))),
	})
	m.Row(Row{
		What: "agent on 100,000 files, idle after its first sync", Target: "≤ 150 MB resident", Unit: "MB", Value: status(100_000, "VmRSS"), Bound: 150,
		Note: fmt.Sprintf("most while it applied: %s MB", figure(status(100_000, "VmHWM"))),
	})
	large := hosts[100_000]
	m.Must(large.Stop())
	m.followed(large)
	time.Sleep(rest)
	m.Row(Row{
		What: "the same, started again", Target: "≤ 150 MB resident", Unit: "MB", Value: status(100_000, "VmRSS"), Bound: 150,
		Note: fmt.Sprintf("most at its start: %s MB", figure(status(100_000, "VmHWM"))),
	})
}

// followed starts an agent, and waits until it is at the head.
func (m *Meter) followed(h *lab.Host) {
	m.Helper()
	m.Must(h.Start("agent"))
	_, err := lab.Eventually(patience, func() error {
		for _, t := range h.Report(m.T).Targets {
			if t.State == "in_sync" && t.Behind != nil && *t.Behind == 0 {
				return nil
			}
		}
		return fmt.Errorf("not in sync, see %s", lab.Tail(h.Log))
	})
	m.Must(err)
}
