package metrics

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// Metrics is what a daemon has counted, and what its sources and targets are at. Its
// methods may be called from several goroutines.
type Metrics struct {
	version string

	mu      sync.Mutex // guards what follows
	daemon  func() Daemon
	sources map[place]*Source
	targets map[place]*Target
}

// Daemon is what all of a daemon's sources or targets share.
type Daemon struct {
	// Calls are how many calls to etcd were made, and Failed how many of them did not
	// reach it.
	Calls, Failed uint64
	// Broken says that only one call at a time is tried, as the last have failed, and
	// Failing for how long all have.
	Broken  bool
	Failing time.Duration
	// Refused says that the configuration was read again and has faults.
	Refused bool
}

// place tells sources, and targets, from one another.
type place struct{ tenant, dir string }

// New returns metrics of a program of that version.
func New(version string) *Metrics {
	return &Metrics{
		version: version, daemon: func() Daemon { return Daemon{} },
		sources: make(map[place]*Source), targets: make(map[place]*Target),
	}
}

// Daemon has what all sources or targets share asked for where it is needed.
func (m *Metrics) Daemon(ask func() Daemon) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.daemon = ask
}

// Source returns the source of a tenant that publishes dir, which is made if it is new.
func (m *Metrics) Source(tenant, dir string) *Source {
	return made(m, m.sources, place{tenant, dir}, func() *Source { return &Source{} })
}

// Target returns the target of a tenant at dir, which is made if it is new.
func (m *Metrics) Target(tenant, dir string) *Target {
	return made(m, m.targets, place{tenant, dir}, func() *Target { return &Target{} })
}

func made[T any](m *Metrics, all map[place]*T, at place, fresh func() *T) *T {
	m.mu.Lock()
	defer m.mu.Unlock()
	if all[at] == nil {
		all[at] = fresh()
	}
	return all[at]
}

// Keep forgets the sources and targets of which stays answers false.
func (m *Metrics) Keep(stays func(tenant, dir string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.sources, func(p place, _ *Source) bool { return !stays(p.tenant, p.dir) })
	maps.DeleteFunc(m.targets, func(p place, _ *Target) bool { return !stays(p.tenant, p.dir) })
}

// Text returns all figures in Prometheus's text format.
func (m *Metrics) Text() []byte {
	now := m.snapshot()
	var p page
	for _, f := range families() {
		p.begin(f)
		f.read(now, &p)
	}
	return p.text.Bytes()
}

// snapshot is everything at one moment, sorted.
type snapshot struct {
	version string
	daemon  Daemon
	process process
	sources []sourceFigures
	targets []targetFigures
}

func (m *Metrics) snapshot() snapshot {
	m.mu.Lock()
	ask, sources, targets := m.daemon, maps.Clone(m.sources), maps.Clone(m.targets)
	m.mu.Unlock()
	s := snapshot{version: m.version, daemon: ask(), process: ownProcess()}
	for _, at := range sorted(sources) {
		s.sources = append(s.sources, sources[at].figures(at))
	}
	for _, at := range sorted(targets) {
		s.targets = append(s.targets, targets[at].figures(at))
	}
	return s
}

func sorted[T any](all map[place]T) []place {
	return slices.SortedFunc(maps.Keys(all), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.dir, b.dir))
	})
}

// labels are those of a place.
func (p place) labels(more ...label) []label {
	return append([]label{{"tenant", p.tenant}, {"dir", text(p.dir)}}, more...)
}
