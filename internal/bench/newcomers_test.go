//go:build bench

package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func newcomersFigure() Figure {
	return Figure{
		Name: "newcomers",
		How: `200 agents, as in the figure of agents, that know nothing yet and begin at the same instant to follow a tenant of 50 MB that cannot be compressed, 50 files, until the last has all
of it. The floor: as many bare etcd clients that read the same keys, two at a time, and throw them away.
Unlike on real hosts, the agents share this machine's processors, which decompress, verify and write each byte 200 times.`,
		Profile: `perf of the agents: 31 % is SHA-256, of the pack, of each content, and of each content again before it is written; about 40 % is copying into the tmpfs and clearing its pages. All 200 share two processors. Less would take one hash instead of two of each content.`,
		Measure: measureNewcomers,
	}
}

func measureNewcomers(m *Meter) {
	const size, files, fileBytes, spare = 200, 50, 1_000_000, 14 << 30
	if free := available(m); free < spare {
		m.LeaveOut("%d targets of 50 MB, and agents that fill them, take up to %d GB of memory; %d GB are available.", size, spare>>30, free>>30)
	}
	etcd := m.Etcd()
	source := m.Lab(etcd).Host(m.T, "bulk", "source")
	rng := rand.NewChaCha8([32]byte{2})
	for i := range files {
		content := make([]byte, fileBytes)
		_, _ = rng.Read(content)
		m.Must(os.WriteFile(filepath.Join(source.Dir, fmt.Sprintf("%d.bin", i)), content, 0o644))
	}
	source.Must(m.T, "push")
	join := func(kind string) (f *Hosts, took float64) {
		f = m.Hosts(kind, etcd, "bulk")
		f.Muster(size)
		time.Sleep(time.Second)
		return f, m.Timed(func() error { f.Go(); return nil })
	}
	_, floor := join(readers)
	joined, took := join(agents)
	memory := joined.Memory()
	troubles := 0
	for i := range size {
		b, err := os.ReadFile(filepath.Join(joined.Of(i), "log"))
		m.Must(err)
		troubles += strings.Count(string(b), `"@level":"warn"`) + strings.Count(string(b), `"@level":"error"`)
	}
	m.Row(Row{
		What: fmt.Sprintf("%d agents join a 50 MB tenant at once, until the last has it", size), Target: "≤ 2 × the bytes' time through one etcd", Unit: "ms", Value: took,
		Floor: floor, FloorIs: "bare clients read the same", Bound: 2 * floor,
		Note: fmt.Sprintf("memory of an agent %s MB", figure(memory)),
	})
	m.Row(Row{What: "the same: warnings and errors that agents logged", Target: "no etcd error", Value: float64(troubles), Bound: 0.5})
}

// available is how many bytes of memory are (proc_meminfo(5)).
func available(m *Meter) int64 {
	b, err := os.ReadFile("/proc/meminfo")
	m.Must(err)
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}
