package scan_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
)

var designIgnore = []string{".git/", "*~", ".*.sw?", "4913", ".#*", "#*#"}

// BenchmarkScan scans files of 2 KiB, 100 in each directory.
func BenchmarkScan(b *testing.B) {
	for _, files := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("files=%d", files), func(b *testing.B) {
			d := b.TempDir()
			content := make([]byte, 2048)
			for i := range files / 100 {
				sub := filepath.Join(d, fmt.Sprintf("d%04d", i))
				must(b, os.Mkdir(sub, 0o755))
				for j := range 100 {
					must(b, os.WriteFile(filepath.Join(sub, fmt.Sprintf("file-%02d.conf", j)), fmt.Append(content, i, j), 0o644))
				}
			}
			ignore := func(o *scan.Options) { o.Ignore = designIgnore }
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			s := newScanner(b, d, settled, ignore)
			tree := mustScan(b, s, diff.Tree{}, nil).Tree
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.Run("first", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					mustScan(b, newScanner(b, d, settled, ignore), diff.Tree{}, nil)
				}
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(files), "B/file")
			})
			b.Run("warm", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					mustScan(b, s, tree, nil)
				}
			})
			b.Run("one-directory", func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					must(b, os.WriteFile(filepath.Join(d, "d0042/file-07.conf"), fmt.Append(content, i), 0o644))
					mustScan(b, s, tree, []string{"d0042"})
				}
			})
		})
	}
}
