package watcher

import (
	"path"
	"slices"
	"time"
)

// maxDirs is how many dirty directories are told apart: a scan of more is hardly
// cheaper than a scan of everything.
const maxDirs = 4096

// maxNames is how many names in a directory are told apart: beyond, a look at all of it is
// hardly dearer.
const maxNames = 64

// dirtySet is a bounded set of directories; the zero value is empty.
type dirtySet struct {
	all  bool
	poll bool             // it holds a poll
	dirs map[string]names // nil when all; with a trailing slash: with all below it
}

// names are those in a directory at which something changed; nil stands for all.
type names map[string]struct{}

func (s *dirtySet) add(dir string) {
	if s.all {
		return
	}
	if s.dirs == nil {
		s.dirs = make(map[string]names)
	}
	s.dirs[dir] = nil
	if len(s.dirs) > maxDirs {
		s.addAll()
	}
}

func (s *dirtySet) addName(dir, name string) {
	if s.all {
		return
	}
	in, met := s.dirs[dir]
	switch {
	case !met:
		s.add(dir)
		if s.all {
			return
		}
		in = make(names)
		s.dirs[dir] = in
	case in == nil:
		return
	}
	in[name] = struct{}{}
	if len(in) > maxNames {
		s.dirs[dir] = nil
	}
}

func (s *dirtySet) addAll() { s.all, s.dirs = true, nil }

func (s *dirtySet) merge(o dirtySet) {
	s.poll = s.poll || o.poll
	if o.all {
		s.addAll()
	}
	for dir, in := range o.dirs {
		if in == nil {
			s.add(dir)
		}
		for name := range in {
			s.addName(dir, name)
		}
	}
}

func (s *dirtySet) dirty() Dirty {
	d := Dirty{All: s.all, Poll: s.poll}
	for dir, in := range s.dirs {
		if in == nil {
			d.Dirs = append(d.Dirs, dir)
		}
		for name := range in {
			d.Paths = append(d.Paths, path.Join(dir, name))
		}
	}
	slices.Sort(d.Dirs)
	slices.Sort(d.Paths)
	return d
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
