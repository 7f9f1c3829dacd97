package watcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// watches is one fsnotify watcher and the directories that it was given.
// Directories are slash-separated paths below root.
//
// Watches are never taken away or renamed one by one. Measured with fsnotify
// 1.10.1: after "mv a b" events in b/sub are named a/sub, and adding b can return
// the watch of a, which is then taken away, so that b stays deaf. Such a set is
// closed and another one opened.
type watches struct {
	root   string
	ignore func(path string, dir bool) bool
	log    hclog.Logger
	fs     *fsnotify.Watcher
	queue  *queue

	dirs       map[string]struct{} // directories met and not ignored, watched or not
	ignored    map[string]struct{} // directories met and ignored: a removal no longer shows the kind
	count      int                 // watches had
	unreadable int                 // directories skipped for want of permission
	unwatched  int                 // directories refused for another reason
	cause      error               // the first such reason

	fsType  func(*os.File) uint32
	remote  map[uint64]string   // by device: remote's word for its file system
	distant string              // the first of these words that is not empty
	polled  map[string]struct{} // directories of which events do not tell all
}

// openWatches watches the root and every directory below it. It fails only if the
// root cannot be watched; close the set otherwise.
func (w *Watcher) openWatches(ctx context.Context) (*watches, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	s := &watches{
		root: w.o.Dir, ignore: w.o.Ignore, log: w.o.Log, fs: fs, queue: newQueue(),
		dirs: make(map[string]struct{}), ignored: make(map[string]struct{}),
		fsType: w.fsType, remote: make(map[uint64]string), polled: make(map[string]struct{}),
	}
	if w.opened != nil {
		w.opened(fs)
	}
	go s.queue.run(fs.Events, fs.Errors)
	if err := fs.Add(s.root); err != nil {
		s.close()
		return nil, err
	}
	s.add(ctx, "")
	return s, nil
}

// close returns after all goroutines of the set have ended.
func (s *watches) close() {
	if err := s.fs.Close(); err != nil {
		s.log.Debug("closing the watches", "path", s.root, "error", err)
	}
	<-s.queue.ended
}

// degraded is nil if nothing is polled.
func (s *watches) degraded() error {
	switch {
	case s.unwatched > 0:
		return polling(s.root, fmt.Errorf("%d of %d directories are not watched: %w", s.unwatched, len(s.dirs), s.cause))
	case s.distant != "":
		return polling(s.root, fmt.Errorf("%s does not announce what other hosts change", s.distant))
	}
	return nil
}

// polling says why the root or a part of it is polled.
func polling(root string, why error) error {
	return fmt.Errorf("watch %s: polling, because %w%s", root, why, remedy(why))
}

func (s *watches) path(dir string) string { return filepath.Join(s.root, dir) }

// add watches top and everything below it. Each directory is watched before it
// is read: an entry made after that raises an event, one made before is read.
//
// RACE: fsnotify offers no IN_DONT_FOLLOW. A directory swapped for a symlink
// between reading its parent and this Add has the symlink's target watched: at
// worst needless signals, until the swap's own event has the set closed. A
// parent swapped while its subdirectories are added likewise, and then foreign
// directories are listed as well.
func (s *watches) add(ctx context.Context, top string) {
	for todo := []string{top}; len(todo) > 0 && ctx.Err() == nil; {
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		err := s.fs.Add(s.path(dir))
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue // Gone again, which raises an event in its parent.
		}
		s.dirs[dir] = struct{}{}
		if err == nil {
			s.count++
		}
		entries, distant, readErr := s.read(dir)
		for _, e := range entries {
			sub := path.Join(dir, e.Name())
			switch {
			case !e.IsDir():
			case s.ignore(sub, true):
				s.ignored[sub] = struct{}{}
			default:
				todo = append(todo, sub)
			}
		}
		if s.refused(dir, err, readErr) || distant {
			s.polled[dir] = struct{}{}
		}
	}
}

