package scan

import "slices"

// likely is a list that most probably is a stretch of one that is known already: then that is
// used, and nothing is made.
type likely[T comparable] struct {
	known []T
	from  int // where in known it begins
	same  int // how many of known it goes on with; all of it while own is nil
	own   []T // the whole list, once it is another one
	about int // how long it may become
}

func (l *likely[T]) add(v T) {
	if i := l.from + l.same; l.own == nil && i < len(l.known) && l.known[i] == v {
		l.same++
		return
	}
	if l.own == nil {
		l.own = append(make([]T, 0, max(l.same+1, l.about)), l.list()...)
	}
	l.own = append(l.own, v)
}

// replace puts something else in the place of one of those that were known, of which all
// were added.
func (l *likely[T]) replace(i int, v T) {
	if l.list()[i] == v {
		return
	}
	if l.own == nil {
		l.own = slices.Clone(l.known)
	}
	l.own[i] = v
}

// list returns what was added. It is not to be changed.
func (l *likely[T]) list() []T {
	if l.own != nil {
		return l.own
	}
	return l.known[l.from : l.from+l.same]
}

// follow adds what was added to another one, which was begun with the same known list.
func (l *likely[T]) follow(next *likely[T]) {
	if l.own == nil && next.own == nil && (next.same == 0 || l.from+l.same == next.from) {
		l.same += next.same
		return
	}
	if l.own == nil {
		l.own = append(make([]T, 0, max(l.same+len(next.own), l.about)), l.list()...)
	}
	l.own = append(l.own, next.list()...)
}
