//go:build bench

package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

func growthFigures() []Figure {
	return []Figure{
		{
			Name: "growth-tree",
			How: "Trees of 100 to 100,000 files of 2 KB, 100 in a directory: first push and first pull; then, with a publisher and an agent running for each at the same time, one file edited " +
				"(settle 0), in all trees in turn; memory resident when all is quiet.",
			Profile: "perf of both daemons at 100,000 files: the publisher took half of its time to compare the committed tree with an empty one after each commit, and 14 % to count it; neither is done any more. " +
				"What is left beside the edit itself is the collector, which looks through the whole tree now and then.",
			Measure: growWithTree,
		},
		{
			Name: "growth-change",
			How: "In a tree of 10,000 files, 1 to 10,000 are replaced at once, while the publisher is stopped by SIGSTOP: from SIGCONT to the agent's line that all is in place and durable " +
				"(settle 50 ms); and how many bytes more are in etcd.",
			Measure: growWithChange,
		},
		{
			Name: "growth-file",
			How: "One line of a file of 1 KB to 63 MB is edited (settle 0), with `--max-file-size 64MiB`: until it is visible; the bytes more in etcd; and the most memory that publisher and agent " +
				"ever had, the first push included.",
			Measure: growWithFile,
		},
	}
}

const (
	mb = 1e6
	// quiet is how long daemons have been left alone when their memory is read.
	quiet = 3 * time.Second
)

func growWithTree(m *Meter) {
	sizes := []int{100, 200, 1_000, 10_000, 100_000}
	const rounds = 15
	etcd := m.Etcd("--quota-backend-bytes", "8589934592")
	l := m.Lab(etcd)
	rng := rand.New(rand.NewPCG(5, 2))
	var sides []Side
	var pairs []*Pair
	for _, n := range sizes {
		tenant := fmt.Sprint("files", n)
		source, target := l.Host(m.T, tenant, "source"), l.Host(m.T, tenant, "target")
		m.Must(WriteTree(source.Dir, n, 2048, uint64(n)))
		time.Sleep(quiet / 2) // Git would call a file racy that is not older than that.
		x := float64(n)
		m.Point("tree-time", "first push", x, m.Timed(func() error { source.Must(m.T, "push"); return nil }))
		m.Point("tree-time", "first pull", x, m.Timed(func() error { target.Must(m.T, "pull"); return nil }))
		m.Point("tree-time", "push, nothing to do", x, m.Timed(func() error { source.Must(m.T, "push"); return nil }))
		m.Point("tree-time", "pull, nothing to do", x, m.Timed(func() error { target.Must(m.T, "pull"); return nil }))
		_, bytes := m.InEtcd(etcd, tenant)
		m.Point("tree-bytes", "confsyncd", x, float64(bytes))
		m.Point("tree-bytes", "the files", x, 2048*x)
		p := m.Pair(source, target, "--settle", "0s")
		pairs = append(pairs, p)
		sides = append(sides, p.edits(tenant, n, rng))
	}
	got := Interleave(rounds, sides...)
	time.Sleep(quiet)
	for i, n := range sizes {
		x := float64(n)
		m.Point("tree-time", "edit → visible", x, got[i].Median())
		for who, h := range map[string]*lab.Host{"publisher": pairs[i].Source, "agent": pairs[i].Target} {
			now, peak := m.Memory(h)
			m.Point("tree-memory", who+", quiet", x, now)
			m.Point("tree-memory", who+", most", x, peak)
			if n == sizes[len(sizes)-1] {
				m.Row(Row{What: who + " RSS on 100,000 files", Target: "≤ 150 MB", Unit: "MB", Value: now, Bound: 150, Note: fmt.Sprintf("its most since it started: %s MB", figure(peak))})
			}
		}
	}
	few, many := got[1], got[len(got)-1]
	m.Row(many.row(Row{
		What: "edit → visible in a tree of 100,000 files, settle 0, p50", Target: "≤ 2 × the time in 200 files", Unit: "ms",
		Floor: few.Median(), FloorIs: "in 200 files", Bound: 2 * few.Median(),
	}))
}

