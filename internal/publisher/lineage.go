package publisher

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/watcher"
)

// maxFormer bounds the entries that a lineage keeps.
const maxFormer = 100000

// cachePatience is for how long a network file system may show what was there before: by
// default NFS trusts the attributes of a directory that it has seen for at most a minute,
// see acdirmax in nfs(5).
const cachePatience = 90 * time.Second

// forever is the patience with a copy: it may lag for as long as it likes.
const forever = time.Duration(math.MaxInt64)

// lineage tells, in an election, whether the directory's differences from the head are
// edits that are not committed yet. They are, once the directory has equalled a head, as
// long as they take nothing back that was committed since. What takes a commit back is an
// edit too if the publishers share the directory; but a cache may still show what was
// there before, and a copy may lag.
type lineage struct {
	// patience is for how long after a commit the directory may lag behind it.
	patience time.Duration
	// equalled is set once the directory has equalled a head that the ones since follow
	// from.
	equalled bool
	// former are the paths that commits have changed since, and that the directory did not
	// have as they were committed yet.
	former map[string]former
	size   int // how many entries are in former
}

// former is what commits have replaced at a path.
type former struct {
	entries []diff.Entry
	last    time.Time // when the newest of those commits was seen
}

// newLineage returns the lineage of a directory of which nothing is known yet.
func newLineage(o Options) lineage {
	switch {
	case o.Copies:
		return lineage{patience: forever}
	case watcher.Remote(o.Dir):
		return lineage{patience: cachePatience}
	}
	return lineage{}
}

// reset forgets that the directory has equalled anything.
func (l *lineage) reset() { *l = lineage{patience: l.patience} }

// equal notes that all that differs from the head is edits.
func (l *lineage) equal() { *l = lineage{patience: l.patience, equalled: true} }

// moved notes a commit.
func (l *lineage) moved(before, after diff.Tree) {
	if !l.equalled || l.patience == 0 {
		return
	}
	if l.former == nil {
		l.former = make(map[string]former)
	}
	now := time.Now()
	for _, ch := range diff.Compare(before, after) {
		f := l.former[ch.Path]
		if !slices.Contains(f.entries, ch.Old) {
			f.entries = append(f.entries, ch.Old)
			l.size++
		}
		f.last = now
		l.former[ch.Path] = f
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
		if changes = l.lagging(changes); len(changes) == 0 {
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
	return descent{lags: l.equalled, apart: fmt.Sprintf("%q %s, the first of %d", first.Path, how, len(changes))}
}

// lagging returns those of the directory's differences that are no edits. Of what does
// not differ, the directory has caught up.
func (l *lineage) lagging(changes []diff.Change) []diff.Change {
	now := time.Now()
	still := make(map[string]former)
	l.size = 0
	var lag []diff.Change
	for _, ch := range changes {
		f, ok := l.former[ch.Path]
		if !ok || now.Sub(f.last) >= l.patience {
			continue
		}
		still[ch.Path] = f
		l.size += len(f.entries)
		if slices.Contains(f.entries, ch.New) {
			lag = append(lag, ch)
		}
	}
	l.former = still
	return lag
}

// descent is how a directory stands to a head.
type descent struct {
	// eligible is set if all that differs is edits.
	eligible bool
	// lags is set if what differs takes back what was committed; else the directory never
	// was equal.
	lags  bool
	apart string // the first path that keeps it from being eligible, and how many do
}
