package install

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// switchTree takes a plan through the phases of tree mode. Until the exchange nothing
// that others see changes, and a crash leaves the old tree with its journal; after it,
// the new tree with the new one.
func (w *work) switchTree(ctx context.Context, c Contents) error {
	t := w.t
	if err := t.makeOwn(w.pending.Meta); err != nil {
		return err
	}
	t.crash("before-build")
	b, err := w.build(ctx, c)
	t.crash("after-stage")
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = w.tryOut(ctx, b)
	}
	if err == nil {
		err = b.asSurveyed()
	}
	if err == nil {
		err = b.lock()
	}
	if err == nil {
		t.crash("before-exchange")
		err = b.exchange()
	}
	if err != nil {
		w.unkeep()
		if b != nil {
			err = errors.Join(err, b.discard())
		}
		return err
	}
	t.crash("after-exchange")
	return b.settle()
}

// asSurveyed returns an error that wraps errRaced unless the target is what the new tree
// was built from. Of the files that both trees share this says only that they are still
// there: what others write into one of them, meanwhile or later, comes to both trees, and
// the look through the old one finds it.
//
// RACE: between this and the exchange (milliseconds), what others create or change comes
// to the old tree alone, and what they delete stays. The look through the old tree finds
// what was created or changed, and keeps it.
func (b *build) asSurveyed() error {
	quiet, err := b.quiet()
	if quiet || err != nil {
		return err
	}
	return b.asSurveyedAll()
}

// quiet reports whether nothing was made, removed or renamed in any directory since the
// survey, by the directories' times, and no path was changed that is not shared.
func (b *build) quiet() (bool, error) {
	w := b.w
	if w.survey.recent {
		return false, nil
	}
	now, err := lstat(int(w.t.dir.Fd()), ".")
	if err != nil {
		return false, w.t.fault("look at", "", err)
	}
	if now != w.survey.root {
		return false, nil
	}
	var paths []string
	for path, n := range w.survey.found {
		if n.kind == diff.Directory || w.survey.carry[path] {
			paths = append(paths, path)
		}
	}
	for _, st := range w.steps {
		if st.found.kind != diff.None {
			paths = append(paths, st.Path)
		}
	}
	paths = append(paths, b.copied...)
	slices.SortFunc(paths, diff.ComparePaths)
	c := w.t.cursor()
	defer c.close()
	for _, path := range paths {
		dir, name, err := c.at(path)
		if absent(err) {
			return false, nil
		}
		if err != nil {
			return false, w.t.fault("look at", path, err)
		}
		now, err := lstat(dir, name)
		if err != nil {
			return false, w.t.fault("look at", path, err)
		}
		if now != w.survey.found[path] {
			return false, nil
		}
	}
	return true, nil
}

// asSurveyedAll is asSurveyed by every path.
func (b *build) asSurveyedAll() error {
	w := b.w
	var seen atomic.Int64
	all := &walker{visit: func(_ int, path string, n node) (bool, error) {
		seen.Add(1)
		if was, ok := w.survey.found[path]; !ok || !n.same(was) || n.mode != was.mode || n.uid != was.uid || n.gid != was.gid {
			return false, fmt.Errorf("%q: %w", path, errRaced)
		}
		return true, nil
	}}
	err := all.walkWide(int(w.t.dir.Fd()))
	switch {
	case errors.Is(err, errRaced):
		return err
	case err != nil:
		return w.t.fault("look at", "", err)
	case int(seen.Load()) != len(w.survey.found):
		return fmt.Errorf("%d paths vanished: %w", len(w.survey.found)-int(seen.Load()), errRaced)
	}
	return nil
}

