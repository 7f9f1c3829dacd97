package scan

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

const (
	// quiet is how long a file must stay unchanged where no lease is to be had.
	quiet = 100 * time.Millisecond
	// worthAsking is the size in bytes from which a file is tested for writers before
	// it is read too, so that it is not read in vain again and again.
	worthAsking = 64 << 10
)

// file is a regular file open for reading.
type file struct {
	fd    int
	stamp stamp // of the time of opening
}

func openFile(dir int, name string) (file, error) {
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return file{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		shut(fd)
		return file{}, refusal(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		shut(fd)
		return file{}, errMoved
	}
	return file{fd, stampOf(&st)}, nil
}

func (f file) close() { shut(f.fd) }

// read hands out the content piece by piece, in buf. It returns errMoved if there is
// more or less of it than the stamp says.
func (f file) read(buf []byte, use func([]byte)) error {
	var total int64
	for {
		n, err := unix.Read(f.fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return refusal(err)
		case n == 0 && total < f.stamp.size:
			return errMoved
		case n == 0:
			return nil
		}
		if total += int64(n); total > f.stamp.size {
			return errMoved
		}
		use(buf[:n])
		if total == f.stamp.size {
			return nil // If there is more by now, settled sees another size.
		}
	}
}

// settled says, after the file was read, whether what was read is one whole version:
// nobody has it open for writing, and it is as it was when it was opened. Where no
// lease is to be had, leased is false and the first half of that is not known.
//
// RACE: on kernels before 6.13, which stamp with the clock of the last tick, a writer
// that opens, writes and closes within one tick after an earlier write, all between
// the first read and the writer test, goes unnoticed: the bytes may be of two
// versions. The stamp is then racy, and whoever publishes reads again (Read), where
// the hash differs. Worst case: that publication is put off.
func (f file) settled() (leased bool, err error) {
	leased, err = f.leasable()
	if err != nil {
		return leased, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return leased, refusal(err)
	}
	if stampOf(&st) != f.stamp {
		return leased, errMoved
	}
	return leased, nil
}

// leasable is the writer test: a read lease is refused with EAGAIN exactly while the
// file is open for writing anywhere (fcntl(2), F_SETLEASE). It is given back at once,
// since whoever opens the file for writing waits for that. It returns false where no
// lease is to be had: EACCES on files of others without CAP_LEASE, EINVAL where the
// file system has none.
func (f file) leasable() (bool, error) {
	_, err := unix.FcntlInt(uintptr(f.fd), unix.F_SETLEASE, unix.F_RDLCK)
	if errors.Is(err, unix.EAGAIN) {
		return true, &obstacle{reason: Writing}
	}
	if err != nil {
		return false, nil
	}
	// This cannot fail for a lease just taken; closing the file would end it too.
	_, _ = unix.FcntlInt(uintptr(f.fd), unix.F_SETLEASE, unix.F_UNLCK)
	return true, nil
}

// file returns the record of the regular file at name: the one that is known if its
// stamp says so, or a new one. It returns errMoved or an *obstacle otherwise.
func (w *walk) file(in here, name string, known *record, st *unix.Stat_t) (record, error) {
	limit := w.options.MaxFileSize
	if known.still(st) && (limit <= 0 || st.Size <= limit) {
		return *known, nil
	}
	w.options.Beat()
	start := w.now()
	f, err := openFile(in.fd, name)
	if err != nil {
		return record{}, err
	}
	defer f.close()
	if limit > 0 && f.stamp.size > limit {
		return record{}, &obstacle{TooLarge, fmt.Errorf("%d bytes, at most %d are allowed", f.stamp.size, limit)}
	}
	if f.stamp.size >= worthAsking {
		if _, err := f.leasable(); err != nil {
			return record{}, err
		}
	}
	w.hash.Reset()
	var content []byte // if it came in one piece
	if err := f.read(w.buf, func(b []byte) {
		w.hash.Write(b)
		if int64(len(b)) == f.stamp.size {
			content = b
		}
	}); err != nil {
		return record{}, err
	}
	w.read++
	w.readBytes += f.stamp.size
	leased, err := f.settled()
	if err != nil {
		return record{}, err
	}
	if !leased && !w.quiet(diff.Join(in.path, name), f.stamp) {
		return record{}, &obstacle{reason: Unsettled}
	}
	rec := record{name: name, stamp: f.stamp, racy: f.stamp.racy(start)}
	w.hash.Sum(rec.hash[:0])
	if c, _ := in.committed.Child(name); content != nil && leased && !rec.racy && c.Entry.Hash != rec.hash {
		w.fresh.keep(rec.hash, content)
	}
	return rec, nil
}

// sighting is when a file was first seen as it is.
type sighting struct {
	stamp stamp
	at    time.Time
}

// quiet reports whether a file has long been as it is: by its own time stamps, or, if
// they come from another clock, by ours.
func (w *walk) quiet(path string, s stamp) bool {
	w.unleased = true
	now := w.now()
	if now.UnixNano()-max(s.mtime, s.ctime) >= int64(quiet) {
		return true
	}
	seen, ok := w.unsettled[path]
	if !ok || seen.stamp != s {
		seen = sighting{s, now}
	}
	if now.Sub(seen.at) >= quiet {
		return true
	}
	w.settling[path] = seen
	return false
}

// symlink returns the record of the symlink at name. A symlink is never written, only
// replaced: one descriptor shows one version.
func (w *walk) symlink(in here, name string, known *record, st *unix.Stat_t) (record, error) {
	if w.options.RefuseSymlinks {
		return record{}, &obstacle{reason: SymlinkRefused}
	}
	if known.still(st) {
		return *known, nil
	}
	start := w.now()
	target, s, err := readSymlink(in.fd, name)
	if err != nil {
		return record{}, err
	}
	w.read++
	w.readBytes += int64(len(target))
	s.size = int64(len(target))
	return record{name: name, stamp: s, hash: diff.Sum(target), racy: s.racy(start)}, nil
}

func readSymlink(dir int, name string) ([]byte, stamp, error) {
	fd, err := openat(dir, name, unix.O_PATH)
	if err != nil {
		return nil, stamp{}, err
	}
	defer shut(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, stamp{}, refusal(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return nil, stamp{}, errMoved
	}
	buf := make([]byte, diff.MaxPath+1)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return nil, stamp{}, refusal(err)
	}
	if n == 0 || n > diff.MaxPath {
		return nil, stamp{}, &obstacle{Unsupported, fmt.Errorf("a target of %d bytes", n)}
	}
	return buf[:n], stampOf(&st), nil
}
