package scan

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/recall"
)

var (
	// ErrRootMissing is returned if the root does not exist or is no directory.
	ErrRootMissing = errors.New("directory is missing")
	// ErrChanged is returned if what is to be read is no longer what it was.
	ErrChanged = errors.New("changed meanwhile")
)

// Options say what a Scanner scans, and what it leaves out.
type Options struct {
	// Dir is the absolute path of the root.
	Dir string
	// Ignore holds patterns of what is no part of the tree: see NewRules.
	Ignore []string
	// BusyFiles are paths below the root that are never part of the tree: see Busy.
	BusyFiles []string
	// GitModes carries modes as git does: files are 0755 if their owner may execute
	// them and 0644 otherwise, directories 0755, whatever the umask was. False carries
	// them as found.
	GitModes bool
	// RefuseSymlinks holds symlinks instead of carrying them.
	RefuseSymlinks bool
	// MaxFileSize is the largest size in bytes of a file that is carried; 0 is no
	// limit.
	MaxFileSize int64
	// Beat is called, if it is set, before each file that is read and each few dozen names,
	// since a first scan takes long; also by several goroutines at once.
	Beat func()
	// Log is required.
	Log hclog.Logger
	// Now is the clock; nil is time.Now. Several goroutines may ask it at once.
	Now func() time.Time
}

// RootID identifies the root directory for as long as it is mounted.
type RootID struct{ Dev, Ino uint64 }

// Result is what a scan found.
type Result struct {
	// Tree is the directory as it is to be published: each held path stands in it as
	// it was committed, with all below it, or is absent as there.
	Tree diff.Tree
	// Held is sorted by path, in the order of diff.ComparePaths.
	Held []Held
	// Root is the directory that was scanned.
	Root RootID
	// Read and ReadBytes count what had to be read and hashed.
	Read      int
	ReadBytes int64
}

// Scanner scans one directory, and remembers what it found in memory. It is for one
// goroutine.
type Scanner struct {
	options Options
	rules   *Rules
	now     func() time.Time

	root  *directory // what is known; nil before the first scan
	held  []Held     // of the last scan, sorted by path
	doubt bool       // the next scan looks at everything

	recalled *recall.Known // what another process knew; nil after the first scan
	complete time.Time     // when a reading of all files began; zero before the first scan
	learned  bool          // something was read that Stamps has not told

	unsettled map[string]sighting // by path, of files held as Unsettled
	leaseless bool                // it was said that some files cannot be leased

	fresh fresh

	own  *tools // of the caller's goroutine
	crew crew
}

// New returns a scanner. It does not touch the directory, which may be missing.
func New(o Options) (*Scanner, error) {
	if !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("scan %q: not an absolute path", o.Dir)
	}
	rules, err := NewRules(o.Ignore, o.BusyFiles)
	if err != nil {
		return nil, fmt.Errorf("scan %q: %w", o.Dir, err)
	}
	s := &Scanner{options: o, rules: rules, now: o.Now, doubt: true, own: newTools(), crew: newCrew()}
	if s.now == nil {
		s.now = time.Now
	}
	if s.options.Beat == nil {
		s.options.Beat = func() {}
	}
	return s, nil
}

// Rules returns what is no part of the tree.
func (s *Scanner) Rules() *Rules { return s.rules }

// Scan brings the tree up to date. dirs are the directories, "" the root, in which
// something changed since the last call; one with a trailing slash stands for all
// below it too, and nil for everything. Directories that are new or replaced are
// scanned whole, and directories with held paths are always looked at again. The first
// scan, the one after an error, and one that finds another root look at everything,
// whatever dirs says.
//
// paths are those at which something changed in directories that dirs does not name. They
// are looked at by themselves if each is a file or symlink that is there still, or gone
// again: what becomes of one name does not need a look at all others beside it.
//
// committed is what held paths keep. Scan returns an error that wraps ErrRootMissing
// if the root is missing, also if it vanished during the scan, ErrChanged if it was
// replaced again and again during it, and ctx's error between two files.
func (s *Scanner) Scan(ctx context.Context, committed diff.Tree, dirs []string, paths ...string) (*Result, error) {
	start := s.now()
	for range attempts {
		res, err := s.scan(ctx, committed, dirs, paths)
		s.doubt = err != nil
		if err == nil {
			s.options.Log.Debug("scanned", "path", s.options.Dir, "read", res.Read, "bytes", res.ReadBytes,
				"held", len(res.Held), "duration_ms", s.now().Sub(start).Milliseconds())
			return res, nil
		}
		if !errors.Is(err, errMoved) {
			return nil, fmt.Errorf("scan %q: %w", s.options.Dir, err)
		}
	}
	return nil, fmt.Errorf("scan %q: %w: the directory itself is being replaced", s.options.Dir, ErrChanged)
}

// scan is one attempt. It returns errMoved if the root was replaced during it.
func (s *Scanner) scan(ctx context.Context, committed diff.Tree, dirs, paths []string) (*Result, error) {
	s.Forget()
	fd, id, err := s.openRoot()
	if err != nil {
		return nil, err
	}
	defer shut(fd)
	if s.root == nil || s.rootID() != id {
		s.root = &directory{dev: id.Dev, ino: id.Ino, stale: true}
	}
	if s.complete.IsZero() {
		s.complete = s.now() // Nothing is known, so all is read.
	}
	w := &walk{Scanner: s, tools: s.own, ctx: ctx, settling: make(map[string]sighting)}
	top, _ := committed.Dir("")
	if err := w.visit(here{fd: fd, mount: mountOf(fd, id.Dev), known: s.root, committed: top}, s.dirtied(dirs, paths)); err != nil {
		return nil, err
	}
	// A tree that was moved or unmounted under our eyes looks like one deletion after
	// another.
	if now, err := s.statRoot(); err != nil {
		return nil, err
	} else if now != id {
		return nil, errMoved
	}
	return s.finish(w), nil
}

// finish remembers what the walk found out.
func (s *Scanner) finish(w *walk) *Result {
	slices.SortFunc(w.found, func(a, b Held) int { return diff.ComparePaths(a.Path, b.Path) })
	s.held, s.unsettled, s.recalled = w.found, w.settling, nil
	s.learned = s.learned || w.read > 0
	if w.unleased && !s.leaseless {
		s.leaseless = true
		s.options.Log.Warn("whether files are open for writing cannot be asked: they are published once they have stayed "+
			"unchanged for a moment; on a local file system CAP_LEASE mends that", "path", s.options.Dir)
	}
	return &Result{
		Tree: diff.NewTree(s.root.tree), Held: slices.Clone(w.found), Root: s.rootID(),
		Read: w.read, ReadBytes: w.readBytes,
	}
}

// holding returns how the last scan held a path.
func (s *Scanner) holding(path string) (Held, bool) {
	i, ok := slices.BinarySearchFunc(s.held, path, func(h Held, p string) int { return diff.ComparePaths(h.Path, p) })
	if !ok {
		return Held{}, false
	}
	return s.held[i], true
}
