//go:build bench

package bench

import (
	"fmt"
	"os"
	"path/filepath"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/lab"
)

func pushFigure() Figure {
	return Figure{
		Name: "push",
		How: `The first ` + "`push`" + ` of 10,000 files of 2 KB to a tenant, as a process from its beginning to its end, in turn with the floor: all these files are read, one
after another; then compressed, by one goroutine, into packs as ours; then these are put, one after another.`,
		Measure: measurePush,
	}
}

func measurePush(m *Meter) {
	const files, rounds = 10_000, 9
	etcd := m.Etcd()
	l := m.Lab(etcd)
	dir := m.Tree(files)
	round := 0
	ours := Side{"push", func() float64 {
		round++
		h := l.Host(m.T, fmt.Sprintf("push%d", round), "source")
		h.Dir = dir
		return m.Process("push", argv(h, "push")...).Once()
	}}
	got := Interleave(rounds, ours, m.PutFloor(etcd, dir, files))
	push, floor := got[0], got[1]
	m.Row(push.row(Row{
		What: "first sync of 10,000 files of 2 KB: push", Target: "≤ 1.5 × (read all + zstd + Puts of the same bytes)", Unit: "ms",
		Floor: floor.Median(), FloorIs: "read, zstd, Put", Bound: 1.5 * floor.Median(),
	}))
}

// PutFloor returns a Side: the files of a tree are read, compressed, and put into etcd.
func (m *Meter) PutFloor(e *lab.Etcd, dir string, files int) Side {
	m.Helper()
	client := e.Client(m.T)
	round := 0
	return Side{"read, zstd, Put", func() float64 {
		round++
		return m.Timed(func() error {
			contents := make([][]byte, files)
			for i := range contents {
				var err error
				if contents[i], err = os.ReadFile(filepath.Join(dir, FileName(i))); err != nil {
					return err
				}
			}
			var packs [][]byte
			packer := codec.NewPacker(func(p codec.Pack) error {
				packs = append(packs, p.Data)
				return nil
			})
			for _, c := range contents {
				if _, err := packer.Add(c); err != nil {
					return err
				}
			}
			if err := packer.Close(); err != nil {
				return err
			}
			for i, p := range packs {
				if _, err := client.Txn(m.Context()).Then(clientv3.OpPut(fmt.Sprintf("/floor/%d/%d", round, i), string(p))).Commit(); err != nil {
					return err
				}
			}
			return nil
		})
	}}
}
