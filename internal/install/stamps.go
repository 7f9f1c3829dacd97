package install

import (
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/recall"
)

// raceWindow is how much older than the look at it a file's times must be to be
// trusted: kernels before 6.13 stamp with the clock of the last tick, at most 10 ms
// ago, so a write right after the look may leave no trace in them.
const raceWindow = 20 * time.Millisecond

// coarseWindow is the same where times are whole seconds, as on an ext4 with inodes of 128
// bytes.
const coarseWindow = 1100 * time.Millisecond

// racy reports whether n, as it was seen at the given time, may change without a trace in
// its times.
func racy(n node, seen time.Time) bool {
	window := raceWindow
	if n.mtime.Nsec == 0 && n.ctime.Nsec == 0 {
		window = coarseWindow
	}
	return seen.UnixNano()-max(n.mtime.Nano(), n.ctime.Nano()) < int64(window)
}

// stamps remembers which files were read, and what they held, so that a later look
// need not read them again: the stat cache of a target.
type stamps struct {
	known map[string]stamp // by path; what this process has seen
	// recalled is what a process before this one has seen, on the file system dev; nil if
	// that is nothing.
	recalled *recall.Known
	dev      uint64
	// complete is when the last reading of all contents began, by this process or one
	// before it.
	complete time.Time
	learned  bool      // the next process would have to read what this one has
	left     diff.Hash // the digest of the tree of which stamps were left to the next process
}

// stamp is a file or symlink as it stood when its content was known.
type stamp struct {
	node node
	hash diff.Hash
}

// note remembers that n, which stands at path, was seen at the given time and holds the
// content of that hash. What could still change without a trace is not remembered.
func (s *stamps) note(path string, n node, hash diff.Hash, seen time.Time) {
	if racy(n, seen) {
		delete(s.known, path)
		return
	}
	if is := (stamp{n, hash}); s.known[path] != is {
		s.known[path], s.learned = is, true
	}
}

// hash returns the content that n, which stands at path and is seen at the given time, is
// known to hold.
func (s *stamps) hash(path string, n node, seen time.Time) (diff.Hash, bool) {
	if known, ok := s.known[path]; ok {
		return known.hash, known.node.same(n)
	}
	if s.recalled == nil || n.dev != s.dev || racy(n, seen) {
		return diff.Hash{}, false
	}
	e, was, ok := s.recalled.Get(path)
	return e.Hash, ok && was == recallable(n) && e.Kind == n.kind && e.Size == n.size
}

// doubt has the content at path read at every look until it can be.
func (s *stamps) doubt(path string) { s.known[path], s.learned = stamp{}, true }

// relink notes that a link to the file at path was made or removed, which changed its
// ctime: it was n, and is now.
//
// RACE: who writes as many bytes and sets the mtime back between the two looks
// (microseconds) goes unnoticed until all contents are read again.
func (s *stamps) relink(path string, n, now node, seen time.Time) {
	if known, ok := s.hash(path, n, seen); ok && now.renamed(n) {
		s.known[path], s.learned = stamp{now, known}, true
	}
}

// keep forgets what is not managed any more.
func (s *stamps) keep(managed diff.Tree) {
	for path := range s.known {
		if e, ok := managed.Get(path); !ok || !e.HasContent() {
			delete(s.known, path)
		}
	}
}

// noteWritten remembers what has just been put at name in dir, so that the events of an
// apply cost a look each and no reading. Only the rename changed its ctime, so that a
// write since then would show in the mtime, provided that the staged file is older than
// the race window.
//
// RACE: somebody who, within milliseconds of the rename, writes as many bytes and sets
// the mtime back goes unnoticed until the next deep look.
func (t *Target) noteWritten(dir int, name string, s *step, staged node) {
	if !s.New.HasContent() {
		return
	}
	n, err := lstat(dir, name)
	if err != nil || racy(staged, t.now()) || !n.renamed(staged) {
		delete(t.stamps.known, s.Path)
		return
	}
	t.stamps.known[s.Path], t.stamps.learned = stamp{n, s.New.Hash}, true
}