// lock locks the new tree, so that there is none to be had for another agent.
func (b *build) lock() error {
	err := uninterrupted(func() error { return unix.Flock(int(b.root.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		return b.w.t.fault("lock", b.w.t.sideName()+"/"+nextName, err)
	}
	return nil
}

// exchange puts the new tree in the target's place.
//
// RACE: between the look at the target's place and the exchange (microseconds), another
// directory can be put there. It is exchanged back then.
func (b *build) exchange() error {
	t := b.w.t
	parent, side, name := int(t.parent.Fd()), int(t.side.Fd()), filepath.Base(t.path)
	here, err := lstat(int(t.dir.Fd()), ".")
	if err != nil {
		return t.fault("look at", "", err)
	}
	there, err := lstat(parent, name)
	if err != nil {
		return t.fault("look at", "", err)
	}
	if !there.same(here) {
		return fmt.Errorf("%w: %q is another directory now", ErrGone, t.path)
	}
	swap := func() error {
		return uninterrupted(func() error { return unix.Renameat2(parent, name, side, nextName, unix.RENAME_EXCHANGE) })
	}
	err = swap()
	switch {
	case errors.Is(err, unix.EXDEV) && !mounted(parent, name):
		return unswitchable(`%q comes from a lower directory of an overlayfs, which cannot exchange it (%w); make it anew, or use mode = "files"`, t.path, err)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EXDEV):
		return unswitchable("%q is a mount point (%w); use a directory inside of it", t.path, err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return unswitchable(`the file system of %q cannot exchange directories (%w); use mode = "files"`, t.path, err)
	case err != nil:
		return t.fault("exchange", "", err)
	}
	out, err := lstat(side, nextName)
	if err == nil && !out.same(here) {
		err = errors.Join(fmt.Errorf("%w: %q is another directory now", ErrGone, t.path), swap())
	}
	return err
}

// settle makes the target what was put in its place, and looks after the old tree.
func (b *build) settle() error {
	w, t := b.w, b.w.t
	old := &oldTree{managed: t.State().Managed, spared: map[string]node{}, journal: true, dir: t.dir}
	for _, st := range w.steps {
		if st.keep {
			old.spared[st.Path] = st.found
		}
	}
	for path := range w.survey.carry {
		old.spared[path] = w.survey.found[path]
	}
	err := b.install()
	t.loose = true
	if err == nil {
		err = t.settleSwitch()
	}
	if err != nil {
		_ = old.dir.Close() // It was only read.
		return err
	}
	t.crash("after-sync")
	w.tally()
	w.result.Switched = true
	err = t.retire(old)
	t.crash("after-retire")
	if err == nil {
		err = w.lookBack(old)
	}
	_ = old.dir.Close()
	old.dir = nil
	w.result.Kept = w.kept.count()
	t.swept = false
	t.sweep(w.kept, false)
	if err != nil {
		return err
	}
	if len(w.suspect) > 0 {
		return fmt.Errorf("%w: %d paths, such as %q; the next apply sees to them", ErrChanged, len(w.suspect), w.suspect[0])
	}
	return nil
}

// install takes the new tree's descriptors for those of the target.
func (b *build) install() error {
	t := b.w.t
	errs := []error{t.journal.Close(), t.ownRoot.Close(), t.own.Close()}
	t.dir, t.own, t.ownRoot, t.journal, t.next = b.root, b.own, b.ownRoot, b.journal, nil
	b.from.close()
	b.to.close()
	if err := errors.Join(errs...); err != nil {
		t.o.Log.Warn("close the old tree", "path", t.o.Dir, "error", err)
	}
	return nil
}

// settleSwitch makes the last switch durable.
func (t *Target) settleSwitch() error {
	if err := errors.Join(t.syncParent(), fsync(int(t.side.Fd()))); err != nil {
		return t.fault("make durable", "", err)
	}
	t.loose = false
	return t.notFresh()
}

// notFresh notes that the target's tree was switched. Until then, and in a tree that
// never was, the mark tells a tree that was being built from an old one.
func (t *Target) notFresh() error {
	err := unix.Unlinkat(int(t.own.Fd()), freshName, 0)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return t.fault("remove", diff.OwnName+"/"+freshName, err)
	}
	return nil
}

// lookBack finds what was edited in the old tree since it was surveyed. What the new tree
// shares with it becomes suspect; other files are kept.
func (w *work) lookBack(old *oldTree) error {
	l := w.t.looker(old)
	defer l.close()
	var mu sync.Mutex // guards l
	all := &walker{visit: func(dir int, path string, n node) (bool, error) {
		was, ok := w.survey.found[path]
		if ok && was.same(n) || !ok && n.kind == diff.Directory {
			return true, nil
		}
		mu.Lock()
		defer mu.Unlock()
		return true, l.look(dir, path, n)
	}}
	if err := all.walkWide(int(old.dir.Fd())); err != nil {
		return w.t.fault("look through", "", err)
	}
	w.kept = merge(w.kept, l.kept)
	if len(l.shared) == 0 || w.keepDrift {
		return nil
	}
	s := w.t.State()
	s.Suspect = append(slices.Clone(s.Suspect), l.shared...)
	if err := w.t.journal.Reset(s); err != nil {
		return w.t.fault("write", diff.OwnName+"/journal", err)
	}
	w.suspect = l.shared
	return nil
}
