package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// Options say what a target is.
type Options struct {
	// Dir is the target's absolute path. It may lead through symlinks.
	Dir string
	// Mode says what switches at once.
	Mode Mode
	// UID and GID own what is written; -1 leaves it to who runs the agent.
	UID, GID int
	// ReplaceExisting replaces what differs where a path is new to the journal, and
	// keeps it. Without it such an apply is refused.
	ReplaceExisting bool
	// Try says how what is applied is tried out; the zero Trying does not.
	Try Trying
	// Beat is called, if it is set, before each path is looked at, staged or switched:
	// a large apply takes long.
	Beat func()
	// Log must not be nil.
	Log hclog.Logger
}

// Contents provides the contents that an apply needs.
type Contents interface {
	// Fetch calls put once for each distinct wanted content, in any order, from one
	// goroutine. Content is of use during the call only; a symlink's is its target.
	// have returns the content of that hash if the target holds it, else nil: what
	// patches apply to. It returns put's error. An apply may call it twice.
	Fetch(ctx context.Context, want []diff.Entry, have func(diff.Hash) []byte, put func(e diff.Entry, content []byte) error) error
}

// Plan is what a target is to become.
type Plan struct {
	Position diff.Position
	// Want is the tree by path in the target. Setuid and setgid bits in it are
	// ignored.
	Want diff.Tree
	// All is the whole tenant's tree, which the journal remembers.
	All diff.Tree
	// KeepDrift leaves what differs from the journal, and does not change with the
	// plan, as it is, also where the whole tree is switched.
	KeepDrift bool
	// Meta says whose tree it is. Another Tenant, Prefix or Selection than the
	// journal's make a new first contact. UID and GID are taken from the Options.
	Meta journal.Meta
	// Again are managed paths that are put right although they do not change. What
	// cannot be is passed over: see Result.Blocked.
	Again []string
	// Back allows an older position of the same tenant id than the journal's, which is
	// refused otherwise.
	Back bool
}

// Result is what an apply did.
type Result struct {
	Created, Changed, Deleted int
	// Adopted were there already at first contact, if need be with another mode or
	// owner.
	Adopted int
	// Corrected had only to be given their mode, owner or content again.
	Corrected int
	// Kept are the files that were put aside before they were overwritten or
	// deleted.
	Kept int
	// Bytes is the size of what was written.
	Bytes int64
	// Switched says that the target is another directory now, of the same path.
	Switched bool
	// Left are the paths that changes of the selection have left behind.
	Left []string
	// Blocked are those of Plan.Again that could not be put right.
	Blocked []ConflictPath
	// Unmanaged are the paths that ceased to be managed, yet stay: directories that
	// hold what is not managed, or what others put in a file's place.
	Unmanaged []string
}

// Target is an open, locked target. It is for one goroutine at a time.
type Target struct {
	o       Options
	path    string   // the target's, without symlinks
	parent  *os.File // O_PATH, what the target lies in
	dir     *os.File // the target itself, locked
	dev     uint64
	own     *os.File // .confsyncd; nil before the first apply
	ownRoot *os.Root // the same
	journal *journal.Journal
	// side is where the stage, kept files and control files lie: .confsyncd, or in
	// tree mode the sibling; nil before the first apply.
	side     *os.File
	sideRoot *os.Root // the same
	stamps   stamps
	next     *build     // under way
	olds     []*oldTree // oldest first
	loose    bool       // the last switch is yet to be made durable
	swept    bool       // the stage is empty, as this process left it
	unheld   unheld
	proof    Proof
	// reverting says that the apply in hand takes a trial back.
	reverting bool
	peeked    *journal.State // of a target that is open for reading alone

	now   func() time.Time
	walks bool         // do not use openat2
	crash func(string) // called at the crash points that tests want to know
}

