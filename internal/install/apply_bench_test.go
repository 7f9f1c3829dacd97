package install

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkApply applies a generation that changes one of 200 files, or none of them, and
// one that makes 1,000 files of 2 KB in an empty target: all of it durably.
func BenchmarkApply(b *testing.B) {
	f := files{}
	for i := range 200 {
		f[fmt.Sprintf("%03d", i)] = "644 " + strings.Repeat("x", 2048)
	}
	b.Run("changes=0", func(b *testing.B) {
		target := mustOpen(b, options(newDir(b)))
		mustApply(b, target, 1, f)
		p, c := plan(b, 1, f)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := target.Apply(b.Context(), p, c); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("changes=1", func(b *testing.B) {
		target := mustOpen(b, options(newDir(b)))
		mustApply(b, target, 1, f)
		b.ReportAllocs()
		for g := uint64(2); b.Loop(); g++ {
			b.StopTimer()
			f["100"] = fmt.Sprintf("644 %d", g)
			p, c := plan(b, g, f)
			b.StartTimer()
			if _, err := target.Apply(b.Context(), p, c); err != nil {
				b.Fatal(err)
			}
		}
	})
	many := files{}
	for i := range 1000 {
		many[fmt.Sprintf("%04d", i)] = fmt.Sprintf("644 %04d%s", i, strings.Repeat("x", 2044))
	}
	b.Run("changes=1000", func(b *testing.B) {
		p, c := plan(b, 1, many)
		b.ReportAllocs()
		b.SetBytes(1000 * 2048)
		for b.Loop() {
			b.StopTimer()
			target := mustOpen(b, options(newDir(b)))
			b.StartTimer()
			if _, err := target.Apply(b.Context(), p, c); err != nil {
				b.Fatal(err)
			}
		}
	})
}
