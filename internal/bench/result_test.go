//go:build bench

package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Row is one line of the document: something of ours, held against a target.
type Row struct {
	What   string // what was measured
	Target string // what it should be, in words; "" if there is no target
	Unit   string // of all numbers
	Value  float64
	Spread string // of the value, as Sample.spread tells it
	// Floor is what it is beside, if there is such a thing, and FloorIs says what that is.
	Floor   float64
	FloorIs string
	// Bound is the most that Value may be for the target to hold; 0 if there is no target.
	Bound float64
	Note  string // what has to be known besides
}

// Held reports whether the target holds.
func (r Row) Held() bool { return r.Value <= r.Bound }

// Of makes a row of a sample's median.
func (s Sample) row(r Row) Row {
	r.Value, r.Spread = s.Median(), s.spread()
	return r
}

// Point is a point of a line in a plot.
type Point struct {
	Plot, Line string
	X, Y       float64
}

// Result is what a figure measured.
type Result struct {
	Figure  string
	Commit  string // of the program, as -commit names it
	Began   time.Time
	Took    time.Duration
	Skipped bool // Notes say why
	Failed  bool
	Rows    []Row
	Points  []Point
	Notes   []string
}

// Row adds a row, and prints it.
func (m *Meter) Row(r Row) {
	m.Helper()
	m.result.Rows = append(m.result.Rows, r)
	held := ""
	if r.Bound > 0 {
		held = fmt.Sprintf(", at most %s: %v", figure(r.Bound), map[bool]string{true: "held", false: "NOT HELD"}[r.Held()])
	}
	m.Logf("%s: %s %s (%s), floor %s%s %s", r.What, figure(r.Value), r.Unit, r.Spread, figure(r.Floor), held, r.Note)
}

// Point adds a point to a plot.
func (m *Meter) Point(plot, line string, x, y float64) {
	m.result.Points = append(m.result.Points, Point{plot, line, x, y})
}

// Distribution draws a sample as the percentage of values that are not above x.
func (m *Meter) Distribution(plot, line string, s Sample) {
	for p := 1.0; p <= 100; p++ {
		m.Point(plot, line, s.Percentile(p), p)
	}
}

// Note adds a remark to what the figure shows.
func (m *Meter) Note(format string, args ...any) {
	m.Helper()
	m.result.Notes = append(m.result.Notes, fmt.Sprintf(format, args...))
	m.Logf(format, args...)
}

// LeaveOut ends the figure: it cannot be measured here.
func (m *Meter) LeaveOut(format string, args ...any) {
	m.Helper()
	m.Note(format, args...)
	m.SkipNow()
}

// keep appends a result to the file of results.
func (r *Result) keep() error {
	line, err := json.Marshal(r)
	if err != nil || *resultsFlag == "" {
		return err
	}
	f, err := os.OpenFile(*resultsFlag, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// newest returns the newest result of each figure, by name.
func newest() (map[string]*Result, error) {
	found := make(map[string]*Result)
	b, err := os.ReadFile(*resultsFlag)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range bytes.Lines(b) {
		r := new(Result)
		if err := json.Unmarshal(line, r); err != nil {
			return nil, err
		}
		found[r.Figure] = r
	}
	return found, nil
}
