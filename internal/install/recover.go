package install

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// Recover completes what an error or a crash interrupted, as Apply does first. It
// needs no contents, so that the target is whole even while these cannot be had.
// Without a next in the journal it does nothing. The error wraps ErrGone as Apply's.
func (t *Target) Recover() error {
	if t.journal == nil || t.journal.Pending() == nil {
		return nil
	}
	return t.ready()
}

// Interrupted reports whether an apply was not completed.
func (t *Target) Interrupted() bool { return t.journal != nil && t.journal.Pending() != nil }

// ready makes sure of the target, its journal, and what the journal says.
func (t *Target) ready() error {
	if err := t.identity(); err != nil {
		return err
	}
	if t.journal != nil {
		if err := t.journal.Mend(); err != nil {
			return t.fault("write", diff.OwnName+"/journal", err)
		}
	}
	if t.loose {
		if err := t.settleSwitch(); err != nil {
			return err
		}
	}
	return t.recover()
}

// recover completes, from what is staged, the next that a crash or an error left
// without its at. A path whose staged entry is missing or wrong is done if the disk
// has what was wanted; else it becomes suspect, and the next apply sees to it.
func (t *Target) recover() error {
	if t.journal == nil || t.journal.Pending() == nil {
		return nil
	}
	began := t.now()
	w, err := t.resume()
	if err != nil {
		return err
	}
	err = w.complete(true)
	if err != nil && !errors.Is(err, ErrChanged) && !errors.Is(err, ErrDenied) {
		return err
	}
	log := t.o.Log.With("path", t.o.Dir, "generation", w.pending.Position.Generation,
		"duration_ms", t.now().Sub(began).Milliseconds())
	if err != nil {
		log.Warn("completed an interrupted apply, but for some paths", "error", err)
		return nil
	}
	log.Info("completed an interrupted apply")
	return nil
}

// resume decides, for each path of the journal's next, what is left to be done.
func (t *Target) resume() (*work, error) {
	w := &work{t: t, pending: *t.journal.Pending(), base: t.State().Managed, leave: map[string]bool{}}
	for _, path := range w.pending.Leave {
		w.leave[path] = true
	}
	fd, err := t.openStage()
	if err != nil {
		return nil, err
	}
	defer closeFD(fd)
	c := t.cursor()
	defer c.close()
	keeps := 0
	changes := slices.Clone(w.pending.Changes)
	for _, path := range w.pending.Prune {
		changes = append(changes, diff.Change{Path: path}) // Nothing is staged for it.
	}
	for i, change := range changes {
		t.o.Beat()
		s, err := w.resumeStep(c, fd, i, change)
		if err != nil {
			return nil, t.fault("look at", change.Path, err)
		}
		if s.keep {
			keeps++
		}
		w.steps = append(w.steps, s)
	}
	if keeps > 0 {
		w.nameKept(fd)
	}
	kept, err := w.keepAll(keeps <= fsyncLimit)
	if err != nil {
		return nil, err
	}
	if kept != nil && keeps > fsyncLimit {
		kept.whole = true
	}
	if err := kept.durable(); err != nil {
		return nil, t.fault("make durable", t.sideName(), err)
	}
	return w, nil
}

func (w *work) resumeStep(c *cursor, stage, i int, change diff.Change) (step, error) {
	s := step{Change: change}
	why := ""
	dir, name, err := c.at(change.Path)
	switch {
	case absent(err):
		if !change.Deleted() {
			s.act = create
		}
	case err != nil:
		return s, err
	default:
		if s, why, err = w.decide(dir, name, change, true); err != nil {
			return s, err
		}
	}
	if s.act == nothing && why == "" && ownReadOnly(s.found) {
		s.act, s.opened = attributes, true // What is switched in it opens it up.
	}
	right := true
	if s.staged() {
		if right, err = stagedRight(stage, i, change.New); err != nil {
			return s, err
		}
	}
	if why != "" || !right {
		w.suspect = append(w.suspect, change.Path)
		s.act, s.keep = nothing, false
	}
	return s, nil
}

// stagedRight reports whether e is what is staged for step i.
func stagedRight(stage, i int, e diff.Entry) (bool, error) {
	n, err := lstat(stage, stagedName(i))
	if err != nil || n.kind != e.Kind || e.Kind == diff.File && n.mode != e.Mode {
		return false, err
	}
	if e.Kind == diff.Directory {
		return empty(stage, stagedName(i))
	}
	there, err := read(stage, stagedName(i), n, e)
	if err != nil {
		return false, err
	}
	if there.Hash.IsZero() && os.Geteuid() != 0 && n.mode&0o400 == 0 {
		// A file that its owner must not read: its size has to do.
		return there.Size == e.Size, nil
	}
	return there.SameContent(e), nil
}

func empty(dir int, name string) (bool, error) {
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return false, err
	}
	defer closeFD(fd)
	list, err := names(fd)
	return len(list) == 0, err
}
