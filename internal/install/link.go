package install

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// carry takes a path along as it stands.
func (b *build) carry(path string, n node) error {
	if n.kind == diff.Directory {
		uid, gid := n.uid, n.gid
		if err := b.mkdir(path, n.mode, n); err != nil {
			return err
		}
		if os.Geteuid() == 0 {
			b.dirs[len(b.dirs)-1].uid, b.dirs[len(b.dirs)-1].gid = uid, gid
		}
		return nil
	}
	return b.copy(path, n, nil)
}

// linkBatch is how many files one goroutine links at a time.
const linkBatch = 256

// linker makes files and symlinks of the target entries of the new tree too, a batch from
// one directory at a time, in goroutines of its own.
type linker struct {
	b     *build
	group errgroup.Group
	batch []linking   // those of the next batch
	over  atomic.Bool // a batch has failed

	mu     sync.Mutex // guards copies, and while the group is at work the survey and the target's stamps
	copies []linking  // what is to be copied instead
}

// linking is a file or symlink n, which holds what e says.
type linking struct {
	path string
	e    diff.Entry
	n    node
}

func (b *build) linker() *linker {
	l := &linker{b: b}
	l.group.SetLimit(workers())
	return l
}

// found returns what was found at a path, or linked since.
func (l *linker) found(path string) (n node, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, ok = l.b.w.survey.found[path]
	return n, ok
}

// add links what stands at path, now or later. The directory that it lies in is made.
func (l *linker) add(path string, e diff.Entry, n node) {
	if len(l.batch) == linkBatch || len(l.batch) > 0 && diff.Parent(path) != diff.Parent(l.batch[0].path) {
		l.flush()
	}
	l.batch = append(l.batch, linking{path, e, n})
}

func (l *linker) flush() {
	batch := l.batch
	l.batch = nil
	l.group.Go(func() error {
		if l.over.Load() {
			return nil
		}
		err := l.link(batch)
		if err != nil {
			l.over.Store(true)
		}
		return err
	})
}

// wait links what is left, and waits until all is.
func (l *linker) wait() error {
	l.flush()
	return l.group.Wait()
}

// link links a batch.
func (l *linker) link(batch []linking) error {
	t := l.b.w.t
	from, to := t.cursor(), t.cursorIn(l.b.to.root)
	defer from.close()
	defer to.close()
	var copies []linking
	linked := make([]node, len(batch))
	for i, c := range batch {
		now, err := link(from, to, c.path, c.n)
		switch {
		case errors.Is(err, errUnlinkable):
			copies = append(copies, c)
		case err != nil:
			return l.b.fault(c.path, err)
		}
		linked[i] = now
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.copies = append(l.copies, copies...)
	for i, c := range batch {
		if now := linked[i]; now.kind != diff.None {
			l.b.w.survey.found[c.path] = now
			t.stamps.relink(c.path, c.n, now, t.now())
		}
	}
	return nil
}

// errUnlinkable says that a file is to be copied.
var errUnlinkable = errors.New("not to be linked")

// link makes the file or symlink n, which stands at path, an entry of the new tree too,
// and returns what it is then. A file that is open for writing, or of which that cannot be
// told, is not linked: what is written to it would come to both trees. Neither is one that
// was touched since it was surveyed: what it holds is to be read again.
//
// RACE: who opens a file for writing after this, and writes in place, writes into both
// trees. The look through the old tree finds it, and makes the path suspect. What is
// written into a live tree afterwards also reaches the old one, as long as both share the
// file.
func link(from, to *cursor, path string, n node) (now node, err error) {
	dir, name, err := from.at(path)
	if absent(err) {
		err = errRaced
	}
	if err == nil && n.kind == diff.File {
		err = unwritten(dir, name, n)
	}
	if err != nil {
		return now, err
	}
	next, _, err := to.at(path)
	if err != nil {
		return now, err
	}
	err = unix.Linkat(dir, name, next, name, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return now, errRaced
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EMLINK), errors.Is(err, unix.EOPNOTSUPP):
		// Not allowed for files of others (protected_hardlinks), too many, or not known
		// to the file system.
		return now, errUnlinkable
	case err != nil:
		return now, err
	}
	if now, err = lstat(next, name); err == nil && !now.renamed(n) {
		err = errRaced
	}
	return now, err
}

// unwritten returns nil if the file that stands at name is n, untouched, and nobody has it
// open for writing, and errUnlinkable if that is not so, or cannot be told.
//
// RACE: who puts another file in its place for the time of this call (microseconds) has
// that one tried. What is linked is seen to be the file that was surveyed.
func unwritten(dir int, name string, n node) error {
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if absent(err) {
		return errRaced
	}
	if err != nil {
		return errUnlinkable
	}
	defer closeFD(fd)
	if lease(uintptr(fd)) != nil {
		return errUnlinkable
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || nodeOf(&st) != n {
		return errUnlinkable
	}
	return nil
}

// copyUnlinked copies what could not be linked. Only its ctime may have changed, as it does
// when another name of the same file is linked: its content is compared.
func (b *build) copyUnlinked(c linking) error {
	b.copied = append(b.copied, c.path)
	from, name, err := b.from.at(c.path)
	if absent(err) {
		return errRaced
	}
	if err != nil {
		return err
	}
	now, err := lstat(from, name)
	if err != nil {
		return err
	}
	if !now.renamed(c.n) {
		return errRaced
	}
	b.w.survey.found[c.path] = now
	return b.copy(c.path, now, &c.e)
}

// copy writes a file or symlink that holds what n does, which must be what e says, if
// that is given, and has n's mode and owner.
func (b *build) copy(path string, n node, e *diff.Entry) error {
	from, name, err := b.from.at(path)
	if absent(err) {
		return errRaced
	}
	if err == nil && mounted(from, name) {
		err = unix.EXDEV
	}
	if err != nil {
		return err
	}
	to, _, err := b.to.at(path)
	if err != nil {
		return err
	}
	var content []byte
	stable := true
	if n.kind == diff.Symlink {
		content, err = readLink(from, name)
	} else {
		var buf bytes.Buffer
		stable, err = readFile(from, name, n, &buf)
		content = buf.Bytes()
	}
	if err != nil && !absent(err) {
		return err
	}
	if err != nil || !stable || e != nil && diff.Sum(content) != e.Hash {
		return errRaced
	}
	uid, gid := n.uid, n.gid
	if os.Geteuid() != 0 {
		uid, gid = -1, -1 // Only root may give files away.
	}
	b.w.result.Bytes += int64(len(content))
	if n.kind == diff.Symlink {
		if err := unix.Symlinkat(string(content), to, name); err != nil {
			return err
		}
		return unix.Fchownat(to, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	f, err := openFile(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Chown(uid, gid)
	}
	if err == nil {
		err = unix.Fchmod(int(f.Fd()), n.mode)
	}
	if err == nil && b.stage.each {
		err = fsync(int(f.Fd()))
	}
	return errors.Join(err, f.Close())
}
