package scan

import (
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

const (
	// margin is how much older than its reading a time stamp must be to be trusted.
	// The kernel stamps with the clock of its last tick, at most 10 ms behind.
	margin = 50 * time.Millisecond
	// coarseMargin is the same where stamps are whole seconds, or two as on FAT.
	coarseMargin = 2100 * time.Millisecond
)

// stamp is what tells one version of a file from another without reading it.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64 // nanoseconds
	mode         uint32
}

func stampOf(st *unix.Stat_t) stamp {
	return stamp{
		dev: st.Dev, ino: st.Ino, size: st.Size,
		mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(), mode: st.Mode,
	}
}

// racy reports whether a write after the time at could leave the stamp as it is, as
// in git's racy index: whether the stamp is not safely older than at.
func (s stamp) racy(at time.Time) bool {
	m := margin
	if s.mtime%int64(time.Second) == 0 && s.ctime%int64(time.Second) == 0 {
		m = coarseMargin
	}
	newest := s.ctime
	// An mtime in the future, beside a ctime that is not, was set by hand: a write
	// would not leave it so.
	if s.mtime > newest && s.mtime <= at.Add(m).UnixNano() {
		newest = s.mtime
	}
	return newest > at.Add(-m).UnixNano()
}

// record is the stat cache's knowledge of one file or symlink.
type record struct {
	name  string
	stamp stamp
	hash  diff.Hash
	racy  bool // read again, whatever the stamp says
}

// anyDev is the device in a stamp that another process has left: which number a file's
// has may differ from mount to mount, and on overlayfs from layer to layer.
const anyDev = 0

// still reports whether the stamp says that a file or symlink is as it was when it was read.
// Of a nil record it is not known.
func (r *record) still(st *unix.Stat_t) bool {
	if r == nil || r.racy {
		return false
	}
	now := stampOf(st)
	if r.stamp.dev == anyDev {
		now.dev = anyDev
	}
	return r.stamp == now
}

func compareRecord(r record, name string) int { return strings.Compare(r.name, name) }
