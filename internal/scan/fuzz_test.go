package scan

import (
	"path"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// Rules answer for any path, the same each time and soon, for all that lies below what
// they ignore too; and what is ours they always ignore.
func FuzzRules(f *testing.F) {
	f.Fuzz(func(t *testing.T, patterns, busy, p string) {
		var list []string
		if busy != "" {
			list = []string{busy}
		}
		r, err := NewRules(strings.Split(patterns, "\n"), list)
		if err != nil {
			return
		}
		if len(p) > diff.MaxPath || len(patterns) > 1000 {
			return
		}
		begin := time.Now()
		ignored := r.Ignored(p, false)
		if took := time.Since(begin); took > time.Second {
			t.Fatalf("%v to match %q with %q", took, p, patterns)
		}
		if ignored != r.Ignored(p, false) {
			t.Error("another answer to the same question")
		}
		if r.Ignored("", true) || !r.Ignored(diff.OwnName, true) || !r.Ignored(path.Join(diff.OwnName, "x"), false) {
			t.Error("the root is ignored, or what is ours is not")
		}
		if busy != "" && (!r.Ignored(busy, false) || diff.CheckPath(busy) != nil) {
			t.Errorf("the busy file %q is taken, and not ignored", busy)
		}
		if p != "" && r.Ignored(p, true) && !r.Ignored(p+"/below", false) {
			t.Errorf("the directory %q is ignored, and not what lies below it", p)
		}
	})
}
