package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// The control files by which an operator stops a target. See also acceptName.
const (
	pauseName = "pause"
	pinName   = "pin"
	retryName = "retry"
)

// Hold is an operator's word that a target stays as it is.
type Hold struct {
	By     string    `json:"by"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason,omitempty"`
	// Generation is the one that the target is pinned at; 0 if it is paused.
	Generation uint64 `json:"generation,omitempty"`
}

// String says who holds the target, since when and why.
func (h Hold) String() string {
	s := fmt.Sprintf("paused by %s at %s", h.By, h.Time.Format(time.RFC3339))
	if h.Generation > 0 {
		s = fmt.Sprintf("pinned at generation %d by %s at %s", h.Generation, h.By, h.Time.Format(time.RFC3339))
	}
	if h.Reason != "" {
		s += fmt.Sprintf(" (%s)", h.Reason)
	}
	return s
}

// Holds are what an operator holds a target by; nil is nothing.
type Holds struct {
	Pause, Pin *Hold
	// Retry says that what was refused is to be tried again.
	Retry *Hold
}

// Pause makes the agent of the target at dir, now running or later, neither apply nor
// repair anything until Resume. It needs no lock. The error wraps journal.ErrNone if
// there is no journal.
func Pause(dir string, h Hold) error {
	h.Generation = 0
	return hold(dir, pauseName, h)
}

// Retry makes the agent of the target at dir, now running or later, try again what a hook
// has refused. It needs no lock. The error wraps journal.ErrNone if there is no journal.
func Retry(dir string, h Hold) error {
	h.Generation = 0
	return hold(dir, retryName, h)
}

// Resume takes back Pause and a pin, and returns what there was. The error wraps
// journal.ErrNone if there is no journal.
func Resume(dir string) (Holds, error) {
	if err := installed(dir); err != nil {
		return Holds{}, err
	}
	held, _ := ReadHolds(dir) // One that cannot be read goes all the same.
	root, err := openRealRoot(ControlDir(dir))
	if err != nil {
		return held, fmt.Errorf("resume: %w", err)
	}
	for _, name := range []string{pauseName, pinName} {
		if removed := root.Remove(name); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("resume: %w", removed))
		}
	}
	return held, errors.Join(err, root.Close())
}

// ReadHolds returns what the target at dir is held by. It needs no lock; no target has
// no holds.
func ReadHolds(dir string) (h Holds, err error) {
	if h.Pause, err = readHold(dir, pauseName); err != nil {
		return h, err
	}
	if h.Pin, err = readHold(dir, pinName); err != nil {
		return h, err
	}
	h.Retry, err = readHold(dir, retryName)
	return h, err
}

func readHold(dir, name string) (*Hold, error) {
	path := filepath.Join(ControlDir(dir), name)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return heldBy(dir, path, b, err)
}

// heldBy returns the hold that a control file of the target at dir holds.
func heldBy(dir, path string, b []byte, err error) (*Hold, error) {
	if err != nil {
		return nil, remedied(fmt.Errorf("read the control file: %w", err))
	}
	h, err := decodeHold(b)
	if err != nil && filepath.Base(path) == retryName {
		return &Hold{By: "somebody"}, nil // That it is there says all.
	}
	if err != nil {
		return nil, fmt.Errorf("read the control file %q: %w; \"confsyncd resume %s\" removes it", path, err, dir)
	}
	return &h, nil
}

func decodeHold(b []byte) (h Hold, err error) {
	err = json.Unmarshal(b, &h)
	return h, err
}

func hold(dir, name string, h Hold) error {
	if err := installed(dir); err != nil {
		return err
	}
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return writeControl(dir, name, append(b, '\n'))
}

// installed makes sure that a target is at dir.
func installed(dir string) error {
	if _, _, err := ReadState(dir); err != nil && !errors.Is(err, journal.ErrDamaged) {
		return err
	}
	return nil
}

