package publisher

import (
	"errors"
	"slices"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
)

// changingPatience is how many steps in a row may begin anew because a file changed between
// being scanned and being read. Beyond, such files are left to the next commit: the more
// files a step reads, the likelier it is that one is replaced meanwhile, and under unbroken
// edits nothing would ever be published.
const changingPatience = 5

// leaves reports whether a change is left to a later commit, because its content could not be
// read. A push is whole or not at all; a founding has to hold what was committed, which can
// no longer be had; and where a directory was, all that was below would have to stay.
func (p *Publisher) leaves(c diff.Change, on standing, err error) bool {
	if !errors.Is(err, scan.ErrChanged) || p.push != nil || p.changing < changingPatience {
		return false
	}
	old, _ := on.base.Get(c.Path)
	return old.Kind == diff.None || old.Kind != diff.Directory && !on.founding
}

// without returns the tree that is committed if some changes are left to a later commit:
// where they are it is as it was. It returns ErrChanged if nothing is left to be
// committed, and what a guard has against it.
func (p *Publisher) without(left []string, on standing, found *scan.Result) (diff.Tree, error) {
	back := make([]diff.Change, len(left))
	for i, path := range left {
		back[i].Path = path
		back[i].New, _ = on.base.Get(path)
	}
	tree, err := found.Tree.With(back)
	if err != nil { // What went away has something else in its place.
		return diff.Tree{}, scan.ErrChanged
	}
	changes := diff.Compare(on.base, tree)
	if len(changes) == 0 {
		return diff.Tree{}, scan.ErrChanged
	}
	return tree, p.guard(on.base, changes, found)
}

// leave notes which paths the last commit has left to the next, and returns them as held.
func (p *Publisher) leave(left []string) []scan.Held {
	held := make([]scan.Held, len(left))
	for i, path := range left {
		held[i] = scan.Held{Path: path, Reason: scan.Vanishing, Since: time.Now()}
		if j := slices.IndexFunc(p.left, func(h scan.Held) bool { return h.Path == path }); j >= 0 {
			held[i].Since = p.left[j].Since
		}
	}
	p.left = held
	return held
}
