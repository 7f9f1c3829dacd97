//go:build faults

package faults

import (
	"maps"
	"slices"
	"sync"
	"testing"
	"time"
)

// Result is what was seen of a case in one mode.
type Result struct {
	Group, Name, How, Mode string
	Began                  time.Time
	Took                   time.Duration
	Skipped                string // why it was not tried
	Failed                 bool
	// Converged is how long after the fault healed all was equal.
	Converged time.Duration

	mu     sync.Mutex      // guards what follows
	Counts map[string]int  // how often what was done: kills, cuts, bad inputs …
	Checks map[string]bool // letters of what was checked; false: found wrong
	Notes  []string
}

// count adds to how often something was done.
func (r *Result) count(what string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Counts[what] += n
}

// checked notes that something was checked, and whether it was right.
func (r *Result) checked(letter string, right bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Checks == nil {
		r.Checks = make(map[string]bool)
	}
	was, ok := r.Checks[letter]
	r.Checks[letter] = right && (was || !ok)
}

// letters lists what was checked.
func (r *Result) letters() (all string) {
	for _, l := range slices.Sorted(maps.Keys(r.Checks)) {
		all += l
	}
	return all
}

// Results are those of all cases.
type Results struct {
	mu  sync.Mutex // guards what follows
	all []*Result
}

// add takes a case's result once it has ended.
func (rs *Results) add(t *testing.T, r *Result) {
	r.Took, r.Failed = time.Since(r.Began), t.Failed()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if !t.Skipped() || r.Skipped != "" {
		rs.all = append(rs.all, r)
	}
}
