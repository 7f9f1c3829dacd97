//go:build bench

package bench

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// Figure is a subject of measurement.
type Figure struct {
	Name string // "edit": make bench RUN=edit
	// How tells, for who reads docs/benchmarks.md, how it is measured.
	How string
	// Profile tells where the time goes, and what less would take. It is shown while one of
	// the figure's targets does not hold.
	Profile string
	Measure func(m *Meter)
	// Beside is in Measure's place if it takes as long as all others: it begins before
	// them, and what it returns is called when they have ended.
	Beside func(m *Meter) (end func())
}

// figures is the whole table, in the order of the document.
func figures() []Figure {
	return slices.Concat(
		[]Figure{
			editFigure(),
			burstFigure(),
			pullFigure(),
			pushFigure(),
			startFigure(),
			agentFigure(),
			publisherFigure(),
			trafficFigure(),
			storedFigure(),
			agentsFigure(),
			loadFigure(),
			reportsFigure(),
			newcomersFigure(),
			bystanderFigure(),
			historyFigure(),
			switchFigure(),
			rollbackFigure(),
			peersFigure(),
			idleFigure(),
		},
		growthFigures(),
	)
}

// Meter is what a figure measures with. Its methods may be called by one goroutine only.
type Meter struct {
	*testing.T
	// Dir is on a disk, and empty. It goes when all is measured: where ext4 has no journal,
	// files are made slowly for some minutes after as many were removed.
	Dir    string
	result *Result
}

// Etcd starts an etcd, alone in a process of its own, as an operator would: it syncs. It
// ends with the figure.
func (m *Meter) Etcd(flags ...string) *lab.Etcd {
	m.Helper()
	dir, err := os.MkdirTemp(m.Dir, "etcd-")
	m.Must(err)
	c := lab.NewCluster(m.T, dir, lab.ClusterOptions{Program: *etcdFlag, Flags: flags})
	m.Must(c.Start())
	return c.Members[0]
}

// Lab returns a lab around an etcd, to make hosts of.
func (m *Meter) Lab(e *lab.Etcd) *lab.Lab {
	m.Helper()
	l := lab.New(m.T, program, e)
	dir, err := os.MkdirTemp(m.Dir, "lab-")
	m.Must(err)
	l.Dir = dir // What hosts hold stays as long as Dir.
	return l
}

// Must ends the figure if there is an error.
func (m *Meter) Must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

// Timed is how long something took, in milliseconds. It ends the figure if it fails.
func (m *Meter) Timed(what func() error) float64 {
	m.Helper()
	begin := time.Now()
	err := what()
	took := time.Since(begin)
	m.Must(err)
	return ms(took)
}

// ms is a duration in milliseconds.
func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Side is one of several that are compared.
type Side struct {
	Name string
	Once func() float64
}

// Interleave measures all sides in turn, round by round, each time another one first, and
// returns what was measured of each.
func Interleave(rounds int, sides ...Side) []Sample {
	got := make([]Sample, len(sides))
	for round := range rounds {
		for i := range sides {
			i = (i + round) % len(sides)
			got[i] = append(got[i], sides[i].Once())
		}
	}
	return got
}

// TestFigures measures one figure after another: nothing else runs meanwhile, but for
// those beside.
func TestFigures(t *testing.T) {
	only, err := regexp.Compile("^(" + *onlyFlag + ")")
	if err != nil {
		t.Fatal(err)
	}
	var chosen []Figure
	for _, f := range figures() {
		if only.MatchString(f.Name) {
			chosen = append(chosen, f)
		}
	}
	for _, f := range chosen {
		if f.Beside != nil {
			m := f.meter(t)
			defer m.finish()
			defer f.Beside(m)()
		}
	}
	for _, f := range chosen {
		if f.Measure != nil {
			t.Run(f.Name, func(t *testing.T) {
				m := f.meter(t)
				defer m.finish()
				f.Measure(m)
			})
		}
	}
}

func (f Figure) meter(t *testing.T) *Meter {
	dir, err := os.MkdirTemp(filepath.Dir(trees.dir), f.Name+"-")
	if err != nil {
		t.Fatal(err)
	}
	return &Meter{T: t, Dir: dir, result: &Result{Figure: f.Name, Commit: *commitFlag, Began: time.Now()}}
}

// finish keeps what was measured.
func (m *Meter) finish() {
	r := m.result
	r.Took, r.Failed, r.Skipped = time.Since(r.Began), m.Failed(), m.Skipped()
	if err := r.keep(); err != nil {
		m.Error(err)
	}
}