// read lists a directory, and tells whether others may change it unseen. Below the
// root it does not follow a symlink that has taken the directory's place: to that this
// directory is gone.
func (s *watches) read(dir string) (entries []os.DirEntry, distant bool, err error) {
	flags := os.O_RDONLY | unix.O_DIRECTORY
	if dir != "" {
		flags |= unix.O_NOFOLLOW
	}
	f, err := os.OpenFile(s.path(dir), flags, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close() //nolint:errcheck // Nothing was written.
	distant = s.isRemote(f)
	entries, err = f.ReadDir(-1)
	return entries, distant, err
}

// isRemote asks once for each device: on some file systems asking is a journey.
func (s *watches) isRemote(f *os.File) bool {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false
	}
	word, known := s.remote[st.Dev]
	if !known {
		word = remote(s.fsType(f))
		s.remote[st.Dev] = word
		if s.distant == "" {
			s.distant = word
		}
	}
	return word != ""
}

// refused reports whether a directory could not be watched or read, by the first
// error that does not only say that it is gone. Want of permission does not count.
func (s *watches) refused(dir string, errs ...error) bool {
	for _, err := range errs {
		switch {
		case err == nil, errors.Is(err, os.ErrNotExist):
			continue
		case errors.Is(err, os.ErrPermission):
			s.unreadable++
			s.log.Debug("unreadable directory is not watched", "path", dir, "error", err)
			return false
		}
		s.unwatched++
		if s.cause == nil {
			s.cause = err
		}
		return true
	}
	return false
}

// note reads the queue into b, and reports whether no event was lost.
func (s *watches) note(ctx context.Context, b *batch, now time.Time) (complete bool) {
	events, lost := s.queue.take()
	for _, e := range events {
		s.noteEvent(ctx, b, e, now)
	}
	if lost != nil {
		s.log.Debug("events were lost", "path", s.root, "error", lost)
		b.remake = true
		b.touch(now)
	}
	return lost == nil
}

func (s *watches) noteEvent(ctx context.Context, b *batch, e fsnotify.Event, now time.Time) {
	name := strings.TrimLeft(strings.TrimPrefix(e.Name, s.root), "/")
	if name == "" {
		b.add("")
		b.remake = b.remake || e.Has(fsnotify.Remove|fsnotify.Rename) || s.unreadable > 0
		b.touch(now)
		return
	}
	_, known := s.dirs[name]
	created := e.Has(fsnotify.Create) && s.isDir(name)
	if s.ignores(name, e, known || created) {
		return
	}
	b.touch(now)
	if !known && !created {
		b.addName(parent(name), path.Base(name))
		return
	}
	b.add(parent(name))
	if e.Has(fsnotify.Chmod) {
		b.add(name)
		b.remake = b.remake || s.unreadable > 0 // It may have become readable.
	}
	if e.Has(fsnotify.Create | fsnotify.Remove | fsnotify.Rename) {
		b.remake = true
	}
	if created {
		// Not to be relied on: it lets what goes on in the new directory prolong
		// the wait for quiet, so that a directory copied in is signalled whole.
		s.add(ctx, name)
	}
}

// ignores asks about a path whose kind may be known only from before.
func (s *watches) ignores(name string, e fsnotify.Event, dir bool) bool {
	if _, was := s.ignored[name]; was {
		if e.Has(fsnotify.Create) && !dir {
			delete(s.ignored, name)
		} else {
			dir = true
		}
	}
	if !s.ignore(name, dir) {
		return false
	}
	if dir && e.Has(fsnotify.Create) {
		s.ignored[name] = struct{}{}
	}
	if e.Has(fsnotify.Remove | fsnotify.Rename) {
		delete(s.ignored, name)
	}
	return true
}

func (s *watches) isDir(name string) bool {
	fi, err := os.Lstat(s.path(name))
	return err == nil && fi.IsDir()
}

func parent(name string) string {
	return name[:max(strings.LastIndexByte(name, '/'), 0)]
}
