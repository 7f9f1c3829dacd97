package install

import (
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
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
// need not read them again: the stat cache of a target. It lives in memory alone.
type stamps map[string]stamp

// stamp is a file or symlink as it stood when its content was known.
type stamp struct {
	node node
	hash diff.Hash
}

// note remembers that n, which stands at path, was seen at the given time and holds the
// content of that hash. What could still change without a trace is not remembered.
func (s stamps) note(path string, n node, hash diff.Hash, seen time.Time) {
	if racy(n, seen) {
		delete(s, path)
		return
	}
	s[path] = stamp{n, hash}
}

// hash returns the content that n, which stands at path, is known to hold.
func (s stamps) hash(path string, n node) (diff.Hash, bool) {
	known, ok := s[path]
	return known.hash, ok && known.node.same(n)
}

// relink notes that a link to the file at path was made or removed, which changed its
// ctime: it was n, and is now.
//
// RACE: who writes as many bytes and sets the mtime back between the two looks
// (microseconds) goes unnoticed until all contents are read again.
func (s stamps) relink(path string, n, now node) {
	if known, ok := s.hash(path, n); ok && now.renamed(n) {
		s[path] = stamp{now, known}
	}
}

// keep forgets what is not managed any more.
func (s stamps) keep(managed diff.Tree) {
	for path := range s {
		if e, ok := managed.Get(path); !ok || !e.HasContent() {
			delete(s, path)
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
	if racy(staged, t.now()) {
		delete(t.stamps, s.Path)
		return
	}
	n, err := lstat(dir, name)
	if err != nil || !n.renamed(staged) {
		delete(t.stamps, s.Path)
		return
	}
	t.stamps[s.Path] = stamp{n, s.New.Hash}
}
