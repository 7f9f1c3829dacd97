package install

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// candidateName is the directory, beside the stage, that holds what is checked.
const candidateName = "candidate"

// candidate is a copy of all that the target is to hold, what is not managed included. It
// shares no file with the target or the stage, so that a check that writes in it changes
// nothing that goes live.
type candidate struct {
	w     *work
	root  *os.Root
	steps map[string]step
	// going tells that it goes on, and returns an error if it is not to.
	going func() error
}

// copyPiece is how much of a file is copied before that is asked, in bytes.
const copyPiece = 64 << 20

// check has the candidate checked, and removes it.
func (w *work) check(ctx context.Context, next *build) (err error) {
	t := w.t
	if err := t.dropCandidate(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.dropCandidate()) }()
	if err := w.copyOut(ctx, next); err != nil {
		return t.fault("copy for the check to", t.sideName()+"/"+candidateName, err)
	}
	t.crash("before-check")
	path := filepath.Join(t.Scratch(), candidateName)
	return t.o.Try.Check(ctx, path, w.pending.Position, t.Content(), w.changed())
}

// Scratch returns the absolute path of a directory that nobody else writes, once there is a
// journal.
func (t *Target) Scratch() string { return filepath.Join(t.path, t.sideName()) }

func (t *Target) dropCandidate() error {
	if err := t.sideRoot.RemoveAll(candidateName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t.fault("remove", t.sideName()+"/"+candidateName, err)
	}
	return nil
}

// copyOut makes the candidate: of the tree that was built, or of the target and the stage.
func (w *work) copyOut(ctx context.Context, next *build) error {
	t := w.t
	if err := t.sideRoot.Mkdir(candidateName, 0o700); err != nil {
		return err
	}
	root, err := t.sideRoot.OpenRoot(candidateName)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // Nothing in it is to last.
	c := &candidate{w: w, root: root, steps: map[string]step{}, going: func() error {
		t.o.Beat()
		return ctx.Err()
	}}
	all := &walker{visit: func(dir int, path string, n node) (bool, error) {
		if err := c.going(); err != nil {
			return false, err
		}
		return c.visit(dir, path, n)
	}}
	if next != nil {
		return all.walk(int(next.root.Fd()), "")
	}
	for _, s := range w.steps {
		if s.acts() {
			c.steps[s.Path] = s
		}
	}
	if err := all.walk(int(t.dir.Fd()), ""); err != nil {
		return err
	}
	return c.staged()
}

// visit copies what stands at a path and stays there.
func (c *candidate) visit(dir int, path string, n node) (into bool, err error) {
	s, changes := c.steps[path]
	switch {
	case diff.Base(path) == diff.OwnName || n.dev != c.w.t.dev:
		return false, nil
	case changes && s.act == removeDir:
		return true, nil // What is not managed in it stays.
	case changes && s.act != attributes:
		return false, nil
	case changes:
		n.mode = s.New.Mode
	}
	into = n.kind == diff.Directory && unix.Faccessat(dir, diff.Base(path), unix.R_OK|unix.X_OK, unix.AT_EACCESS|unix.AT_SYMLINK_NOFOLLOW) == nil
	return into, c.copy(dir, diff.Base(path), path, n)
}

// staged copies what is new.
func (c *candidate) staged() error {
	fd, err := c.w.t.openStage()
	if err != nil {
		return err
	}
	defer closeFD(fd)
	for i, s := range c.w.steps {
		if !s.staged() {
			continue
		}
		n, err := lstat(fd, stagedName(i))
		if err != nil {
			return err
		}
		n.mode = s.New.Mode
		if err := c.copy(fd, stagedName(i), s.Path, n); err != nil {
			return err
		}
	}
	return nil
}

// copy copies one entry, whose parent may be yet to come. What vanishes, what cannot be
// read, and what no tree holds is left out.
func (c *candidate) copy(dir int, name, path string, n node) error {
	if parent := diff.Parent(path); parent != "" {
		if err := c.root.MkdirAll(parent, 0o700); err != nil {
			return err
		}
	}
	switch n.kind {
	case diff.Directory:
		if err := c.root.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		_ = c.root.Lchown(path, n.uid, n.gid)
		return c.root.Chmod(path, os.FileMode(n.mode&0o777|0o700)) // It is yet to be filled, and to be removed.
	case diff.Symlink:
		to, err := readLink(dir, name)
		if absent(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return c.root.Symlink(string(to), path)
	case diff.File:
		return c.file(dir, name, path, n)
	}
	return nil
}

func (c *candidate) file(dir int, name, path string, n node) error {
	from, err := openFile(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if absent(err) || errors.Is(err, unix.EACCES) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // It was only read.
	to, err := c.root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	// In pieces: a large file takes its time, and the daemon is taken for stuck meanwhile.
	for err == nil {
		if err = c.going(); err == nil {
			_, err = io.CopyN(to, from, copyPiece)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	_ = to.Chown(n.uid, n.gid) // As an ordinary user all is its own.
	return errors.Join(err, to.Chmod(os.FileMode(n.mode&0o777)), to.Close())
}
