package agent

import (
	"strings"
	"testing"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// Whatever is selected is a tree with valid paths, and selecting changes no content.
func FuzzSelect(f *testing.F) {
	f.Fuzz(func(t *testing.T, paths, pattern, prefix string) {
		var changes []diff.Change
		for p := range strings.SplitSeq(paths, "\n") {
			c := diff.Change{Path: strings.TrimSuffix(p, "/"), New: diff.Entry{Kind: diff.File, Mode: 0o644, Hash: diff.Sum([]byte(p))}}
			if strings.HasSuffix(p, "/") {
				c.New = diff.Entry{Kind: diff.Directory, Mode: 0o755}
			}
			changes = append(changes, c)
		}
		all, err := diff.Tree{}.With(changes)
		if err != nil || !doublestar.ValidatePattern(pattern) || len(pattern) > 200 {
			return
		}
		o := Options{Paths: []string{pattern}, StripPrefix: prefix}
		got, err := o.Select(all)
		if err != nil {
			return
		}
		for p, e := range got.All() {
			if err := diff.CheckPath(p); err != nil {
				t.Errorf("selected %q: %v", p, err)
			}
			if was, ok := all.Get(prefix + p); !ok || was != e {
				t.Errorf("%q is %+v, and was %+v", p, e, was)
			}
		}
	})
}