// Open opens a target: it makes the directory if only its last component is
// missing, locks it, completes what a crash interrupted, and sweeps.
//
// The error wraps ErrLocked, ErrNested, ErrGone, or journal.ErrNewer. A damaged
// journal is set aside, and the target is as before first contact.
func Open(o Options) (*Target, error) {
	t, err := newTarget(o)
	if err != nil {
		return nil, err
	}
	if err := t.load(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// newTarget makes the directory where it is missing, and locks it.
func newTarget(o Options) (*Target, error) {
	if !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("open the target: %q is no absolute path", o.Dir)
	}
	o.Dir = filepath.Clean(o.Dir)
	if err := makeDir(o); err != nil {
		return nil, err
	}
	if err := nested(o.Dir); err != nil {
		return nil, err
	}
	dir, err := lock(o.Dir)
	if err != nil {
		return nil, err
	}
	t := openedAt(o, dir)
	if err := t.locate(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func openedAt(o Options, dir *os.File) *Target {
	if o.Beat == nil {
		o.Beat = func() {}
	}
	return &Target{o: o, dir: dir, stamps: stamps{known: map[string]stamp{}, complete: time.Now()}, now: time.Now, crash: func(string) {}}
}

// load reads what an earlier process left in .confsyncd.
func (t *Target) load() error {
	if err := t.device(); err != nil {
		return err
	}
	if err := t.openOwn(); err != nil || t.own == nil {
		return err
	}
	if err := t.openSide(); err != nil {
		return err
	}
	j, err := journal.Open(t.ownRoot)
	switch {
	case errors.Is(err, journal.ErrNone):
	case errors.Is(err, journal.ErrDamaged):
		name, aside := journal.SetAside(t.ownRoot)
		if aside != nil {
			return errors.Join(err, aside)
		}
		t.o.Log.Warn("the journal is damaged and was set aside: the target is met as if for the first time",
			"path", filepath.Join(t.o.Dir, diff.OwnName, name), "error", err)
	case err != nil:
		return remedied(fmt.Errorf("open the target %q: %w", t.o.Dir, err))
	default:
		t.journal = j
	}
	t.recall()
	if err := t.recover(); err != nil {
		return err
	}
	if err := t.convert(); err != nil {
		return err
	}
	if err := errors.Join(t.loadProof(), t.dropCandidate()); err != nil {
		return err
	}
	t.sweep(nil, true)
	t.Tidy(tidyAtOpen)
	return nil
}

// device notes the file system that the target lies on.
func (t *Target) device() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(t.dir.Fd()), &st); err != nil {
		return fmt.Errorf("open the target: %w", err)
	}
	t.dev = st.Dev
	return nil
}

// openReading opens a target without its lock and without its journal, for looking
// alone.
func openReading(o Options) (*Target, error) {
	dir, err := os.OpenFile(o.Dir, unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the target: %w", err)
	}
	t := openedAt(o, dir)
	if err := t.device(); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return t, nil
}

// State returns what the target is at. A zero Position says that first contact is
// still to come.
func (t *Target) State() journal.State {
	if t.peeked != nil {
		return *t.peeked
	}
	if t.journal == nil {
		return journal.State{Meta: journal.Meta{UID: -1, GID: -1}}
	}
	return t.journal.State()
}

// Apply makes the target what the plan says. If it is that already, it writes
// nothing.
//
// The error wraps ErrGone, ErrForeignTenant, ErrOlder, ErrNested,
// ErrOtherFileSystem or is a *Conflict: nothing was written then. With ErrChanged
// or ErrDenied all but a few paths were. After any other error, say ENOSPC, the paths are each
// old or new, and the next Apply or Open completes them first; Apply may be called
// again. Once the journal knows what the target becomes, ctx is not heeded.
func (t *Target) Apply(ctx context.Context, p Plan, c Contents) (Result, error) {
	if t.peeked != nil {
		return Result{}, errors.New("the target is open for reading alone")
	}
	if err := t.ready(); err != nil {
		return Result{}, err
	}
	var w *work
	var err error
	for range maxRaces {
		if w, err = t.apply(ctx, p, c); !errors.Is(err, errRaced) {
			return w.result, err
		}
	}
	return Result{}, fmt.Errorf("%w, so nothing was: %w", ErrChanged, err)
}

// apply is one attempt. The error wraps errRaced if others changed a target that was
// to be switched as a whole: then nothing was written, and it is worth another one.
func (t *Target) apply(ctx context.Context, p Plan, c Contents) (*work, error) {
	w, err := t.plan(p)
	if err != nil {
		return &work{}, err
	}
	switch {
	case w.conflict.Total > 0:
		return &work{}, &w.conflict
	case w.idle:
	case !w.acts():
		err = w.advance()
	case w.exchange:
		err = w.switchTree(ctx, c)
	default:
		err = w.run(ctx, c)
	}
	w.result.Left = t.State().Left
	return w, err
}

// Close unlocks the target, and leaves what is known of it to who opens it next.
func (t *Target) Close() error {
	t.Remember()
	var errs []error
	if t.journal != nil {
		errs = append(errs, t.journal.Close())
	}
	if t.side != nil && t.side != t.own {
		errs = append(errs, t.sideRoot.Close(), t.side.Close())
	}
	if t.own != nil {
		errs = append(errs, t.ownRoot.Close(), t.own.Close())
	}
	if t.next != nil {
		errs = append(errs, t.next.close())
	}
	if t.parent != nil {
		errs = append(errs, t.parent.Close())
	}
	// A hook of another target may be just starting: until it is executed it has a copy of the
	// descriptor, which would hold the lock (fork(2), flock(2)).
	errs = append(errs, unix.Flock(int(t.dir.Fd()), unix.LOCK_UN))
	return errors.Join(append(errs, t.dir.Close())...)
}

// ReadState returns what the journal of the target at dir says, without a lock and
// without changing anything. Pending is nil unless an apply is under way or was
// interrupted. The error wraps journal.ErrNone, ErrDamaged or ErrNewer.
func ReadState(dir string) (journal.State, *journal.Pending, error) {
	path := filepath.Join(dir, diff.OwnName)
	own, err := openRealRoot(path)
	if errors.Is(err, os.ErrNotExist) {
		return journal.State{}, nil, fmt.Errorf("%w: %q", journal.ErrNone, path)
	}
	if err != nil {
		return journal.State{}, nil, fmt.Errorf("read the state: %w", err)
	}
	s, p, err := journal.Read(own)
	if err != nil {
		return journal.State{}, nil, errors.Join(fmt.Errorf("read the state of %q: %w", dir, err), own.Close())
	}
	return s, p, own.Close()
}
