package install

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// keptTime is how directories of kept files are named: by the UTC time of the
// apply that kept them.
const keptTime = "20060102T150405.000000000Z"

// keptLink is the symlink in the stage that tells later attempts at the same next
// where the first one keeps.
const keptLink = "kept"

// maxName is NAME_MAX, how many bytes the name of a directory entry may have.
const maxName = 255

// never returns a node that is equal to nothing that stands at a path.
func never() node { return node{kind: special, ino: ^uint64(0)} }

// keeper puts what one apply overwrites or deletes under kept. A nil
// keeper has kept nothing.
type keeper struct {
	t    *Target
	name string
	n    int
	dirs map[string]bool // made or written to, by path beside kept
	// whole says that something could not be made durable by itself.
	whole bool
}

func (w *work) keeper() *keeper {
	if w.kept == nil {
		w.kept = w.t.keeper()
	}
	return w.kept
}

func (t *Target) keeper() *keeper {
	return &keeper{t: t, name: t.now().UTC().Format(keptTime), dirs: map[string]bool{}}
}

// nameKept makes the work keep where an earlier attempt at the same next did, and
// leaves the name for later ones, so that what cannot be completed does not keep the
// same files again and again.
func (w *work) nameKept(stage int) {
	if b, err := readLink(stage, keptLink); err == nil {
		if _, err := time.Parse(keptTime, string(b)); err == nil {
			w.keeper().name = string(b)
			return
		}
	}
	// Without the link a later attempt keeps once more, and that is all.
	_ = unix.Symlinkat(w.keeper().name, stage, keptLink)
}

// unkeep removes what an attempt kept that ended before the journal's next: nothing
// was overwritten.
func (w *work) unkeep() {
	if w.kept == nil {
		return
	}
	if err := w.t.removeKept(w.kept.name); err != nil {
		w.t.o.Log.Warn("what was kept for nothing could not be removed", "path", w.t.o.Dir, "error", err)
	}
	w.kept = nil
}

func (k *keeper) count() int {
	if k == nil {
		return 0
	}
	return k.n
}

// keepAll keeps what the steps say. With each, files are made durable; the
// directories are the business of the caller.
func (w *work) keepAll(each bool) (*keeper, error) {
	c := w.t.cursor()
	defer c.close()
	if w.kept != nil {
		w.kept.n = 0
	}
	for i := range w.steps {
		s := &w.steps[i]
		if !s.keep {
			continue
		}
		dir, name, err := c.at(s.Path)
		if absent(err) {
			continue // The switch decides again.
		}
		if err == nil {
			err = w.keeper().keep(dir, name, s, each)
		}
		if err != nil {
			return nil, w.t.fault("keep", s.Path, err)
		}
	}
	return w.kept, nil
}

// keepNow keeps one path, durably.
func (w *work) keepNow(dir int, name string, s *step) error {
	k := w.keeper()
	if err := k.keep(dir, name, s, true); err != nil {
		return err
	}
	return k.durable()
}

// keepStaged moves something unexpected out of the stage.
func (w *work) keepStaged(stage int, name, path string) error {
	k := w.keeper()
	if err := k.move(stage, name, path); err != nil {
		return err
	}
	return k.durable()
}

// keep links what stands at a path under the kept ones, or copies it where it
// cannot be linked, and sees to it that what the step found is what was kept.
func (k *keeper) keep(dir int, name string, s *step, each bool) error {
	parent, err := k.mkdirs(diff.Parent(s.Path))
	if err != nil {
		return err
	}
	defer closeFD(parent)
	s.found = never()
	for range maxRaces {
		n, err := lstat(dir, name)
		if err != nil || n.kind != diff.File && n.kind != diff.Symlink {
			return err
		}
		kept, linked, err := k.link(dir, name, n, parent, diff.Base(s.Path))
		if err != nil {
			return err
		}
		if each && n.kind == diff.File {
			k.sync(parent, kept)
		}
		is, err := lstat(parent, kept)
		if err != nil {
			return err
		}
		now, err := lstat(dir, name)
		if err != nil {
			return err
		}
		if linked && now.same(is) || !linked && now.same(n) {
			s.found = now
			k.n++
			return nil
		}
	}
	return nil
}

// another returns the name that is tried for base when i others are taken.
func another(base string, i int) string {
	suffix := fmt.Sprintf("~%d", i)
	return base[:min(len(base), maxName-len(suffix))] + suffix
}

