package install

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Errors that callers branch on. They are wrapped with the path and a remedy.
var (
	// ErrLocked is returned by Open while another process has the target open.
	ErrLocked = errors.New("another agent works on this target")
	// ErrNested is returned where a target lies in another one.
	ErrNested = errors.New("a target inside another target")
	// ErrGone is returned by Apply when the target's path, or its .confsyncd, no
	// longer is the directory that was opened. Close the target and open it again.
	ErrGone = errors.New("the target was removed or replaced")
	// ErrForeignTenant is returned by Apply and Check for a plan of another tenant
	// id, under the tenant name and prefix that the journal knows.
	ErrForeignTenant = errors.New("the target belongs to another tenant of the same name")
	// ErrOlder is returned by Apply and Check for a plan whose position is older
	// than the journal's, or another commit of the same generation.
	ErrOlder = errors.New("the plan is older than what is installed")
	// ErrOtherFileSystem is returned by Apply and Check when a managed path lies on
	// a file system mounted below the target.
	ErrOtherFileSystem = errors.New("another file system is mounted in the target")
	// ErrUnswitchable is returned by Open and Apply where a target cannot be switched
	// as a whole: it is a mount point, what it lies in cannot be written, the file
	// system cannot exchange directories, or the name of its sibling is taken.
	ErrUnswitchable = errors.New("mode = \"tree\" is not possible here")
	// ErrChanged is returned by Apply when paths were changed by others while they
	// were being switched, so that they could not be. All others were, or, in tree
	// mode, none. The next Apply deals with them, even one of the same plan.
	ErrChanged = errors.New("the target was changed while it was written")
	// ErrDenied is returned by Apply when the kernel denied (EPERM) some paths at the
	// last moment. All others were switched. The next Apply deals with them, even one of
	// the same plan.
	ErrDenied = errors.New("all but some paths were switched")
)

// errNotDurable marks an error of fsync or syncfs while staging.
var errNotDurable = errors.New("not made durable")

// maxConflictPaths is how many paths a Conflict lists.
const maxConflictPaths = 100

// Conflict is the error of an apply that was refused as a whole because of what
// stands in its way. Nothing was written.
type Conflict struct {
	// Paths are the first of the paths, in path order.
	Paths []ConflictPath
	// Total is how many there are in all.
	Total int
	// Replaceable is how many of them Options.ReplaceExisting would replace.
	Replaceable int
	// FirstContact says that the target was met for the first time, or with another
	// selection.
	FirstContact bool
}

// ConflictPath is one path that is in the way.
type ConflictPath struct {
	Path string // in the target
	Why  string // what stands there
}

// Error lists the first paths.
func (c *Conflict) Error() string {
	var b strings.Builder
	b.WriteString("nothing was written: ")
	if c.FirstContact {
		b.WriteString("at first contact ")
	}
	if c.Total == 1 {
		b.WriteString("one path is in the way")
	} else {
		fmt.Fprintf(&b, "%d paths are in the way", c.Total)
	}
	const shown = 5
	for i, p := range c.Paths {
		if i == shown {
			fmt.Fprintf(&b, "; and %d more", c.Total-shown)
			break
		}
		fmt.Fprintf(&b, "; %q: %s", p.Path, p.Why)
	}
	return b.String()
}

func (c *Conflict) add(path, why string) {
	c.Total++
	if len(c.Paths) < maxConflictPaths {
		c.Paths = append(c.Paths, ConflictPath{Path: path, Why: why})
	}
}

// fault names the path of an error, and a remedy where one is known.
func (t *Target) fault(op, path string, err error) error {
	full := t.full(path)
	if errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("%s %q: %w; unmount it, or leave it out of the selection", op, full, ErrOtherFileSystem)
	}
	return remedied(fmt.Errorf("%s %q: %w", op, full, err))
}

// remedied adds the remedy to an error that names its path, where one is known.
func remedied(err error) error {
	if r := remedy(err); r != "" {
		return fmt.Errorf("%w; %s", err, r)
	}
	return err
}

// full returns the path of what lies in the target, or, after "../", beside it.
func (t *Target) full(path string) string {
	if beside, ok := strings.CutPrefix(path, "../"); ok {
		return filepath.Join(filepath.Dir(t.path), beside)
	}
	return filepath.Join(t.o.Dir, path)
}

func remedy(err error) string {
	switch {
	case errors.Is(err, unix.EACCES):
		return "give the user that runs the agent write access to the directory, or run it as root"
	case errors.Is(err, unix.EPERM):
		return "look for chattr +i, a sticky directory or an owner that only root may set"
	case errors.Is(err, unix.EROFS):
		return "the file system is read-only: mount it writable, or list it in the unit's ReadWritePaths="
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "make room: bytes, inodes and quota"
	case errors.Is(err, unix.EBUSY):
		return "something is mounted there: unmount it"
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return "a directory has to be there: move away what stands in its place"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return "let the agent open more files: LimitNOFILE= of the unit, ulimit -n, or the sysctl fs.file-max"
	case errors.Is(err, unix.EIO):
		return "look at the disk and the kernel's log"
	}
	return ""
}
