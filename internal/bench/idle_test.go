//go:build bench

package bench

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

func idleFigure() Figure {
	return Figure{
		Name: "idle",
		How: `User and system time, of /proc/PID/stat, of a publisher and an agent on 10,000 files of 2 KB that nobody changes: beside all other figures, from before the first to
after the last, or for ten minutes if measured alone. Each looks at all its files every minute, and once reads and hashes all, which else is
every hour: USR1 asks for it.`,
		Beside: besideIdle,
	}
}

// alone is for how long idle processes are looked at if nothing else is measured.
const alone = 10 * time.Minute

func besideIdle(m *Meter) (end func()) {
	l := m.Lab(m.Etcd())
	source, target := l.Host(m.T, "idle", "source"), l.Host(m.T, "idle", "target")
	m.Must(WriteTree(source.Dir, 10_000, 2048, 6))
	m.Pair(source, target)
	time.Sleep(rest)
	hosts := []*lab.Host{source, target}
	begin, before := time.Now(), make([]time.Duration, len(hosts))
	for i, h := range hosts {
		before[i] = m.processor(h)
		m.Must(h.Daemon.Cmd.Process.Signal(syscall.SIGUSR1))
	}
	time.Sleep(2 * time.Second)
	read := make([]time.Duration, len(hosts))
	for i, h := range hosts {
		read[i] = m.processor(h) - before[i]
	}
	return func() {
		if *onlyFlag != "" {
			time.Sleep(alone - time.Since(begin))
		}
		elapsed := time.Since(begin)
		for i, what := range []string{"publisher", "agent"} {
			used := m.processor(hosts[i]) - before[i]
			m.Row(Row{
				What: "idle " + what + " on 10,000 files", Target: "≤ 0.3 % of a core", Unit: "%", Value: 100 * used.Seconds() / elapsed.Seconds(), Bound: 0.3,
				Note: fmt.Sprintf("%s s of the processor in %.0f s, %s of them for reading all files once", figure(used.Seconds()), elapsed.Seconds(), figure(read[i].Seconds())),
			})
			m.Must(hosts[i].Stop())
		}
	}
}

// processor is how much of the processor a host's daemon has taken.
func (m *Meter) processor(h *lab.Host) time.Duration {
	m.Helper()
	return m.processorOf(h.Daemon.Cmd.Process.Pid)
}

// processorOf is how much of the processor a process has taken.
func (m *Meter) processorOf(pid int) time.Duration {
	m.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	m.Must(err)
	// Fields 14 and 15 of proc(5), in ticks of 10 ms; the second is in parentheses.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	var user, system int64
	_, err = fmt.Sscan(string(fields[11])+" "+string(fields[12]), &user, &system)
	m.Must(err)
	return time.Duration(user+system) * 10 * time.Millisecond
}
