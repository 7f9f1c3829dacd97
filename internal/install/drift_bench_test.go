package install

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// BenchmarkDrift looks at a whole target of files of 2 KB: by the stat cache, and by
// content.
func BenchmarkDrift(b *testing.B) {
	for _, count := range []int{10_000, 100_000} {
		f := files{}
		for i := range count {
			dir := fmt.Sprintf("%03d", i/100)
			f[dir] = "755/"
			f[fmt.Sprintf("%s/%05d", dir, i)] = fmt.Sprintf("644 %06d%s", i, strings.Repeat("x", 2042))
		}
		dir := newDir(b)
		target := mustOpen(b, options(dir))
		mustApply(b, target, 1, f)
		target.now = func() time.Time { return time.Now().Add(time.Second) }
		for _, deep := range []bool{true, false} {
			b.Run(fmt.Sprintf("files=%d/deep=%v", count, deep), func(b *testing.B) {
				for b.Loop() {
					found, err := target.Drift(context.Background(), Where{}, deep)
					if err != nil || len(found) > 0 {
						b.Fatal(found, err)
					}
				}
			})
		}
	}
}
