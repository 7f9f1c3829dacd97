//go:build bench

package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

func pullFigure() Figure {
	return Figure{
		Name: "pull",
		How: `The first ` + "`pull`" + ` of 10,000 files of 2 KB into an empty directory, as a process from its beginning to its end, when all is durable, in turn with
the floor: all these files are written under other names where they are to lie, one syncfs, and all are renamed. Each round has new directories, and none is removed: where ext4
has no journal, inodes that were freed lately are passed over one by one.`,
		Measure: measurePull,
	}
}

func measurePull(m *Meter) {
	const files, rounds = 10_000, 7
	l := m.Lab(m.Etcd())
	source := l.Host(m.T, "pull", "source")
	source.Dir = m.Tree(files)
	source.Must(m.T, "push")
	round := 0
	ours := Side{"pull", func() float64 {
		round++
		h := l.Host(m.T, "pull", fmt.Sprint("target", round))
		unix.Sync()
		return m.Process("pull", argv(h, "pull")...).Once()
	}}
	got := Interleave(rounds, ours, m.TreeFloor(files))
	pull, floor := got[0], got[1]
	m.Row(pull.row(Row{
		What: "first sync of 10,000 files of 2 KB: pull, durable", Target: "≤ 1.5 × (write all + syncfs + rename all)", Unit: "ms",
		Floor: floor.Median(), FloorIs: "write, syncfs, rename", Bound: 1.5 * floor.Median(),
	}))
}

// TreeFloor returns a Side: a tree's files are written, made durable by one syncfs, and
// renamed.
func (m *Meter) TreeFloor(files int) Side {
	m.Helper()
	from := m.Tree(files)
	contents := make([][]byte, files)
	for i := range contents {
		var err error
		contents[i], err = os.ReadFile(filepath.Join(from, FileName(i)))
		m.Must(err)
	}
	round := 0
	return Side{"write, syncfs, rename", func() float64 {
		round++
		dir := filepath.Join(m.Dir, "floor-"+strconv.Itoa(round))
		m.Must(os.Mkdir(dir, 0o755))
		unix.Sync()
		return m.Timed(func() error {
			if err := writeSynced(dir, contents); err != nil {
				return err
			}
			for i := range contents {
				name := filepath.Join(dir, FileName(i))
				if err := os.Rename(name+".new", name); err != nil {
					return err
				}
			}
			return nil
		})
	}}
}

// writeSynced writes the files of a tree, with ".new" after their names, and has one
// syncfs make them durable.
func writeSynced(dir string, contents [][]byte) error {
	for i, c := range contents {
		name := filepath.Join(dir, FileName(i))
		if i%perDirectory == 0 {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(name+".new", c, 0o644); err != nil {
			return err
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}
