//go:build faults

package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// Result is what was seen of a case in one mode.
type Result struct {
	Group, Name, How, Mode string
	Commit                 string // of the program, as -commit names it
	Seed                   uint64
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

// trial names what was tried.
func (r *Result) trial() string { return r.Group + "/" + r.Name + "/" + r.Mode }

// Results are those of all cases. Where there is a file they are appended to it, a line of
// JSON each, so that what is tried again replaces what was seen before.
type Results struct {
	file string // "": none

	mu  sync.Mutex // guards what follows
	all []*Result
}

// add takes a case's result once it has ended.
func (rs *Results) add(t *testing.T, r *Result) {
	r.Took, r.Failed, r.Commit, r.Seed = time.Since(r.Began), t.Failed(), *commitFlag, theSeed()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if t.Skipped() && r.Skipped == "" {
		return
	}
	rs.all = append(rs.all, r)
	if rs.file == "" {
		return
	}
	if err := rs.keep(r); err != nil {
		t.Error(err)
	}
}

// keep appends a result to the file.
func (rs *Results) keep(r *Result) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(rs.file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// newest returns the newest result of each trial, those of earlier runs included.
func (rs *Results) newest() ([]*Result, error) {
	if rs.file == "" {
		return rs.all, nil
	}
	b, err := os.ReadFile(rs.file)
	if err != nil {
		return nil, err
	}
	byTrial := make(map[string]*Result)
	for line := range bytes.Lines(b) {
		r := new(Result)
		if err := json.Unmarshal(line, r); err != nil {
			return nil, err
		}
		byTrial[r.trial()] = r
	}
	return slices.Collect(maps.Values(byTrial)), nil
}
