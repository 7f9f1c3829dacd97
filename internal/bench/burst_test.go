//go:build bench

package bench

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func burstFigure() Figure {
	return Figure{
		Name: "burst",
		How: `1,000 files of a tree of 10,000 are replaced at once, by files that lie beside the source already: from the first rename until the agent has said that all 1,000
are in place and durable, publisher and agent with the default settle of 50 ms. In turn with the floor: 1,000 files of as many bytes are written, and one syncfs.`,
		Profile: `perf of the agent: 62 % is ext4 looking for free inodes (recently_deleted, find_inode_bit, ext4_get_group_desc; find_get_block_common beneath them). This file system has no journal, and gives no inode anew for minutes after
its file was removed; each round replaces 1,000 files in the source and 1,000 in the target, while the floor writes into new directories and removes nothing. The publisher's part was 74 ms. Less would take staging in place of what was replaced before, or a file system with a journal.`,
		Measure: measureBurst,
	}
}

func measureBurst(m *Meter) {
	const files, changed, rounds, settle = 10_000, 1000, 9, 50
	l := m.Lab(m.Etcd())
	source, target := l.Host(m.T, "burst", "source"), l.Host(m.T, "burst", "target")
	m.Must(WriteTree(source.Dir, files, 2048, 7))
	p := m.Pair(source, target)
	rng := rand.New(rand.NewPCG(7, 1))
	round := 0
	contents := func() [][]byte {
		c := make([][]byte, changed)
		for i := range c {
			c[i] = []byte(Config(rng, 2048))
		}
		return c
	}
	ours := Side{"1,000 files", func() float64 {
		round++
		beside := filepath.Join(m.Dir, "burst-"+strconv.Itoa(round))
		m.Must(os.Mkdir(beside, 0o755))
		m.Must(writeSynced(beside, contents()))
		Rest()
		first := (round - 1) * changed % files
		begin := time.Now()
		for i := range changed {
			m.Must(os.Rename(filepath.Join(beside, FileName(i)+".new"), filepath.Join(source.Dir, FileName(first+i))))
		}
		return ms(p.Applied(begin, changed).Sub(begin))
	}}
	floors := 0
	floor := Side{"write, syncfs", func() float64 {
		floors++
		dir := filepath.Join(m.Dir, "floor-"+strconv.Itoa(floors))
		m.Must(os.Mkdir(dir, 0o755))
		c := contents()
		unix.Sync()
		return m.Timed(func() error { return writeSynced(dir, c) })
	}}
	got := Interleave(rounds, ours, floor)
	bound := 1.5*got[1].Median() + settle
	m.Row(got[0].row(Row{
		What: "1,000 files of 10,000 changed at once → all visible, durable", Target: "≤ 1.5 × (write 1,000 + syncfs) + settle", Unit: "ms",
		Floor: got[1].Median(), FloorIs: "write, syncfs", Bound: bound,
	}))
}
