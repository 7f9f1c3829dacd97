// Package watcher says that something below a directory changed and has
// settled, never what: events are hints, the consumer's scan is the truth.
//
// It promises that the watches stand before the first signal, that no change
// made while they stand is left without a later signal, and that nothing the
// file system does ends Run. Where there is any doubt (a directory was created,
// renamed or removed, the kernel's queue overflowed, the root was replaced) it
// makes all watches anew and then asks for a scan of everything, so that
// whatever happened while no watch stood lies before that scan.
//
// What cannot be watched is polled: directories for which no watches are left, and
// file systems that others change without this kernel seeing it (NFS, SMB, FUSE …).
// They are signalled every second, or less often where looking at them is dear.
//
// Caveats. Not reported by inotify, hence left to the consumer's periodic scan:
// writes through mmap, writes through a hard link outside the directory, mounts
// made or undone below the root. A poll waits for no quiet: that is the consumer's
// too. Closing a file that was open for writing raises no event here: fsnotify 1.10.1 has
// IN_CLOSE_WRITE but does not export it. A directory that a bind mount shows at
// two paths below the root is reported at one of them only.
package watcher

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"
)

// Options says what to watch and when to signal.
type Options struct {
	// Dir is the absolute path of the root. A symlink here is followed, and
	// noticed when it comes to point elsewhere; symlinks below are not followed.
	Dir string
	// Settle is the quiet time before a signal. With 0 the signal comes with the first
	// event, which takes what was read besides along.
	Settle time.Duration
	// MaxDelay bounds the wait for quiet, counted from the first event. Below
	// Settle it counts as Settle. With Settle 0 it has no meaning.
	MaxDelay time.Duration
	// Ignore is asked about slash-separated paths below Dir, never about Dir
	// itself, by one goroutine at a time. Ignored directories are not watched,
	// ignored paths raise no signal. Nil ignores nothing.
	Ignore func(path string, dir bool) bool
	Log    hclog.Logger
}

// Dirty is what a scan has to look at.
type Dirty struct {
	// All asks for a scan of everything; Dirs and Paths are nil then.
	All bool
	// Dirs are the directories in which something changed, slash-separated
	// below the root, sorted; "" is the root. One that ends with a slash stands for
	// all below it too. One may be gone by now.
	Dirs []string
	// Paths are those at which something changed that was no directory, sorted, in
	// directories that Dirs does not name. Who does not tell apart what is in a directory
	// takes the directories that they lie in.
	Paths []string
	// Poll says that something is to be looked at only because no event would tell of
	// it: see Watcher.Polled.
	Poll bool
}

// Directories returns Dirs, and the directories that Paths lie in, sorted.
func (d Dirty) Directories() []string {
	all := slices.Clone(d.Dirs)
	for _, p := range d.Paths {
		all = append(all, parent(p))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Watcher signals changes below one directory.
type Watcher struct {
	o       Options
	changed chan struct{}      // capacity 1, filled and emptied under mu, never closed
	renewal chan struct{}      // capacity 1, never closed
	costs   chan time.Duration // of polls, told by the consumer; capacity 1, never closed

	mu       sync.Mutex
	settled  dirtySet // guarded by mu
	degraded error    // guarded by mu
	health   Health   // guarded by mu

	opened func(*fsnotify.Watcher) // tests: told of every fsnotify watcher before it is used
	fsType func(*os.File) uint32   // of the file system of a directory; tests replace it
}

// New returns a watcher for o.Dir. It starts and opens nothing: see Run.
func New(o Options) *Watcher {
	o.Dir = filepath.Clean(o.Dir)
	if o.Ignore == nil {
		o.Ignore = func(string, bool) bool { return false }
	}
	return &Watcher{
		o: o, changed: make(chan struct{}, 1), renewal: make(chan struct{}, 1), costs: make(chan time.Duration, 1), fsType: fsType,
	}
}

// Renew has Run make all watches anew and signal a scan of everything, at once: for a
// root that was replaced, or when Ignore has come to answer otherwise.
func (w *Watcher) Renew() {
	select {
	case w.renewal <- struct{}{}:
	default:
	}
}

// Changed holds a token while something settled waits for Take. It is never
// closed.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Take returns what has settled since the last Take, and clears it together
// with its token. What has not settled yet stays, and is signalled when it has.
func (w *Watcher) Take() Dirty {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.changed:
	default:
	}
	d := w.settled.dirty()
	w.settled = dirtySet{}
	return d
}

// Polled tells what it cost to look at a Dirty with Poll. The next poll waits until
// this is known, and then so long that polls take at most a twentieth of the time.
func (w *Watcher) Polled(took time.Duration) {
	select {
	case w.costs <- took:
	default:
	}
}

// Degraded returns nil when every readable directory is watched, and before
// Run. Otherwise the error says why not and what remedies it: the root is missing;
// or something is polled, because watches ran out (wraps unix.ENOSPC for watches,
// unix.EMFILE for inotify instances) or others may change the file system.
// Unreadable directories below the root are not counted: the scan meets and reports
// them.
func (w *Watcher) Degraded() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.degraded
}

// Health is how much is watched.
type Health struct {
	Directories int    // that are watched
	Overflows   uint64 // how often events were lost, and so everything was signalled
	Polled      bool   // something is polled
}

// Health returns how much is watched. All is zero before Run.
func (w *Watcher) Health() Health {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.health
}

// overflowed counts that events were lost.
func (w *Watcher) overflowed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.health.Overflows++
}

// signal makes s available to Take.
func (w *Watcher) signal(s dirtySet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settled.merge(s)
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// set keeps what Degraded and Health return.
func (w *Watcher) set(directories int, s state, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.degraded = err
	w.health.Directories, w.health.Polled = directories, s == polled
}