// link returns the name under which n is kept in parent, if need be since earlier.
func (k *keeper) link(dir int, name string, n node, parent int, base string) (kept string, linked bool, err error) {
	kept = base
	for i := 1; ; i++ {
		err := unix.Linkat(dir, name, parent, kept, 0)
		if err == nil {
			return kept, true, nil
		}
		if !errors.Is(err, unix.EEXIST) {
			// Not allowed for files of others (protected_hardlinks), not known to
			// the file system, or too many.
			break
		}
		is, err := lstat(parent, kept)
		if err != nil || is.ino == n.ino && is.dev == n.dev {
			return kept, true, err
		}
		if sameBytes(dir, name, n, parent, kept, is) {
			return kept, false, nil
		}
		kept = another(base, i)
	}
	return kept, false, k.copy(dir, name, n, parent, kept)
}

// sameBytes reports whether two files or symlinks hold the same. What cannot be read
// does not.
func sameBytes(dir int, name string, n node, parent int, kept string, is node) bool {
	if n.kind != is.kind || n.size != is.size {
		return false
	}
	like := diff.Entry{Kind: n.kind, Size: n.size}
	a, err := read(dir, name, n, like)
	if err != nil || a.Hash.IsZero() {
		return false
	}
	b, err := read(parent, kept, is, like)
	return err == nil && a.SameContent(b)
}

func (k *keeper) copy(dir int, name string, n node, parent int, kept string) error {
	if n.kind == diff.Symlink {
		b, err := readLink(dir, name)
		if err != nil {
			return err
		}
		return unix.Symlinkat(string(b), parent, kept)
	}
	var b bytes.Buffer
	if _, err := readFile(dir, name, n, &b); err != nil {
		return err
	}
	f, err := openFile(parent, kept, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	return errors.Join(err, f.Close())
}

// move renames an entry of the stage to the kept ones.
func (k *keeper) move(stage int, name, path string) error {
	parent, err := k.mkdirs(diff.Parent(path))
	if err != nil {
		return err
	}
	defer closeFD(parent)
	if err := openUp(stage, name); err != nil {
		return err
	}
	kept := diff.Base(path)
	for i := 1; ; i++ {
		err := unix.Renameat2(stage, name, parent, kept, unix.RENAME_NOREPLACE)
		if err == nil {
			k.n++
		}
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		kept = another(diff.Base(path), i)
	}
}

// mkdirs opens the directory at path below this apply's, and makes what is missing.
func (k *keeper) mkdirs(path string) (int, error) {
	at, err := openat(int(k.t.side.Fd()), ".", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	below := ""
	for name := range strings.SplitSeq(strings.TrimSuffix(keptName+"/"+k.name+"/"+path, "/"), "/") {
		below = diff.Join(below, name)
		next, err := k.t.openSub(at, name, k.t.sideName()+"/"+below)
		closeFD(at)
		if err != nil {
			return -1, err
		}
		at = next
		k.dirs[below] = true
	}
	return at, nil
}

// sync makes a kept file durable.
func (k *keeper) sync(parent int, name string) {
	f, err := openFile(parent, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		k.whole = true
		return
	}
	if err := errors.Join(fsync(int(f.Fd())), f.Close()); err != nil {
		k.whole = true
	}
}

// unsynced reports whether it takes a syncfs to make the kept files durable.
func (k *keeper) unsynced() bool { return k != nil && (k.whole || len(k.dirs) > fsyncLimit) }

// syncDirs makes the directories of kept files durable.
func (k *keeper) syncDirs() error {
	if k == nil {
		return nil
	}
	for below := range k.dirs {
		fd, err := k.t.openBelow(int(k.t.side.Fd()), below, unix.O_RDONLY)
		if err != nil {
			return err
		}
		err = fsync(fd)
		closeFD(fd)
		if err != nil {
			return err
		}
	}
	return nil
}

// durable makes all that was kept durable.
func (k *keeper) durable() error {
	if k == nil {
		return nil
	}
	side := int(k.t.side.Fd())
	if k.unsynced() {
		return syncfs(side)
	}
	if err := k.syncDirs(); err != nil {
		return err
	}
	return fsync(side)
}

// removeKept deletes the kept files of one apply.
func (t *Target) removeKept(name string) error {
	if err := t.sideRoot.RemoveAll(keptName + "/" + name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
