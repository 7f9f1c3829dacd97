package scan

import (
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/recall"
)

// Stamps returns what this scanner knows of a tree's files besides what the tree says, for
// the Recall of another process; nil if that is nothing. Files that the directory holds
// otherwise, and those whose stamps are racy, have to be read by that one too.
func (s *Scanner) Stamps(of diff.Tree) []byte {
	if s.root == nil || s.root.stale || s.complete.IsZero() {
		return nil
	}
	b := recall.Encode(recall.Root(s.rootID()), s.complete, of, s.stamps)
	if b != nil {
		s.learned = false
	}
	return b
}

// Learned reports whether anything was read since the last call of Stamps or Recall: whether
// the next process would have to read it too.
func (s *Scanner) Learned() bool { return s.learned }

// stamps returns what tells what is known of the entries of the directory at path, which it
// is asked for in the order of names.
func (s *Scanner) stamps(path string) func(diff.Child) recall.Stamp {
	var files []record
	if known := s.knownAt(path); known != nil && !known.stale {
		files = known.files
	}
	return func(c diff.Child) recall.Stamp {
		for len(files) > 0 && files[0].name < c.Name {
			files = files[1:]
		}
		if len(files) == 0 || !files[0].is(c) {
			return recall.Stamp{}
		}
		st := files[0].stamp
		return recall.Stamp{Ino: st.ino, Mtime: st.mtime, Ctime: st.ctime, Mode: st.mode}
	}
}

// knownAt returns what is known of the directory at path; nil if that is nothing.
func (s *Scanner) knownAt(path string) *directory {
	d := s.root
	if path == "" {
		return d
	}
	for name := range strings.SplitSeq(path, "/") {
		if d = d.subs[name]; d == nil {
			return nil
		}
	}
	return d
}

// is reports whether a record vouches for an entry of a tree.
func (r *record) is(c diff.Child) bool {
	return r.name == c.Name && !r.racy && r.hash == c.Entry.Hash && r.stamp.size == c.Entry.Size &&
		(r.stamp.mode&unix.S_IFMT == unix.S_IFLNK) == (c.Entry.Kind == diff.Symlink)
}

// Recall has the first scan take those files of a tree as read that have the stamps which
// another process's Stamps returned for that tree, and reports whether it does. They are of
// no use if that process, or the one that it recalled, began to read all files before since;
// nor once the machine was booted anew: a power cut may take back what was written to a
// file, and leave its stamp.
func (s *Scanner) Recall(of diff.Tree, stamps []byte, since time.Time) bool {
	known, ok := recall.Decode(stamps, of, s.now())
	if !ok || known.Complete.Before(since) {
		return false
	}
	s.recalled, s.complete, s.learned = known, known.Complete, false
	return true
}

// Complete returns when the last reading of all files began, by this process or one before it
// (see Recall). What has other stamps since was read since; what else may have changed, only
// the next reading tells. It is zero before the first scan where nothing is recalled.
func (s *Scanner) Complete() time.Time { return s.complete }

// recalledIn returns what is recalled of the files of the directory at path, if the root is
// still the same.
func (s *Scanner) recalledIn(path string) []record {
	if s.recalled == nil || s.recalled.Root != recall.Root(s.rootID()) {
		return nil
	}
	files := make([]record, 0, s.recalled.Len(path))
	for c, st := range s.recalled.In(path) {
		files = append(files, record{
			name: c.Name, hash: c.Entry.Hash,
			stamp: stamp{dev: anyDev, ino: st.Ino, size: c.Entry.Size, mtime: st.Mtime, ctime: st.Ctime, mode: st.Mode},
		})
	}
	return files
}

// Verified notes that all files were read since then, and hold what is known of them, but for
// those that the caller distrusts before the next scan.
func (s *Scanner) Verified(since time.Time) { s.complete, s.learned = since, true }
