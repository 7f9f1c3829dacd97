package install

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// benchFiles names, in the environment, how many files the target of BenchmarkSwitch
// holds: 10,000 by default.
const benchFiles = "CONFSYNCD_BENCH_FILES"

// BenchmarkSwitch measures, in turn in each round, a change of one and of two paths in
// both modes, in a target of 2 KB files in directories of 100, and "cp -al" of it.
func BenchmarkSwitch(b *testing.B) {
	n, err := strconv.Atoi(os.Getenv(benchFiles))
	if err != nil {
		n = 10_000
	}
	type bench struct {
		target *Target
		tree   diff.Tree
		g      uint64
		took   map[int]time.Duration
	}
	all := map[Mode]*bench{}
	for _, m := range []Mode{Files, Tree} {
		x := &bench{target: mustOpen(b, optionsIn(m, newDir(b))), took: map[int]time.Duration{}}
		f := files{}
		for i := range n {
			f[fmt.Sprintf("d%04d", i/100)] = "755/"
			f[fmt.Sprintf("d%04d/%06d", i/100, i)] = "644 " + strings.Repeat(fmt.Sprintf("%07d\n", i), 256)
		}
		x.tree, _ = f.tree(b)
		_, c := f.tree(b)
		x.g = 1
		if _, err := x.target.Apply(b.Context(), Plan{Position: position(1), Want: x.tree, All: x.tree, Meta: meta}, c); err != nil {
			b.Fatal(err)
		}
		all[m] = x
	}
	time.Sleep(10 * raceWindow) // So that the stamps are not racy.
	var linked time.Duration
	for b.Loop() {
		for _, paths := range []int{1, 2} {
			for _, m := range []Mode{Files, Tree} {
				x := all[m]
				x.g++
				var changes []diff.Change
				c := contents{}
				for i := range paths {
					e, content := entry(fmt.Sprintf("644 %d %d", x.g, i))
					c[e.Hash] = content
					changes = append(changes, diff.Change{Path: fmt.Sprintf("d%04d/%06d", i, i*100), New: e})
				}
				x.tree, err = x.tree.With(changes)
				do(b, err)
				p := Plan{Position: position(x.g), Want: x.tree, All: x.tree, Meta: meta}
				began := time.Now()
				if _, err := x.target.Apply(b.Context(), p, c); err != nil {
					b.Fatal(err)
				}
				x.took[paths] += time.Since(began)
				b.Logf("%-5s %d paths %v", m, paths, time.Since(began))
			}
		}
		dir := all[Files].target.o.Dir
		copied := filepath.Join(filepath.Dir(dir), "copy")
		began := time.Now()
		do(b, exec.Command("cp", "-al", dir, copied).Run())
		linked += time.Since(began)
		b.Logf("cp -al %v", time.Since(began))
		do(b, os.RemoveAll(copied))
		now := time.Now().Add(time.Hour)
		all[Tree].target.now = func() time.Time { return now }
		began = time.Now()
		all[Tree].target.Tidy(time.Hour)
		b.Logf("tidy %v", time.Since(began))
		all[Tree].target.now = time.Now
	}
	for m, x := range all {
		for paths, took := range x.took {
			b.ReportMetric(took.Seconds()*1000/float64(b.N), fmt.Sprintf("%s-%d-ms", m, paths))
		}
	}
	b.ReportMetric(linked.Seconds()*1000/float64(b.N), "cp-ms")
}
