package install

import (
	"bytes"
	"errors"
	"os"

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

// link makes the file or symlink n, which holds what e says, an entry of the new tree
// too. A file that is open for writing, or of which that cannot be told, is copied: what
// is written to it would come to both trees.
//
// RACE: who opens a file for writing after this, and writes in place, writes into both
// trees. Until the last look before the exchange that is noticed and begun anew; later
// the look through the old tree finds it, and makes the path suspect. What is written
// into a live tree afterwards also reaches the old one, as long as both share the file.
func (b *build) link(path string, e diff.Entry, n node) error {
	from, name, err := b.from.at(path)
	if absent(err) {
		return errRaced
	}
	if err != nil {
		return err
	}
	if n.kind == diff.File {
		quiet, err := unwritten(from, name, n)
		if err != nil {
			return err
		}
		if !quiet {
			return b.copy(path, n, &e)
		}
	}
	to, _, err := b.to.at(path)
	if err != nil {
		return err
	}
	err = unix.Linkat(from, name, to, name, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return errRaced
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EMLINK), errors.Is(err, unix.EOPNOTSUPP):
		// Not allowed for files of others (protected_hardlinks), too many, or not known
		// to the file system.
		return b.copy(path, n, &e)
	case err != nil:
		return err
	}
	now, err := lstat(to, name)
	if err != nil {
		return err
	}
	if !now.renamed(n) {
		return errRaced
	}
	b.w.survey.found[path] = now
	b.w.t.stamps.relink(path, n, now)
	return nil
}

// unwritten reports whether nobody has the file n, which stands at name, open for
// writing. Where that cannot be told, it reports false.
func unwritten(dir int, name string, n node) (bool, error) {
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if absent(err) {
		return false, errRaced
	}
	if err != nil {
		return false, nil
	}
	defer closeFD(fd)
	if lease(uintptr(fd)) != nil {
		return false, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	if nodeOf(&st) != n {
		return false, errRaced
	}
	return true, nil
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
