package scan

import (
	"fmt"
	"time"
)

// Reason tells why a path is held: why the tree carries what was committed there
// instead of what stands in the directory.
type Reason uint8

// The reasons.
const (
	// Writing: some process has the file open for writing.
	Writing Reason = iota + 1
	// Unsettled: the file changed just now, and whether somebody still writes it
	// cannot be asked here.
	Unsettled
	// Vanishing: it changed each time that it was read.
	Vanishing
	// Unreadable: the kernel refuses to show it.
	Unreadable
	// Unsupported: a FIFO, a socket, a device, or something unknown.
	Unsupported
	// TooLarge: a file beyond Options.MaxFileSize.
	TooLarge
	// BadPath: a path that diff.CheckPath refuses.
	BadPath
	// SymlinkRefused: a symlink, while Options.RefuseSymlinks is set.
	SymlinkRefused
	// Remounted: a directory that had entries lost its mount, or was mounted over.
	Remounted
	// Saving: a file that was just renamed to a name that is ignored, as editors do before
	// they write it anew.
	Saving
)

var reasons = [...]struct{ name, remedy string }{ //nolint:gochecknoglobals // A constant table.
	Writing:        {"open for writing", "it is published once its writer closes it"},
	Unsettled:      {"changed just now", "it is published once it stays unchanged"},
	Vanishing:      {"changing while it is read", "it is published once it stays unchanged"},
	Unreadable:     {"unreadable", "let the publisher read it, delete it, or ignore it"},
	Unsupported:    {"neither file, directory nor symlink", "delete it, or ignore it"},
	TooLarge:       {"too large", "make it smaller, raise max_file_size, or ignore it"},
	BadPath:        {"a path that no target may hold", "rename it, or ignore it"},
	SymlinkRefused: {"a symlink, which the configuration refuses", `replace it by a file, ignore it, or set symlinks = "preserve"`},
	Remounted:      {"its mount came or went", "mount it as it was; or restart the publisher, if what it shows now is meant"},
	Saving:         {"moved aside just now", "it is published once it is written anew; if it is not, it counts as deleted after 2 s"},
}

func (r Reason) known() bool { return r > 0 && int(r) < len(reasons) }

// String returns the cause as messages use it.
func (r Reason) String() string {
	if !r.known() {
		return fmt.Sprintf("reason %d", uint8(r))
	}
	return reasons[r].name
}

// Remedy returns what ends the hold.
func (r Reason) Remedy() string {
	if !r.known() {
		return ""
	}
	return reasons[r].remedy
}

// Temporary reports whether the hold is expected to end by itself, without an event
// that a watcher would see: scan again soon.
func (r Reason) Temporary() bool {
	return r == Writing || r == Unsettled || r == Vanishing || r == Saving
}

// Held is a path that stands in the tree as it was committed, or is absent as there.
type Held struct {
	Path   string
	Reason Reason
	// Err is the cause in detail, or nil where the reason says all.
	Err error
	// Since is when this scanner first held the path for this reason.
	Since time.Time
}

// obstacle is the error of one path that cannot be taken as it stands.
type obstacle struct {
	reason Reason
	err    error
}

func (o *obstacle) Error() string {
	if o.err == nil {
		return o.reason.String()
	}
	return fmt.Sprintf("%v: %v", o.reason, o.err)
}

func (o *obstacle) Unwrap() error { return o.err }
