package publisher

import (
	"fmt"
	"slices"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// maxFormer bounds the entries that a lineage keeps.
const maxFormer = 100000

// lineage tells, in an election, whether the directory's differences from the head are
// edits that are not committed yet. They are, once the directory has equalled a head, as
// long as they take nothing back that was committed since: a directory that still holds
// what a commit has replaced is a copy that lags.
//
// An edit that puts back what a commit has just replaced looks the same, if its publisher
// is killed before it commits it, and before any other has looked. It is not published
// then, and the others say what they wait for.
type lineage struct {
	// equalled is set once the directory has equalled a head that the ones since follow
	// from.
	equalled bool
	// former are the entries that commits have replaced since, by path.
	former map[string][]diff.Entry
	size   int // how many entries are in former
}

// descent is how a directory stands to a head.
type descent struct {
	// eligible is set if all that differs is edits.
	eligible bool
	apart    string // the first path that is not, and how many there are
}

// reset forgets that the directory has equalled anything.
func (l *lineage) reset() { *l = lineage{} }

// equal notes that all that differs from the head is edits.
func (l *lineage) equal() { *l = lineage{equalled: true} }

// moved notes a commit.
func (l *lineage) moved(before, after diff.Tree) {
	if !l.equalled {
		return
	}
	if l.former == nil {
		l.former = make(map[string][]diff.Entry)
	}
	for _, ch := range diff.Compare(before, after) {
		if !slices.Contains(l.former[ch.Path], ch.Old) {
			l.former[ch.Path] = append(l.former[ch.Path], ch.Old)
			l.size++
		}
	}
	if l.size > maxFormer {
		l.reset()
	}
}

// look compares the directory with the head's tree.
func (l *lineage) look(head, dir diff.Tree) descent {
	changes := diff.Compare(head, dir)
	if len(changes) == 0 {
		l.equal()
		return descent{eligible: true}
	}
	if l.equalled {
		changes = slices.DeleteFunc(changes, func(ch diff.Change) bool { return !slices.Contains(l.former[ch.Path], ch.New) })
		if len(changes) == 0 {
			return descent{eligible: true}
		}
	}
	first := changes[0]
	how := "differs"
	switch {
	case first.Created():
		how = "is only here"
	case first.Deleted():
		how = "is not here"
	}
	return descent{apart: fmt.Sprintf("%q %s, the first of %d", first.Path, how, len(changes))}
}
