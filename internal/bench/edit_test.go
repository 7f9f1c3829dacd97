//go:build bench

package bench

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
)

func editFigure() Figure {
	return Figure{
		Name: "edit",
		How: `From the rename of one of 200 files of 2 KB in the source to its new content in the target, as an inotify event there tells;
publisher with ` + "`--settle 0s`" + `, and with the default of 50 ms, in turn with the floors: the event of a rename; a Put until a watcher's event; write, fsync, rename, fsync of the directory.`,
		Profile: `with no time to settle, an edit takes (time stamps in both daemons, quiet machine): 0.3 ms until the event is read, 0.4 for a look at the directory and the record, 1.4 for the Txn until the agent has its event,
0.3 for resolving and planning, 0.9 to stage and sync, 0.3 for the journal's *next*, 0.3 to rename. With 50 ms to settle it takes some 0.4 ms more: Go's timers wake up to a millisecond late (epoll_wait counts in them), and all is cold.
Less would take a timer of its own in the kernel (timerfd), and syncing the staged file and the journal at once.`,
		Measure: measureEdit,
	}
}

// edits returns a Side: an edit of one file of a pair's tree of n until it is visible.
func (p *Pair) edits(name string, n int, rng *rand.Rand) Side {
	p.m.Helper()
	i := rng.IntN(n)
	dir, file := filepath.Split(FileName(i))
	arrival := p.m.Arrival(filepath.Join(p.Target.Dir, dir))
	return Side{name, func() float64 {
		Rest()
		text := Config(rng, 2048)
		begin := p.m.Replace(p.Source.Dir, FileName(i), text)
		took := arrival.Await(begin, file, text)
		if took == 0 {
			p.fail(file + " did not arrive")
		}
		return ms(took)
	}}
}

func measureEdit(m *Meter) {
	const files, rounds = 200, 120
	etcd := m.Etcd()
	l := m.Lab(etcd)
	rng := rand.New(rand.NewPCG(5, 1))
	content := func() string { return Config(rng, 2048) }
	pair := func(tenant string, flags ...string) *Pair {
		source, target := l.Host(m.T, tenant, "source"), l.Host(m.T, tenant, "target")
		m.Must(WriteTree(source.Dir, files, 2048, 1))
		return m.Pair(source, target, flags...)
	}
	got := Interleave(rounds,
		pair("settle0", "--settle", "0s").edits("settle 0", files, rng),
		pair("default").edits("default", files, rng),
		m.InotifyFloor(content), m.EventFloor(etcd, content), m.WriteFloor(content),
	)
	zero, usual, inotify, event, write := got[0], got[1], got[2], got[3], got[4]
	const settle = 50
	floor := inotify.Median() + event.Median() + write.Median()
	m.Row(zero.row(Row{
		What: "edit → visible, one 2 KB file of 200, settle 0, p50", Target: "≤ 1.5 × (inotify + put → event + write, fsync, rename, dirsync)",
		Unit: "ms", Floor: floor, FloorIs: "the three below", Bound: 1.5 * floor,
	}))
	after := make(Sample, len(usual))
	for i, v := range usual {
		after[i] = v - settle
	}
	m.Row(after.row(Row{What: "the same, default settle of 50 ms: p50 − settle", Target: "the same", Unit: "ms", Floor: floor, FloorIs: "the three below", Bound: 1.5 * floor}))
	m.Row(Row{What: "the same, default settle: p99", Target: "≤ 3 × p50", Unit: "ms", Value: usual.Percentile(99), Floor: usual.Median(), FloorIs: "p50", Bound: 3 * usual.Median()})
	m.Row(Row{What: "settle 0: p99", Unit: "ms", Value: zero.Percentile(99), Floor: zero.Median(), FloorIs: "p50", Note: fmt.Sprintf("longest %s ms", figure(zero.Max()))})
	m.Row(inotify.row(Row{What: "floor: rename → inotify event", Unit: "ms"}))
	m.Row(event.row(Row{What: "floor: etcd Put → watch event", Unit: "ms"}))
	m.Row(write.row(Row{What: "floor: write, fsync, rename, directory fsync", Unit: "ms"}))
	m.Distribution("edit", "confsyncd, settle 0", zero)
	m.Distribution("edit", "confsyncd, settle 50 ms", usual)
	m.Distribution("edit", "floor: put → event", event)
	m.Distribution("edit", "floor: write durably", write)
}
