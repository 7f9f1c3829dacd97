package metrics

import (
	"maps"
	"sync"
	"time"
)

// Watch is how a directory, and the tenant in etcd, are watched.
type Watch struct {
	Directories int    // that inotify watches
	Overflows   uint64 // how often events were lost, so that everything was looked at
	Polled      bool   // something is polled, since no event would tell of it
	// Begun is how often the head was read and watched from there: 1, and one more for
	// each connection that was lost.
	Begun uint64
}

// Paths are how many paths something was done to.
type Paths struct{ Created, Changed, Deleted int }

// SourceStatus is what a source is at.
type SourceStatus struct {
	State      string // as package report has it; empty before the first look
	Generation uint64 // the newest that is known
	Held       int    // paths that are held back
	Failures   uint64 // attempts to publish that failed, and are made again
	Space      Space  // of etcd, as the last sweep found it
	Watch      Watch
}

// Space is how much of its quota etcd has used, in bytes.
type Space struct {
	Quota int64 // 0 if it is not known
	Used  int64 // of the quota, by the file
	InUse int64 // of the file
}

// Source is one directory that is published.
type Source struct {
	mu  sync.Mutex // guards what follows
	all sourceFigures
}

// sourceFigures are what is known of a source.
type sourceFigures struct {
	place
	SourceStatus
	commits durations
	bytes   int64
	paths   [3]uint64 // created, changed, deleted
	sweeps  uint64
	swept   [3]int64 // records, packs, bytes
}

// Status notes what the source is at.
func (s *Source) Status(now SourceStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.SourceStatus = now
}

// Committed counts a commit: how long it took from the beginning of the scan, and the
// bytes of the new contents.
func (s *Source) Committed(took time.Duration, bytes int64, paths Paths) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.commits.observe(took)
	s.all.bytes += bytes
	count(&s.all.paths, paths)
}

// Swept counts a sweep, and what it removed from etcd.
func (s *Source) Swept(records, packs int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.sweeps++
	for i, n := range []int64{int64(records), int64(packs), bytes} {
		s.all.swept[i] += n
	}
}

func (s *Source) figures(at place) sourceFigures {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.all
	all.place = at
	return all
}

// TargetStatus is what a target is at.
type TargetStatus struct {
	State            string // as package report has it; empty before the first look
	Generation, Head uint64 // of the target, and the newest that is known
	// Behind is since when there has been a newer generation than the target's; zero if
	// there is none.
	Behind time.Time
	// Reloaded is the newest generation that passed reload and health, or needed none, and
	// Quarantined the one that a hook refused; 0 is none.
	Reloaded, Quarantined uint64
	Drift                 int    // paths that are not as they were published
	Failures              uint64 // attempts to apply that failed, and are made again
	Watch                 Watch
}

// Target is one directory that is kept equal to a tenant's tree.
type Target struct {
	mu  sync.Mutex // guards what follows
	all targetFigures
}

// targetFigures are what is known of a target.
type targetFigures struct {
	place
	TargetStatus
	applies, visible durations
	bytes            int64
	paths            [3]uint64 // created, changed, deleted
	repaired         uint64
	hooks            map[outcome]uint64 // runs
}

// outcome is how a hook ended.
type outcome struct {
	hook string
	ok   bool
}

// Status notes what the target is at.
func (t *Target) Status(now TargetStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all.TargetStatus = now
}

// Applied counts an apply: how long it took from the news of the head, and the bytes that
// were written. Committed is when the oldest of its generations was, by the publisher's
// clock; if it is zero, nothing is known of that.
func (t *Target) Applied(took time.Duration, committed time.Time, bytes int64, paths Paths) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all.applies.observe(took)
	if !committed.IsZero() {
		t.all.visible.observe(now.Sub(committed))
	}
	t.all.bytes += bytes
	count(&t.all.paths, paths)
}

// Repaired counts paths that others had changed and that were put right.
func (t *Target) Repaired(paths int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all.repaired += uint64(paths)
}

// Hooked counts a run of a hook: "check", "reload" or "health".
func (t *Target) Hooked(hook string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all.hooks == nil {
		t.all.hooks = make(map[outcome]uint64)
	}
	t.all.hooks[outcome{hook, ok}]++
}

func (t *Target) figures(at place) targetFigures {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.all
	all.hooks = maps.Clone(all.hooks)
	all.place = at
	return all
}

func count(all *[3]uint64, more Paths) {
	for i, n := range []int{more.Created, more.Changed, more.Deleted} {
		all[i] += uint64(n)
	}
}
