package install

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// action is what is done to one path.
type action uint8

const (
	nothing    action = iota // it is right already
	leave                    // it ceases to be managed, but what stands there is not ours
	create                   // rename to where nothing stands
	replace                  // rename over what stands there
	swap                     // exchange with another kind, then remove that
	attributes               // set a directory's mode and owner in place
	remove                   // of a file or symlink
	removeDir
)

// step is what becomes of one path.
type step struct {
	diff.Change
	act action
	// found is what stood there when that was decided.
	found node
	// keep says that found is neither old nor new, and is kept first.
	keep bool
	// local says that found has the wanted content.
	local bool
	// opened says that the step is there only to make a directory read-only again
	// (see access).
	opened bool
	// replaceable says that found is in the way only for want of
	// Options.ReplaceExisting.
	replaceable bool
	// again says that the path is put right if that can be, and does not change.
	again bool
}

// pruned reports whether the path was left behind by the selection, and goes away.
func (s step) pruned() bool { return s.Created() && s.Deleted() }

func (s step) acts() bool { return s.act > leave }

// staged reports whether the step needs a staged entry.
func (s step) staged() bool { return s.act == create || s.act == replace || s.act == swap }

// look decides one step of a plan.
func (w *work) look(c *cursor, s *step) error {
	dir, name, err := c.at(s.Path)
	if absent(err) {
		// A missing parent is a step of its own.
		if !s.Deleted() {
			s.act = create
		}
		return nil
	}
	if err != nil {
		return w.t.fault("open", diff.Parent(s.Path), err)
	}
	decided, why, err := w.decide(dir, name, s.Change, w.t.o.ReplaceExisting)
	if err != nil {
		return w.t.fault("look at", s.Path, err)
	}
	*s = decided
	if why != "" {
		w.conflict.add(s.Path, why)
		if decided.replaceable {
			w.conflict.Replaceable++
		}
	}
	return nil
}

// decide looks at what stands at name in dir and says what becomes of it. A why
// that is not empty says that it is in the way. With replacing, what differs is
// replaced even where the path is new to the journal.
func (w *work) decide(dir int, name string, c diff.Change, replacing bool) (s step, why string, err error) {
	s = step{Change: c}
	if s.found, err = lstat(dir, name); err != nil || s.found.kind == diff.None {
		if !c.Deleted() {
			s.act = create
		}
		return s, "", err
	}
	if s.found.kind == diff.Directory && s.found.dev != w.t.dev || mounted(dir, name) {
		return s, "", unix.EXDEV
	}
	there, err := read(dir, name, s.found, c.Old, c.New)
	if err != nil {
		return s, "", err
	}
	if c.Deleted() {
		s.act, s.keep = deletion(c.Old, there)
		return s, "", nil
	}
	return w.write(dir, name, s, there, replacing)
}

// deletion decides a path that goes away. If old is nothing, it was left behind by the
// selection, and what it was is not known any more: so it is kept.
func deletion(old, there diff.Entry) (act action, keep bool) {
	switch {
	case there.Kind == diff.Directory && (old.Kind == diff.Directory || old.Kind == diff.None):
		return removeDir, false
	case there.Kind == diff.Directory || there.Kind == special:
		return leave, false
	}
	return remove, !there.SameContent(old)
}

// write decides a path that is to be, where something stands.
func (w *work) write(dir int, name string, s step, there diff.Entry, replacing bool) (_ step, why string, err error) {
	switch {
	case there.Kind == special:
		return s, "a " + s.found.describe() + " stands there; remove it", nil
	case there.SameContent(s.New):
		s.local = true
		if s.act = nothing; !w.t.fits(s.found, s.New) {
			if s.act = replace; there.Kind == diff.Directory {
				s.act = attributes
			}
		}
		return s, "", nil
	case s.Old.Kind == diff.None && !replacing:
		why = "a " + s.found.describe() + " that differs stands there"
		if there.Kind == diff.Directory {
			in, err := w.foreign(dir, name, s.Path)
			if in != "" || err != nil {
				return s, why + ", and " + in, err
			}
		}
		s.replaceable = true
		return s, why, nil
	case there.Kind == diff.Directory:
		s.act = swap
		in, err := w.foreign(dir, name, s.Path)
		if err == nil && in != "" {
			why = fmt.Sprintf("the directory is to become a %v and %s", s.New.Kind, in)
		}
		return s, why, err
	case s.New.Kind == diff.Directory:
		s.act = swap
	default:
		s.act = replace
	}
	s.keep = !there.SameContent(s.Old)
	return s, "", nil
}

// foreign says which path in the directory at name is not deleted together with it,
// or that this cannot be told, with a remedy; "" if all are.
func (w *work) foreign(dir int, name, path string) (string, error) {
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.EACCES) {
		return unreadable(path), nil
	}
	if err != nil {
		return "", err
	}
	defer closeFD(fd)
	list, err := names(fd)
	if err != nil {
		return "", err
	}
	for _, child := range list {
		p := diff.Join(path, child)
		n, err := lstat(fd, child)
		if errors.Is(err, unix.EACCES) {
			return unreadable(path), nil
		}
		if err != nil {
			return "", err
		}
		e, ours := w.base.Get(p)
		if !ours || w.leave[p] || (e.Kind == diff.Directory) != (n.kind == diff.Directory) || n.kind == special {
			return fmt.Sprintf("holds %q, which is not managed; move it away", p), nil
		}
		if n.kind != diff.Directory {
			continue
		}
		if in, err := w.foreign(fd, child, p); in != "" || err != nil {
			return in, err
		}
	}
	return "", nil
}

func unreadable(path string) string {
	return fmt.Sprintf("what %q holds cannot be read; make it readable, or move it away", path)
}
