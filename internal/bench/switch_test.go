//go:build bench

package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/journal"
)

func switchFigure() Figure {
	return Figure{
		Name: "switch",
		How: `A change of two paths where ` + "`mode = \"tree\"`" + `: from the generation's arrival, contents included, until the whole tree is exchanged, durable, the journal is at
it, and the old tree was looked through; in turn with ` + "`cp -al`" + ` of a like tree, which syncs nothing. Old trees and copies stay until the end.`,
		Profile: `of 1.4 s for 100,000 files: looking at the target first 0.26, links 0.93–1.05, syncing 0.09–0.16, looking before the exchange 0.005, looking through the old tree 0.14. Of linking 57 % is linkat and 30 % the lease that shows that nobody writes to the file; ` + "`" + `cp -al` + "`" + ` asks and looks for nothing.
Less would take looking back by directories' times alone.`,
		Measure: measureSwitch,
	}
}

func measureSwitch(m *Meter) {
	for _, files := range []int{10_000, 100_000} {
		rounds := 9
		if files > 10_000 {
			rounds = 5
		}
		got := Interleave(rounds, m.switches(files), m.LinkFloor(files))
		m.Row(got[0].row(Row{
			What: fmt.Sprintf("two paths of %s in tree mode", thousands(strconv.Itoa(files))), Target: "≤ 1.2 × cp -al", Unit: "ms",
			Floor: got[1].Median(), FloorIs: "cp -al", Bound: 1.2 * got[1].Median(),
		}))
	}
}

// byHand is the directory of a tree that is only linked.
func (m *Meter) byHand(files int) string { return filepath.Join(m.Dir, fmt.Sprint("by-hand-", files)) }

// LinkFloor returns a Side: a tree is linked by hand.
func (m *Meter) LinkFloor(files int) Side {
	m.Helper()
	m.Must(WriteTree(m.byHand(files), files, 2048, 9))
	round := 0
	return Side{"cp -al", func() float64 {
		round++
		return m.Process("cp", "cp", "-al", m.byHand(files), fmt.Sprint(m.byHand(files), "-", round)).Once()
	}}
}

// contents are those of a tree's files, by hash.
type contents map[diff.Hash][]byte

// Fetch hands the wanted ones over.
func (c contents) Fetch(_ context.Context, want []diff.Entry, _ func(diff.Hash) []byte, put func(diff.Entry, []byte) error) error {
	for _, e := range want {
		if err := put(e, c[e.Hash]); err != nil {
			return err
		}
	}
	return nil
}

func (c contents) file(text string) diff.Entry {
	e := diff.Entry{Kind: diff.File, Mode: 0o644, Size: int64(len(text)), Hash: diff.Sum([]byte(text))}
	c[e.Hash] = []byte(text)
	return e
}

// switches returns a Side: two paths of a target change.
func (m *Meter) switches(files int) Side {
	m.Helper()
	dir := filepath.Join(m.Dir, fmt.Sprint("switch-", files))
	m.Must(os.Mkdir(dir, 0o755))
	target, err := install.Open(install.Options{Dir: dir, Mode: install.Tree, UID: -1, GID: -1, Log: hclog.NewNullLogger()})
	m.Must(err)
	m.Cleanup(func() { _ = target.Close() })
	var tree diff.Tree
	generation := uint64(0)
	apply := func(changes []diff.Change, c contents) float64 {
		var err error
		tree, err = tree.With(changes)
		m.Must(err)
		generation++
		at := diff.Position{Tenant: diff.TenantID{1}, Generation: generation, Commit: diff.Hash{byte(generation)}}
		plan := install.Plan{Position: at, Want: tree, All: tree, Meta: journal.Meta{Tenant: "switch", Prefix: "/confsyncd", UID: -1, GID: -1}}
		return m.Timed(func() error {
			_, err := target.Apply(m.Context(), plan, c)
			return err
		})
	}
	first := contents{}
	var all []diff.Change
	for i := range files {
		if i%perDirectory == 0 {
			all = append(all, diff.Change{Path: filepath.Dir(FileName(i)), New: diff.Entry{Kind: diff.Directory, Mode: 0o755}})
		}
		all = append(all, diff.Change{Path: FileName(i), New: first.file(fmt.Sprintf("%2047d\n", i))})
	}
	apply(all, first)
	unix.Sync()
	time.Sleep(100 * time.Millisecond) // What is younger would be read again.
	return Side{"switch", func() float64 {
		c := contents{}
		var two []diff.Change
		for i := range 2 {
			two = append(two, diff.Change{Path: FileName(i * perDirectory), New: c.file(fmt.Sprintf("%d %d\n", generation, i))})
		}
		return apply(two, c)
	}}
}
