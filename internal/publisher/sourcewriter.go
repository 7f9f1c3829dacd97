package publisher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
	"github.com/confsyncd/confsyncd/internal/store"
)

const (
	// sourceStage is where a source's new files are written first: no scan looks there.
	sourceStage = diff.OwnName + "/source"
	sourceKept  = diff.OwnName + "/kept"
	// sourceHold stands in the busy file, so that who begins again knows it.
	sourceHold = "confsyncd pull --write-source\n"
)

// sourceWriter writes a version into a publisher's directory. While it does a busy file, if
// there are any, keeps the publisher from looking.
type sourceWriter struct {
	publisher *Publisher
	version   *store.Version
	root      *os.Root
	kept      string
}

// busyFile is the one that it makes; "" if it makes none.
func (w *sourceWriter) busyFile() string {
	for _, name := range w.publisher.options.BusyFiles {
		if diff.Parent(name) == "" {
			return name
		}
	}
	return ""
}

// unoccupied returns ErrRefused while somebody else is at work in the directory.
func (w *sourceWriter) unoccupied() error {
	found, _, busy := w.publisher.scanner.Busy()
	if !busy {
		return nil
	}
	content, err := os.ReadFile(path.Join(w.publisher.options.Dir, found))
	if err == nil && found == w.busyFile() && string(content) == sourceHold {
		return nil // left by one that was killed
	}
	return refuse(fmt.Sprintf("delete it if nobody is at work in %s", w.publisher.options.Dir), "a busy file exists: %q", found)
}

// vacant returns ErrRefused if a directory that something else is to replace holds what is
// no part of the tree.
func (w *sourceWriter) vacant(changes []diff.Change) error {
	goes := make(map[string]bool)
	for _, c := range changes {
		if c.Deleted() || c.Old.Kind != c.New.Kind {
			goes[c.Path] = true
		}
	}
	for _, c := range changes {
		if c.Old.Kind != diff.Directory || c.Deleted() && !blocked(w.version.Tree, c.Path) || c.New.Kind == diff.Directory {
			continue
		}
		list, err := os.ReadDir(path.Join(w.publisher.options.Dir, c.Path))
		if err != nil {
			return err
		}
		for _, e := range list {
			if at := diff.Join(c.Path, e.Name()); !goes[at] {
				return refuse("move it away", "%q is not published, and stands where the head has no directory", at)
			}
		}
	}
	return nil
}

// write makes the changes, and returns how many bytes it wrote and where it kept what it
// replaced.
func (w *sourceWriter) write(ctx context.Context, changes []diff.Change, now time.Time) (written int64, kept string, err error) {
	if w.root, err = os.OpenRoot(w.publisher.options.Dir); err != nil {
		return 0, "", err
	}
	defer w.root.Close() //nolint:errcheck // What is written is synced before.
	w.kept = path.Join(sourceKept, now.UTC().Format("20060102T150405.000000000Z"))
	// What a writer that was killed has left may be half a file.
	if err := w.root.RemoveAll(sourceStage); err != nil {
		return 0, "", err
	}
	if err := w.root.MkdirAll(sourceStage, 0o700); err != nil {
		return 0, "", err
	}
	if written, err = w.stage(ctx, changes); err != nil {
		return 0, "", err
	}
	if busy := w.busyFile(); busy != "" {
		if err := w.root.WriteFile(busy, []byte(sourceHold), 0o644); err != nil {
			return 0, "", err
		}
		defer func() { err = errors.Join(err, w.root.Remove(busy)) }()
	}
	if err := w.apply(changes); err != nil {
		return 0, "", err
	}
	if err := w.root.RemoveAll(sourceStage); err != nil {
		return 0, "", err
	}
	if _, err := w.root.Lstat(w.kept); err == nil {
		kept = path.Join(w.publisher.options.Dir, w.kept)
	}
	return written, kept, w.sync()
}

// next names what is to be renamed to the path of a change.
func next(i int) string { return fmt.Sprintf("%s/%d", sourceStage, i) }

// gone names where what is taken away from the path of a change goes.
func gone(i int) string { return fmt.Sprintf("%s/gone-%d", sourceStage, i) }

// stage writes what is to stand at each path beside it, durably.
func (w *sourceWriter) stage(ctx context.Context, changes []diff.Change) (written int64, err error) {
	places := make(map[diff.Hash][]int)
	var wanted []diff.Entry
	for i, c := range changes {
		switch {
		case !c.New.HasContent():
		case c.New.SameContent(c.Old):
			content, err := w.publisher.scanner.Read(c.Path, c.Old)
			if err == nil {
				err = w.stageOne(i, c, content)
			}
			if err != nil {
				return 0, err
			}
		default:
			wanted = append(wanted, c.New)
			places[c.New.Hash] = append(places[c.New.Hash], i)
		}
	}
	err = w.version.Fetch(ctx, wanted, nil, func(e diff.Entry, content []byte) error {
		for _, i := range places[e.Hash] {
			if err := w.stageOne(i, changes[i], content); err != nil {
				return err
			}
			written += int64(len(content))
		}
		return nil
	})
	if err == nil {
		err = w.sync()
	}
	return written, err
}

func (w *sourceWriter) stageOne(i int, c diff.Change, content []byte) error {
	if c.New.Kind == diff.Symlink {
		return w.root.Symlink(string(content), next(i))
	}
	if err := w.root.WriteFile(next(i), content, 0o600); err != nil {
		return err
	}
	return w.dress(c, next(i))
}