// Memory is what a host's daemon has resident, in MB, and the most that it ever had.
func (m *Meter) Memory(h *lab.Host) (now, peak float64) {
	m.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.Daemon.Cmd.Process.Pid))
	m.Must(err)
	for line := range strings.Lines(string(b)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kib); n == 1 {
			now = kib * 1024 / mb
		}
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kib); n == 1 {
			peak = kib * 1024 / mb
		}
	}
	return now, peak
}

func growWithChange(m *Meter) {
	const files = 10_000
	etcd := m.Etcd("--quota-backend-bytes", "8589934592")
	l := m.Lab(etcd)
	source, target := l.Host(m.T, "change", "source"), l.Host(m.T, "change", "target")
	m.Must(WriteTree(source.Dir, files, 2048, 7))
	p := m.Pair(source, target, "--max-delete", "100%")
	rng := rand.New(rand.NewPCG(5, 3))
	_, before := m.InEtcd(etcd, "change")
	for _, n := range []int{1, 10, 100, 1_000, files} {
		took := make(Sample, 0, 3)
		grown := make(Sample, 0, 3)
		for range 3 {
			m.Must(source.Daemon.Pause())
			for i := range n {
				m.Replace(source.Dir, FileName(i*(files/n)), Config(rng, 2048))
			}
			begin := time.Now()
			m.Must(source.Daemon.Resume())
			took = append(took, ms(p.Applied(begin, n).Sub(begin)))
			_, after := m.InEtcd(etcd, "change")
			grown = append(grown, float64(after-before))
			before = after
		}
		m.Point("change-time", "edit → in place and durable, settle 50 ms", float64(n), took.Median())
		m.Point("change-bytes", "bytes more in etcd", float64(n), grown.Median())
		m.Row(took.row(Row{What: fmt.Sprintf("%s files of 10,000 replaced at once → in place, durable", thousands(fmt.Sprint(n))), Unit: "ms", Note: figure(grown.Median()) + " bytes in etcd"}))
	}
}

func growWithFile(m *Meter) {
	const rounds = 3
	etcd := m.Etcd("--quota-backend-bytes", "8589934592")
	l := m.Lab(etcd)
	rng := rand.New(rand.NewPCG(5, 4))
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10, 2 << 20, 16 << 20, 63 << 20} {
		tenant := fmt.Sprint("bytes", size)
		source, target := l.Host(m.T, tenant, "source"), l.Host(m.T, tenant, "target")
		lines := strings.SplitAfter(Config(rng, size), "\n")
		write := func() string {
			lines[rng.IntN(len(lines))] = fmt.Sprintf("changed = %016x\n", rng.Uint64())
			return strings.Join(lines, "")
		}
		m.Must(os.WriteFile(filepath.Join(source.Dir, "file"), []byte(write()), 0o644))
		p := m.Pair(source, target, "--settle", "0s", "--max-file-size", "64MiB")
		arrival := m.Arrival(target.Dir)
		edit := func() float64 {
			Rest()
			text := write()
			took := arrival.Await(m.Replace(source.Dir, "file", text), "file", text)
			if took == 0 {
				p.fail("the file did not arrive")
			}
			return ms(took)
		}
		edit() // From now on the publisher has the base of a patch.
		_, before := m.InEtcd(etcd, tenant)
		var took Sample
		for range rounds {
			took = append(took, edit())
		}
		_, after := m.InEtcd(etcd, tenant)
		x := float64(size)
		m.Point("size-time", "edit → visible", x, took.Median())
		m.Point("size-bytes", "bytes more in etcd", x, float64(after-before)/rounds)
		_, publisher := m.Memory(source)
		_, agent := m.Memory(target)
		m.Point("size-memory", "publisher", x, publisher)
		m.Point("size-memory", "agent", x, agent)
		m.Row(took.row(Row{
			What: fmt.Sprintf("one line of a file of %s KiB → visible", thousands(fmt.Sprint(size>>10))), Unit: "ms",
			Note: fmt.Sprintf("%s bytes in etcd; most memory: publisher %s MB, agent %s MB", figure(float64(after-before)/rounds), figure(publisher), figure(agent)),
		}))
		m.Must(source.Stop())
		m.Must(target.Stop())
	}
}