func writeControl(dir, name string, b []byte) error {
	root, err := openRealRoot(ControlDir(dir))
	if err == nil {
		err = errors.Join(writeDurably(root, name, b), root.Close())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Holds returns what the target is held by. The error wraps ErrGone as Apply's.
func (t *Target) Holds() (h Holds, err error) {
	if t.side == nil { // There may be one that was left from before.
		h, err = ReadHolds(t.o.Dir)
	} else if err = is(t.o.Dir, t.dir); err == nil {
		h, err = t.holds()
	}
	if err != nil {
		if gone := t.identity(); gone != nil {
			err = gone
		}
	}
	return h, err
}

// unheldFor is how long what Unheld goes by is trusted.
const unheldFor = 5 * time.Second

// unheld is the directory of the control files as it stood when there was none of them, and
// when that was; the zero unheld is not known.
type unheld struct {
	side node
	seen time.Time
}

// Unheld reports whether nothing can have come to hold the target since Holds found that
// nothing did: the directory of the control files stands at its path with the times that it
// had. An agent asks all the time, and this takes one system call. False says nothing.
//
// RACE: where a file system does not note in a directory's times what comes to it, a pause
// is found up to unheldFor later.
func (t *Target) Unheld() bool {
	if t.unheld.side.kind == diff.None || t.now().Sub(t.unheld.seen) > unheldFor {
		return false
	}
	now, err := lstat(unix.AT_FDCWD, filepath.Join(t.o.Dir, diff.OwnName))
	return err == nil && now == t.unheld.side
}

// holds reads the control files where an operator writes them now, which is elsewhere if
// somebody has moved the directory that was opened away. What stands in its place counts
// if it is this user's, as for Open.
func (t *Target) holds() (h Holds, err error) {
	t.unheld = unheld{}
	side, seen := int(t.side.Fd()), t.now()
	was, err := lstat(side, ".")
	if err != nil {
		return h, t.fault("look at", t.sideName(), err)
	}
	in, name := int(t.dir.Fd()), diff.OwnName
	if t.beside() {
		in, name = int(t.parent.Fd()), filepath.Base(siblingPath(t.path))
	}
	now, err := lstat(in, name)
	switch {
	case err != nil:
		return h, t.fault("look at", t.sideName(), err)
	case now.same(was):
	case now.kind != diff.Directory, now.uid != os.Geteuid():
		return h, nil
	default:
		if side, err = openat(in, name, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
			return h, t.fault("open", t.sideName(), err)
		}
		defer closeFD(side)
	}
	if h.Pause, err = t.readHold(side, pauseName); err == nil {
		h.Pin, err = t.readHold(side, pinName)
	}
	if err == nil {
		h.Retry, err = t.readHold(side, retryName)
	}
	// In tree mode the target itself may be another one while the sibling is the same.
	if err == nil && h == (Holds{}) && !t.beside() && now.same(was) && !racy(was, seen) {
		t.unheld = unheld{was, seen}
	}
	return h, err
}

// readHold is the function of that name, by descriptor: an agent asks for it all the time.
func (t *Target) readHold(side int, name string) (*Hold, error) {
	fd, err := openat(side, name, unix.O_RDONLY, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	path := filepath.Join(t.path, t.sideName(), name)
	if err != nil {
		return heldBy(t.o.Dir, path, nil, &fs.PathError{Op: "open", Path: path, Err: err})
	}
	f := os.NewFile(uintptr(fd), path)
	b, err := io.ReadAll(f)
	return heldBy(t.o.Dir, path, b, errors.Join(err, f.Close()))
}

// Pin makes every agent stay at a generation until Resume; nil takes an earlier pin
// back. Before first contact it makes the journal, which is at no position then.
func (t *Target) Pin(h *Hold) error {
	if h != nil {
		if err := t.makeOwn(t.State().Meta); err != nil {
			return err
		}
		return hold(t.o.Dir, pinName, *h)
	}
	if err := t.removeControl(pinName); err != nil {
		return fmt.Errorf("take the pin back: %w", err)
	}
	return nil
}

// removeControl removes a control file where there is one.
func (t *Target) removeControl(name string) error {
	if t.side == nil {
		return nil
	}
	err := unix.Unlinkat(int(t.side.Fd()), name, 0)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "remove", Path: filepath.Join(t.path, t.sideName(), name), Err: err}
	}
	return nil
}