// apply makes the changes: what goes away first, from the leaves up. What becomes another kind
// stands until then, so that a publisher finds nothing missing wherever this ends.
func (w *sourceWriter) apply(changes []diff.Change) error {
	for i, c := range slices.Backward(changes) {
		if !c.Deleted() {
			continue
		}
		if err := w.remove(i, c); err != nil {
			return fmt.Errorf("remove %q: %w", c.Path, err)
		}
	}
	for i, c := range changes {
		if c.Deleted() {
			continue
		}
		if err := w.put(i, c); err != nil {
			return fmt.Errorf("write %q: %w", c.Path, err)
		}
	}
	return nil
}

// remove takes away what stands at a path. A directory that holds anything else stays.
func (w *sourceWriter) remove(i int, c diff.Change) error {
	if c.Old.Kind == diff.Directory {
		err := w.root.Remove(c.Path)
		if errors.Is(err, unix.ENOTEMPTY) && c.Deleted() {
			return nil
		}
		return err
	}
	if err := w.keep(c); err != nil {
		return err
	}
	if err := w.rename(c.Path, gone(i), unix.RENAME_NOREPLACE); err != nil {
		return err
	}
	if !w.kepts(c, gone(i)) {
		return errors.Join(edited(), w.rename(gone(i), c.Path, unix.RENAME_NOREPLACE))
	}
	return nil
}

// edited says that somebody has put something else at the path, between the look and the
// change: it stays there.
func edited() error { return fmt.Errorf("%w: it was edited meanwhile", scan.ErrChanged) }

// kepts reports whether what was taken from the path of a change is what keep has kept.
func (w *sourceWriter) kepts(c diff.Change, taken string) bool {
	is, err := w.root.Lstat(taken)
	if err != nil {
		return false
	}
	was, err := w.root.Lstat(path.Join(w.kept, c.Path))
	return err == nil && os.SameFile(is, was)
}

// exchange puts what was staged at the path of a change that has been kept.
//
// RACE: what is renamed to the path between the two exchanges lies in the stage then, and goes
// with it. It takes three versions within microseconds.
func (w *sourceWriter) exchange(i int, c diff.Change) error {
	err := w.rename(next(i), c.Path, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) {
		return w.root.Rename(next(i), c.Path) // Network file systems have no such flags.
	}
	if err != nil {
		return err
	}
	if w.kepts(c, next(i)) {
		return nil
	}
	return errors.Join(edited(), w.rename(next(i), c.Path, unix.RENAME_EXCHANGE))
}

// rename is renameat2(2), of which package os has no flags.
func (w *sourceWriter) rename(from, to string, flags uint) error {
	out, err := w.root.Open(path.Dir(from))
	if err != nil {
		return err
	}
	defer out.Close() //nolint:errcheck // Nothing was written.
	in, err := w.root.Open(path.Dir(to))
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // The same.
	err = unix.Renameat2(int(out.Fd()), path.Base(from), int(in.Fd()), path.Base(to), flags)
	if errors.Is(err, unix.EINVAL) && flags == unix.RENAME_NOREPLACE {
		if _, err := w.root.Lstat(to); err == nil {
			return edited()
		}
		return w.root.Rename(from, to)
	}
	if errors.Is(err, unix.EEXIST) {
		return edited()
	}
	return err
}

// keep gives what stands at a path a second name among what is kept, if it still is what
// was published.
func (w *sourceWriter) keep(c diff.Change) error {
	w.publisher.scanner.Forget() // It is to be read now.
	if _, err := w.publisher.scanner.Read(c.Path, c.Old); err != nil {
		return err
	}
	to := path.Join(w.kept, c.Path)
	if err := w.root.MkdirAll(path.Dir(to), 0o700); err != nil {
		return err
	}
	return w.root.Link(c.Path, to)
}

// put makes what is to stand at the path of a change.
func (w *sourceWriter) put(i int, c diff.Change) error {
	oldDir, newDir := c.Old.Kind == diff.Directory, c.New.Kind == diff.Directory
	switch {
	case c.Created(), oldDir && newDir:
	case oldDir || newDir:
		if err := w.remove(i, c); err != nil {
			return err
		}
	default:
		if err := w.keep(c); err != nil {
			return err
		}
		return w.exchange(i, c)
	}
	if !newDir {
		return w.rename(next(i), c.Path, unix.RENAME_NOREPLACE)
	}
	if err := w.root.Mkdir(c.Path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return w.dress(c, c.Path)
}

// dress gives a file or directory its mode, and the owner of what it replaces, else of the
// directory that it comes into.
func (w *sourceWriter) dress(c diff.Change, name string) error {
	f, err := w.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		uid, gid := w.owner(c.Path)
		err = unix.Fchown(int(f.Fd()), uid, gid)
	}
	if err == nil {
		err = unix.Fchmod(int(f.Fd()), c.New.Mode)
	}
	return errors.Join(err, f.Close())
}

// owner returns the owner of what stands at a path, or else above it.
func (w *sourceWriter) owner(at string) (uid, gid int) {
	for ; ; at = path.Dir(at) {
		if info, err := w.root.Lstat(at); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				return int(st.Uid), int(st.Gid)
			}
		}
		if at == "." {
			return -1, -1
		}
	}
}

// sync makes all that was written durable.
func (w *sourceWriter) sync() error {
	d, err := w.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}
