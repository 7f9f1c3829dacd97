package watcher

import (
	"maps"
	"slices"
	"time"
)

const (
	// pollEvery is how often at most is looked at what is not watched.
	pollEvery = time.Second
	// pollShare bounds what polls cost: they take at most one part in pollShare of the
	// time.
	pollShare = 20
)

// polls is when to look at what no event tells of; the zero value polls nothing. It
// is for one goroutine.
type polls struct {
	dirs     []string  // as Dirty has them; nil while everything is watched
	due      time.Time // of the next poll; zero while none is to come
	underWay bool      // the consumer has not told yet what the last one cost
}

// plan makes dirs what is polled from now on.
func (p *polls) plan(dirs []string, now time.Time) {
	p.dirs = dirs
	switch {
	case len(dirs) == 0:
		p.due = time.Time{}
	case p.due.IsZero() && !p.underWay:
		p.due = now.Add(pollEvery)
	}
}

// take returns what to look at, and that the poll is under way.
func (p *polls) take() dirtySet {
	p.due, p.underWay = time.Time{}, true
	s := dirtySet{poll: true}
	for _, dir := range p.dirs {
		s.add(dir)
	}
	return s
}

// cost plans the next poll by what the last one cost.
func (p *polls) cost(took time.Duration, now time.Time) {
	p.underWay = false
	if len(p.dirs) > 0 {
		p.due = now.Add(max(pollEvery, pollShare*took))
	}
}

// whole returns the topmost of dirs as Dirty has directories with all below them.
func whole(dirs map[string]struct{}) []string {
	var top []string
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if dir == "" {
			return []string{"/"}
		}
		if !within(dir, dirs) {
			top = append(top, dir+"/")
		}
	}
	return top
}

// within reports whether a directory above dir is one of dirs.
func within(dir string, dirs map[string]struct{}) bool {
	for i := range len(dir) {
		if dir[i] != '/' {
			continue
		}
		if _, ok := dirs[dir[:i]]; ok {
			return true
		}
	}
	return false
}
