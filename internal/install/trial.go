package install

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// previousName is the directory, beside the stage, of the contents that a trial has taken
// away, each named by its hash.
const previousName = "previous"

// Trying says how applies and repairs are tried out.
type Trying struct {
	// Check, if it is set, is given all that the target is to hold, before anything goes
	// live: a directory of its own, in which it may do what it likes. Its error is that of
	// Apply, and nothing was changed. It is not called for repairs, nor where no path
	// changes. to is what the target is to become, from what its files are of.
	Check func(ctx context.Context, candidate string, to diff.Position, from Version, changed []string) error
	// Trial makes each apply that changes a path, and each repair, a trial.
	Trial bool
	// Undo keeps what Revert needs.
	Undo bool
}

// tryOut has a plan that was staged checked, and begins its trial: the last that happens
// before something goes live. next is the tree that was built, nil where each path is
// switched by itself.
func (w *work) tryOut(ctx context.Context, next *build) error {
	try := w.t.o.Try
	if w.t.reverting {
		return nil
	}
	if try.Check != nil && w.moving() > 0 {
		if err := w.check(ctx, next); err != nil {
			return err
		}
	}
	if !try.Trial || !slices.ContainsFunc(w.steps, step.shows) {
		return w.carryTrial()
	}
	return w.beginTrial(try.Undo)
}

// carryTrial has a trial in hand go on where nothing that others see changes, and what is
// managed does: else it would count as one that was never begun.
func (w *work) carryTrial() error {
	t := w.t
	on := t.OnTrial()
	if on == nil || on.Reverting || on.Failed || t.reverting {
		return nil
	}
	after, err := t.State().Become(w.pending)
	if err != nil {
		return t.fault("write", diff.OwnName+"/journal", err)
	}
	before, next := t.State().Managed.Digest(), after.Managed.Digest()
	if before == next {
		return nil
	}
	trial := *on
	trial.Digests = []string{before.String(), next.String()}
	p := t.proof
	p.Trial = &trial
	return t.setProof(p)
}

// shows reports whether others see something of the step.
func (s step) shows() bool { return s.acts() && !s.opened }

// changed returns the paths that others will see changed, in path order.
func (w *work) changed() []string {
	var paths []string
	for _, s := range w.steps {
		if s.shows() {
			paths = append(paths, s.Path)
		}
	}
	return paths
}

// beginTrial notes durably, before the first path is switched, what is changed and what
// leads back. A trial in hand goes on as a part of this one.
func (w *work) beginTrial(undo bool) error {
	t := w.t
	before := t.State().Managed
	after, err := t.State().Become(w.pending)
	if err != nil {
		return t.fault("write", diff.OwnName+"/journal", err)
	}
	trial := Trial{From: t.Content(), Final: !undo || w.first}
	known := map[string]Undo{}
	if on := t.OnTrial(); on != nil && !on.Reverting {
		trial.From, trial.Final, trial.Changed = on.From, trial.Final || on.Final, slices.Clone(on.Changed)
		trial.Digests = append(trial.Digests, before.Digest().String())
		for _, u := range on.Undo {
			known[string(u.Path)] = u
		}
	} else if err := t.dropPrevious(); err != nil {
		return err
	}
	trial.Digests = append(trial.Digests, after.Managed.Digest().String())
	for _, path := range w.changed() {
		trial.Changed = append(trial.Changed, Path(path))
	}
	trial.Changed = sortedPaths(trial.Changed)
	if !trial.Final {
		if err := w.keepPrevious(known); err != nil {
			return err
		}
		for _, u := range known {
			trial.Undo = append(trial.Undo, u)
		}
		slices.SortFunc(trial.Undo, func(a, b Undo) int { return diff.ComparePaths(string(a.Path), string(b.Path)) })
	}
	t.crash("before-trial")
	p := t.proof
	p.Trial = &trial
	err = t.setProof(p)
	t.crash("after-trial")
	return err
}

func sortedPaths(list []Path) []Path {
	slices.SortFunc(list, func(a, b Path) int { return diff.ComparePaths(string(a), string(b)) })
	return slices.CompactFunc(list, func(a, b Path) bool { return bytes.Equal(a, b) })
}

