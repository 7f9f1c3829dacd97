package install

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// fsyncLimit is how many files or directories are made durable one by one. Beyond
// it one syncfs(2) costs less.
const fsyncLimit = 8

func fsync(fd int) error { return uninterrupted(func() error { return unix.Fsync(fd) }) }

// syncfs makes the file system of fd durable. An error that occurred since fd was
// opened is reported (see syncfs(2)), so fd must be opened before the first write.
func syncfs(fd int) error { return uninterrupted(func() error { return unix.Syncfs(fd) }) }

// durable makes everything staged and kept durable.
func (s *stage) durable(kept *keeper) error {
	side := s.w.t.side
	err := func() error {
		if !s.each || kept.unsynced() {
			return syncfs(s.fd)
		}
		if err := kept.syncDirs(); err != nil {
			return err
		}
		return errors.Join(s.syncShelves(), fsync(s.fd), fsync(int(side.Fd())))
	}()
	if err != nil {
		return s.w.t.fault("make durable", s.w.t.sideName(), fmt.Errorf("%w: %w", errNotDurable, err))
	}
	return nil
}

// syncDirs makes every directory durable in which a step did anything, or, with
// all, could have.
func (w *work) syncDirs(all bool) error {
	touched := map[string]bool{}
	for _, s := range w.steps {
		if !all && !s.acts() {
			continue
		}
		touched[diff.Parent(s.Path)] = true
		if s.New.Kind == diff.Directory {
			touched[s.Path] = true
		}
	}
	if len(touched) > fsyncLimit {
		if err := syncfs(int(w.t.dir.Fd())); err != nil {
			return w.t.fault("make durable", "", err)
		}
		return nil
	}
	for path := range touched {
		if err := w.syncDir(path); err != nil {
			return w.t.fault("make durable", path, err)
		}
	}
	return nil
}

func (w *work) syncDir(path string) error {
	fd, err := w.t.openDir(path, unix.O_RDONLY)
	if absent(err) {
		return nil // It was deleted since; its parent knows.
	}
	if errors.Is(err, unix.EACCES) {
		return syncfs(int(w.t.dir.Fd()))
	}
	if err != nil {
		return err
	}
	defer closeFD(fd)
	return fsync(fd)
}
