package agent

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/install"
)

// When what drifted is put right.
const (
	driftSettle = 200 * time.Millisecond // how long a path must have been quiet
	driftUnrest = 2 * time.Second        // and how long that is waited for
	busyAgain   = 500 * time.Millisecond // how soon a file that is open for writing is looked at again

	inARow     = time.Minute      // a path that drifts again so soon after a repair is in a fight
	firstDelay = time.Second      // before the second repair in a row, doubled with each more
	lastDelay  = 5 * time.Minute  // the longest of these delays
	stuckAgain = 10 * time.Second // how soon is tried or looked again, at the latest, where something keeps a path from being put right

	alarmCount = 5                // so many repairs of a path …
	alarmSpan  = 10 * time.Minute // … within this time raise an alarm, which ends after as long a quiet
)

// shown is how many paths a report or a line of the log names.
const shown = 20

// drifts knows what has drifted, and when each path is to be put right. It is for one
// goroutine.
type drifts struct {
	first time.Duration // the delay before the second repair in a row
	open  map[string]*drift
	past  map[string]*past
}

// drift is a path that is not as it should be.
type drift struct {
	install.Drifted
	found   time.Time
	problem string // why the last attempt did not put it right
}

// past is what happened to a path before, until it has been quiet for a while.
type past struct {
	tried   time.Time   // the last attempt
	row     int         // attempts in a row
	repairs []time.Time // within the span of an alarm
	seen    time.Time   // when the path was last known to have drifted
	alarm   bool
}

func newDrifts(first time.Duration) *drifts {
	return &drifts{first: first, open: map[string]*drift{}, past: map[string]*past{}}
}

// update takes what a look has found, which is all that there is. It returns what was
// not known before.
func (s *drifts) update(found []install.Drifted, now time.Time) (fresh []install.Drifted) {
	open := make(map[string]*drift, len(found))
	for _, d := range found {
		known, ok := s.open[d.Path]
		p := s.past[d.Path]
		switch {
		case !ok:
			fresh = append(fresh, d)
			known = &drift{found: now}
			if p != nil && now.Sub(p.tried) > inARow {
				p.row = 0
			}
		case known.problem != "" && (known.What != d.What || known.Found != d.Found):
			// What was in the way may be gone.
			known.found, known.problem = now, ""
			if p != nil {
				p.row = 0
			}
		}
		known.Drifted = d
		open[d.Path] = known
		if p != nil {
			p.seen = now
		}
	}
	s.open = open
	return fresh
}

// due returns when a path is to be put right; ok is false if it never is.
func (s *drifts) due(d *drift, now time.Time) (at time.Time, ok bool) {
	switch {
	case d.What == install.Mounted || d.What == install.Unreadable:
		return at, false
	case d.Busy:
		return now.Add(busyAgain), true
	}
	at = d.found
	if quiet := d.Changed.Add(driftSettle); quiet.After(at) {
		at = quiet
	}
	if latest := d.found.Add(driftUnrest); at.After(latest) {
		at = latest
	}
	if p := s.past[d.Path]; p != nil && p.row > 0 {
		from := d.found
		if p.tried.After(from) {
			from = p.tried
		}
		delay := s.delay(p.row)
		if d.problem != "" {
			delay = min(delay, stuckAgain) // That is no fight.
		}
		if after := from.Add(delay); after.After(at) {
			at = after
		}
	}
	return at, true
}

// delay returns how long is waited after so many attempts in a row.
func (s *drifts) delay(row int) time.Duration {
	d := s.first
	for range row - 1 {
		if d *= 2; d >= lastDelay {
			return lastDelay
		}
	}
	return d
}

// ready returns, in path order, what is to be put right now, and when to look again: never
// if nothing has drifted. What lies below a directory waits for it.
func (s *drifts) ready(now time.Time) (list []*drift, wait time.Duration) {
	wait = never
	waits := map[string]bool{}
	for _, path := range slices.SortedFunc(maps.Keys(s.open), diff.ComparePaths) {
		d := s.open[path]
		at, ok := s.due(d, now)
		if parent := diff.Parent(path); waits[parent] {
			waits[path] = true
			continue
		}
		if ok && !at.After(now) {
			list = append(list, d)
			continue
		}
		waits[path] = true
		until := at.Sub(now)
		if !ok {
			until = stuckAgain // What hides it may be gone, and no event tells that.
		}
		if wait == never || until < wait {
			wait = until
		}
	}
	return list, wait
}

// next returns when to look again, once what was ready at begin was seen to: also at what has
// become ready since.
func (s *drifts) next(begin, now time.Time) time.Duration {
	_, wait := s.ready(begin)
	if wait == never {
		return never
	}
	return max(0, wait-now.Sub(begin))
}

// tried notes an attempt to put a path right; a problem says why it failed. It reports
// whether that raises an alarm.
func (s *drifts) tried(path, problem string, now time.Time) (alarm bool) {
	p := s.past[path]
	if p == nil {
		p = &past{}
		s.past[path] = p
	}
	p.tried, p.seen = now, now
	p.row++
	if problem != "" {
		if d := s.open[path]; d != nil {
			d.problem = problem
		}
		return false
	}
	delete(s.open, path)
	p.repairs = append(slices.DeleteFunc(p.repairs, func(t time.Time) bool { return now.Sub(t) > alarmSpan }), now)
	if p.alarm || len(p.repairs) < alarmCount {
		return false
	}
	p.alarm = true
	return true
}

// calm forgets what has been quiet for long, and returns the paths whose alarm is over.
func (s *drifts) calm(now time.Time) (over []string) {
	for path, p := range s.past {
		if s.open[path] != nil || now.Sub(p.seen) <= alarmSpan {
			continue
		}
		if p.alarm {
			over = append(over, path)
		}
		delete(s.past, path)
	}
	slices.Sort(over)
	return over
}

// directories returns those in which anything has drifted.
func (s *drifts) directories() []string {
	seen := map[string]bool{}
	for path := range s.open {
		seen[diff.Parent(path)] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// lines says what there is to know, a path a line: the first of them, and how many there
// are in all. Unless nothing is repaired, what is about to be is passed over.
func (s *drifts) lines(reporting bool, now time.Time) (first []string, total int) {
	all := map[string]string{}
	for path, d := range s.open {
		_, ever := s.due(d, now)
		if !reporting && ever && d.problem == "" && now.Sub(d.found) < driftUnrest {
			continue
		}
		line := d.Why
		if d.Busy {
			line += "; it is open for writing"
		}
		if d.problem != "" {
			line += "; it cannot be put right: " + d.problem
		}
		all[path] = line
	}
	for path, p := range s.past {
		if !p.alarm {
			continue
		}
		line := fmt.Sprintf("repaired again and again, %d times within %v: another tool may be writing it", len(p.repairs), alarmSpan)
		if d, ok := all[path]; ok {
			line = d + "; " + line
		}
		all[path] = line
	}
	paths := slices.SortedFunc(maps.Keys(all), diff.ComparePaths)
	for _, path := range paths[:min(len(paths), shown)] {
		first = append(first, fmt.Sprintf("%q: %s", path, all[path]))
	}
	return first, len(paths)
}

// alarms returns how many paths are in a fight.
func (s *drifts) alarms() int {
	n := 0
	for _, p := range s.past {
		if p.alarm {
			n++
		}
	}
	return n
}
