package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// stage is the directory of staged entries, during one attempt at filling it. Each
// is named by the index of its step.
type stage struct {
	w  *work
	fd int
	// each says that every file is made durable by itself.
	each bool
	// next is set where a whole tree is staged: each entry lies at its path below it.
	next *cursor
}

// place returns where step i's entry is staged. The directory is good until the next
// call with the same cursor, which is one of the new tree where a whole tree is staged.
func (s *stage) place(next *cursor, i int) (dir int, name string, err error) {
	if next != nil {
		return next.at(s.w.steps[i].Path)
	}
	return s.fd, stagedName(i), nil
}

// shelf is how many staged entries lie in one directory: the first in the stage itself,
// the others on shelves in it. In a directory of thousands each takes three times as long
// to be made (ext4).
const shelf = 64

// shelfPrefix begins the names of shelves.
const shelfPrefix = "shelf-"

// stagedName returns the name of what is staged for step i, relative to the stage.
func stagedName(i int) string {
	if i < shelf {
		return strconv.Itoa(i)
	}
	return shelfPrefix + strconv.Itoa(i/shelf) + "/" + strconv.Itoa(i)
}

// shelves makes the shelves for all steps.
func (s *stage) shelves() error {
	for i := shelf; i < len(s.w.steps); i += shelf {
		name := shelfPrefix + strconv.Itoa(i/shelf)
		if err := mkdirOpen(s.fd, name); err != nil {
			return s.w.t.fault("make", s.w.t.sideName()+"/"+stageName+"/"+name, err)
		}
	}
	return nil
}

