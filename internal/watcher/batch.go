package watcher

import (
	"maps"
	"slices"
	"time"
)

// maxDirs is how many dirty directories are told apart: a scan of more is hardly
// cheaper than a scan of everything.
const maxDirs = 4096

// dirtySet is a bounded set of directories; the zero value is empty.
type dirtySet struct {
	all  bool
	poll bool                // it holds a poll
	dirs map[string]struct{} // nil when all; with a trailing slash: with all below it
}

func (s *dirtySet) add(dir string) {
	if s.all {
		return
	}
	if s.dirs == nil {
		s.dirs = make(map[string]struct{})
	}
	s.dirs[dir] = struct{}{}
	if len(s.dirs) > maxDirs {
		s.addAll()
	}
}

func (s *dirtySet) addAll() { s.all, s.dirs = true, nil }

func (s *dirtySet) merge(o dirtySet) {
	s.poll = s.poll || o.poll
	if o.all {
		s.addAll()
	}
	for dir := range o.dirs {
		s.add(dir)
	}
}

func (s *dirtySet) dirty() Dirty {
	return Dirty{All: s.all, Poll: s.poll, Dirs: slices.Sorted(maps.Keys(s.dirs))}
}

// batch is what was noted and has not settled; the zero value is empty.
type batch struct {
	dirtySet
	remake      bool      // the watches no longer fit the tree
	first, last time.Time // of the noted events; first is zero while empty
}

// touch counts an event. Every change of the batch goes with one.
func (b *batch) touch(now time.Time) {
	if b.first.IsZero() {
		b.first = now
	}
	b.last = now
}

func (b *batch) empty() bool { return b.first.IsZero() }

// due is when the batch counts as settled: at once where no settling is wanted. What
// comes a moment later is the next batch.
func (b *batch) due(settle, maxDelay time.Duration) time.Time {
	if settle <= 0 {
		return b.first
	}
	quiet, latest := b.last.Add(settle), b.first.Add(max(settle, maxDelay))
	if quiet.Before(latest) {
		return quiet
	}
	return latest
}