// keepPrevious adds to known what leads back from each path that changes, and keeps the
// contents, durably. What stood where nothing was managed is none of ours to bring back.
func (w *work) keepPrevious(known map[string]Undo) error {
	t := w.t
	dir, err := t.openSub(int(t.side.Fd()), previousName, t.sideName()+"/"+previousName)
	if err != nil {
		return err
	}
	defer closeFD(dir)
	c := t.cursor()
	defer c.close()
	written := 0
	for _, s := range w.steps {
		if _, ok := known[s.Path]; ok || s.Old == s.New || s.pruned() || s.Old.Kind == diff.None && s.found.kind != diff.None {
			continue
		}
		known[s.Path] = undoOf(s.Path, s.Old)
		if !s.Old.HasContent() || s.found.kind != s.Old.Kind {
			continue
		}
		t.o.Beat()
		b, err := contentAt(c, s)
		if err != nil || diff.Sum(b) != s.Old.Hash {
			continue // Somebody else's; etcd has ours.
		}
		written++
		if err := writePrevious(dir, s.Old.Hash, b, written <= fsyncLimit); err != nil {
			return t.fault("keep", s.Path, err)
		}
	}
	err = fsync(dir)
	if written > fsyncLimit {
		err = syncfs(dir)
	}
	if err = errors.Join(err, fsync(int(t.side.Fd()))); err != nil {
		return t.fault("make durable", t.sideName()+"/"+previousName, err)
	}
	return nil
}

// contentAt returns what the file or symlink of a step holds.
func contentAt(c *cursor, s step) ([]byte, error) {
	dir, name, err := c.at(s.Path)
	if err != nil {
		return nil, err
	}
	if s.found.kind == diff.Symlink {
		return readLink(dir, name)
	}
	var b bytes.Buffer
	_, err = readFile(dir, name, s.found, &b)
	return b.Bytes(), err
}

func writePrevious(dir int, hash diff.Hash, b []byte, sync bool) error {
	fd, err := openat(dir, hash.String(), unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = writeAll(fd, b)
	if err == nil && sync {
		err = fsync(fd)
	}
	return errors.Join(err, unix.Close(fd))
}

// dropPrevious removes the contents that a trial has kept.
func (t *Target) dropPrevious() error {
	if err := t.sideRoot.RemoveAll(previousName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t.fault("remove", t.sideName()+"/"+previousName, err)
	}
	return nil
}

// Revert puts back what stood before the trial that is to be reverted, see Refuse, without a
// change of position: generations never fall. The trial itself goes on, since whoever uses
// the files is yet to be told; see Reverted. Contents come from what was kept, and else from c.
// Errors are those of Apply.
func (t *Target) Revert(ctx context.Context, c Contents) (Result, error) {
	if err := t.ready(); err != nil {
		return Result{}, err
	}
	trial := t.proof.Trial
	if trial == nil || !trial.Reverting {
		return Result{}, errors.New("no trial is to be reverted")
	}
	s := t.State()
	if t.Reverted() {
		return Result{}, nil
	}
	want, err := trial.undone(s.Managed)
	if err != nil {
		return Result{}, fmt.Errorf("revert %q: %w", t.o.Dir, err)
	}
	p := t.proof
	p.Reverted = &Content{trial.From, want.Digest().String(), VersionOf(s.Position)}
	if err := t.setProof(p); err != nil {
		return Result{}, err
	}
	t.crash("before-revert")
	t.reverting = true
	defer func() { t.reverting = false }()
	return t.Apply(ctx, Plan{Position: s.Position, Want: want, All: s.All, Meta: s.Meta}, previous{t, c})
}

// Reverted reports whether the trial that was to be reverted is.
func (t *Target) Reverted() bool {
	p := t.proof
	return p.Trial != nil && p.Trial.Reverting && p.Reverted.holds(t.State()) && !t.Interrupted()
}

// undone returns the tree that the trial has led away from.
func (t *Trial) undone(managed diff.Tree) (diff.Tree, error) {
	var changes []diff.Change
	for _, u := range t.Undo {
		old, err := u.entry()
		if err != nil {
			return managed, err
		}
		now, _ := managed.Get(string(u.Path))
		if now != old {
			changes = append(changes, diff.Change{Path: string(u.Path), New: old})
		}
	}
	return managed.With(changes)
}

// previous provides the contents that a trial has kept, and others from elsewhere.
type previous struct {
	t      *Target
	others Contents
}

// Fetch is that of Contents.
func (p previous) Fetch(ctx context.Context, want []diff.Entry, have func(diff.Hash) []byte, put func(diff.Entry, []byte) error) error {
	var missing []diff.Entry
	for _, e := range want {
		b, err := p.t.sideRoot.ReadFile(previousName + "/" + e.Hash.String())
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err != nil || diff.Sum(b) != e.Hash {
			missing = append(missing, e)
			continue
		}
		if err := put(e, b); err != nil {
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return p.others.Fetch(ctx, missing, have, put)
}

func parseHash(s string) (h diff.Hash, err error) {
	b, err := hex.DecodeString(s)
	if err == nil && len(b) != len(h) {
		err = fmt.Errorf("a hash of %d bytes", len(b))
	}
	return diff.Hash(append(b, make([]byte, len(h))...)[:len(h)]), err
}