// syncShelves makes the shelves durable.
func (s *stage) syncShelves() error {
	for i := shelf; i < len(s.w.steps); i += shelf {
		fd, err := openat(s.fd, shelfPrefix+strconv.Itoa(i/shelf), unix.O_RDONLY|unix.O_DIRECTORY, 0)
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

// stage writes all new entries and keeps what is to be kept, durably. After an
// error of fsync or syncfs nothing that was written can be trusted, so all of it is
// written again, and made durable file by file.
func (w *work) stage(ctx context.Context, c Contents) error {
	writes := 0
	for _, s := range w.steps {
		if s.staged() && s.New.HasContent() {
			writes++
		}
		if s.keep {
			writes++
		}
	}
	err := w.stageOnce(ctx, c, writes <= fsyncLimit)
	if errors.Is(err, errNotDurable) {
		w.t.o.Log.Warn("staging again after an error of the disk", "path", w.t.o.Dir, "error", err)
		err = w.stageOnce(ctx, c, true)
	}
	return err
}

func (w *work) stageOnce(ctx context.Context, c Contents, each bool) error {
	fd, err := w.t.openStage()
	if err != nil {
		return err
	}
	defer closeFD(fd)
	if !w.t.swept {
		if err := w.t.sweepStage(fd); err != nil {
			return err
		}
	}
	w.t.swept = false
	w.result.Bytes = 0
	s := &stage{w: w, fd: fd, each: each}
	if err := s.shelves(); err != nil {
		return err
	}
	if err := s.fill(ctx, c); err != nil {
		return err
	}
	w.inStage = 0
	for _, s := range w.steps {
		if s.staged() {
			w.inStage++
		}
	}
	if slices.ContainsFunc(w.steps, func(s step) bool { return s.keep }) {
		w.nameKept(fd)
	}
	kept, err := w.keepAll(each)
	if err != nil {
		return err
	}
	return s.durable(kept)
}

func (t *Target) openStage() (int, error) {
	return t.openSub(int(t.side.Fd()), stageName, t.sideName()+"/"+stageName)
}

// content tells distinct contents apart.
type content struct {
	kind diff.Kind
	hash diff.Hash
	size int64
}

func contentOf(e diff.Entry) content { return content{e.Kind, e.Hash, e.Size} }

// fill writes the directories, then what the disk has the content of, then what has
// to be fetched.
func (s *stage) fill(ctx context.Context, c Contents) error {
	var want []diff.Entry
	waiting := map[diff.Hash][]int{} // a file and a symlink may be the same bytes
	going := s.going()
	for i, st := range s.w.steps {
		if !st.staged() {
			continue
		}
		if st.New.Kind == diff.Directory {
			if s.next != nil {
				continue // All directories were made before.
			}
			if err := s.mkdir(i); err != nil {
				return err
			}
			continue
		}
		from, ok := going[contentOf(st.New)]
		if st.local {
			from, ok = i, true
		}
		if ok {
			done, err := s.copyLocal(i, from)
			if err != nil {
				return err
			}
			if done {
				continue
			}
		}
		if waiting[st.New.Hash] == nil {
			want = append(want, st.New)
		}
		waiting[st.New.Hash] = append(waiting[st.New.Hash], i)
	}
	if len(want) == 0 {
		return nil
	}
	scribes := s.scribes()
	err := c.Fetch(ctx, want, s.have(going), func(e diff.Entry, b []byte) error {
		if e.Size != int64(len(b)) || e.Hash != diff.Sum(b) {
			return fmt.Errorf("stage: content %v does not match its hash", e.Hash)
		}
		if err := scribes.write(waiting[e.Hash], b); err != nil {
			return err
		}
		delete(waiting, e.Hash)
		return ctx.Err()
	})
	if written := scribes.wait(); err == nil {
		err = written
	}
	if err != nil {
		return err
	}
	for hash, steps := range waiting {
		return fmt.Errorf("stage %q: its content %v was not provided", s.w.steps[steps[0]].Path, hash)
	}
	return nil
}

// have returns the function that finds the files' contents that the apply takes away,
// while the disk still has them: what patches apply to.
func (s *stage) have(going map[content]int) func(diff.Hash) []byte {
	files := map[diff.Hash]int{}
	for c, i := range going {
		if c.kind == diff.File {
			files[c.hash] = i
		}
	}
	return func(hash diff.Hash) []byte {
		i, ok := files[hash]
		if !ok {
			return nil
		}
		b, err := s.local(i, diff.File)
		if err != nil || diff.Sum(b) != hash {
			return nil // Then it is rebuilt.
		}
		return b
	}
}

// going finds the contents that the apply takes away from a path: what is moved need
// not be fetched.
func (s *stage) going() map[content]int {
	found := map[content]int{}
	for i, st := range s.w.steps {
		if st.Old.HasContent() && st.found.kind == st.Old.Kind && !st.keep {
			found[contentOf(st.Old)] = i
		}
	}
	return found
}

// copyLocal stages step i's entry from what stands at the path of step from. It
// reports whether that still has the content.
func (s *stage) copyLocal(i, from int) (bool, error) {
	st := s.w.steps[i]
	b, err := s.local(from, st.New.Kind)
	if err != nil || diff.Sum(b) != st.New.Hash {
		return false, nil // Then it is fetched.
	}
	return true, s.write(i, b)
}

// local returns the content of the file or symlink that stood at step i's path.
func (s *stage) local(i int, kind diff.Kind) ([]byte, error) {
	st := s.w.steps[i]
	c := s.w.t.cursor()
	defer c.close()
	dir, name, err := c.at(st.Path)
	if err != nil {
		return nil, err
	}
	if kind == diff.Symlink {
		return readLink(dir, name)
	}
	var buf bytes.Buffer
	buf.Grow(int(st.found.size) + bytes.MinRead)
	_, err = readFile(dir, name, st.found, &buf)
	return buf.Bytes(), err
}

// write stages one file or symlink.
func (s *stage) write(i int, b []byte) error {
	s.w.t.o.Beat()
	s.w.result.Bytes += int64(len(b))
	return s.put(s.next, i, b)
}

// put stages one file or symlink where the cursor is, and may be called by several
// goroutines at a time, with a cursor each.
func (s *stage) put(next *cursor, i int, b []byte) error {
	st := &s.w.steps[i]
	dir, name, err := s.place(next, i)
	switch {
	case err != nil:
	case st.New.Kind == diff.Symlink:
		err = s.symlink(dir, name, string(b))
	default:
		err = s.file(dir, name, st.New.Mode, b)
	}
	if err != nil {
		return s.w.t.fault("stage", st.Path, err)
	}
	return nil
}

func (s *stage) file(dir int, name string, mode uint32, b []byte) error {
	fd, err := openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(s.writeFile(fd, mode, b), unix.Close(fd))
}

func (s *stage) writeFile(fd int, mode uint32, b []byte) error {
	if err := writeAll(fd, b); err != nil {
		return err
	}
	if uid, gid := s.w.t.o.UID, s.w.t.o.GID; uid >= 0 || gid >= 0 {
		// The owner first: chown(2) clears setuid and setgid.
		if err := unix.Fchown(fd, uid, gid); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return err
	}
	if s.each {
		return fsync(fd)
	}
	return nil
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n := 0
		err := uninterrupted(func() (err error) {
			n, err = unix.Write(fd, b)
			return err
		})
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (s *stage) symlink(dir int, name, target string) error {
	if err := unix.Symlinkat(target, dir, name); err != nil {
		return err
	}
	return unix.Fchownat(dir, name, s.w.t.o.UID, s.w.t.o.GID, unix.AT_SYMLINK_NOFOLLOW)
}

// mkdir stages one directory.
func (s *stage) mkdir(i int) error {
	st := s.w.steps[i]
	if err := s.mkdirAs(stagedName(i), stagedDirMode(st.New.Mode)); err != nil {
		return s.w.t.fault("stage", st.Path, err)
	}
	return nil
}

func (s *stage) mkdirAs(name string, mode uint32) error {
	if err := unix.Mkdirat(s.fd, name, 0o700); err != nil {
		return err
	}
	d, err := openFile(s.fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	err = d.Chown(s.w.t.o.UID, s.w.t.o.GID)
	if err == nil {
		err = unix.Fchmod(int(d.Fd()), mode)
	}
	if err == nil && s.each {
		err = fsync(int(d.Fd()))
	}
	return errors.Join(err, d.Close())
}

// stagedDirMode returns the mode that a new directory is staged with. An ordinary
// user can neither move nor fill a directory that is read-only to it.
//
// RACE: a new directory whose mode does not let its owner write appears with
// owner's rwx added, and gets its own mode at the end of the apply, or of the roll
// forward after a crash. Not as root.
func stagedDirMode(mode uint32) uint32 {
	if os.Geteuid() != 0 {
		return mode | 0o700
	}
	return mode
}
