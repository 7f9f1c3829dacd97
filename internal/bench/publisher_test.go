//go:build bench

package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

func publisherFigure() Figure {
	return Figure{
		Name: "publisher",
		How: `VmRSS of a publisher that has just committed 100,000 files of 2 KB for the first time, and of one that was started again on them; VmHWM of a publisher during
its first commit of 1 GB of random bytes in files of 8 MB.`,
		Measure: measurePublisher,
	}
}

func measurePublisher(m *Meter) {
	l := m.Lab(m.Etcd("--quota-backend-bytes", "8000000000"))
	h := l.Host(m.T, "publisher", "source")
	h.Dir = m.Tree(100_000)
	peak, rss := m.published(h)
	m.Row(Row{
		What: "publisher on 100,000 files, after its first commit", Target: "≤ 150 MB resident", Unit: "MB", Value: rss, Bound: 150,
		Note: fmt.Sprintf("most while it committed: %s MB", figure(peak)),
	})
	peak, rss = m.published(h)
	m.Row(Row{
		What: "the same, started again", Target: "≤ 150 MB resident", Unit: "MB", Value: rss, Bound: 150,
		Note: fmt.Sprintf("most at its start: %s MB", figure(peak)),
	})
	large := l.Host(m.T, "large", "source")
	rng, piece := rand.NewChaCha8([32]byte{8}), make([]byte, 8<<20)
	for i := range 128 {
		_, _ = rng.Read(piece) // never fails
		m.Must(os.WriteFile(filepath.Join(large.Dir, strconv.Itoa(i)), piece, 0o644))
	}
	peak, _ = m.published(large)
	m.Must(os.RemoveAll(large.Dir))
	m.Row(Row{What: "publisher, first commit of 1 GB in files of 8 MB: peak", Target: "≤ 200 MB", Unit: "MB", Value: peak, Bound: 200})
}

// published starts a publisher, and tells, in MB, how much memory it had at most, and a
// while after it was live.
func (m *Meter) published(h *lab.Host) (peak, rss float64) {
	m.Helper()
	m.Must(h.Start("publish"))
	_, err := lab.Eventually(patience, func() error {
		for _, s := range h.Report(m.T).Sources {
			if s.State == "live" {
				return nil
			}
		}
		return fmt.Errorf("not live, see %s", lab.Tail(h.Log))
	})
	m.Must(err)
	time.Sleep(4 * time.Second) // What was live before it was started again still says so.
	pid := h.Daemon.Cmd.Process.Pid
	peak, rss = m.memory(pid, "VmHWM"), m.memory(pid, "VmRSS")
	m.Must(h.Stop())
	return peak, rss
}

// memory reads a line of a process's status, in MB.
func (m *Meter) memory(pid int, line string) float64 {
	m.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	m.Must(err)
	for l := range strings.Lines(string(b)) {
		var kib float64
		if n, _ := fmt.Sscanf(l, line+": %f kB", &kib); n == 1 {
			return kib * 1024 / 1e6
		}
	}
	m.Fatalf("there is no %s", line)
	return 0
}
