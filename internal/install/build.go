package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

const (
	// nextName is, in the sibling, the tree that is being built; after the exchange, and
	// until it gets its own name, the old one.
	nextName = "next"
	// freshName is a file in the .confsyncd of a tree that was not switched yet.
	freshName = "fresh"
)

// build is the tree that is to take the target's place.
type build struct {
	w    *work
	root *os.File
	own  *os.File // its .confsyncd
	// ownRoot is the same.
	ownRoot *os.Root
	journal *journal.Journal
	from    *cursor // below the target
	to      *cursor // below root
	stage   *stage
	dirs    []directory
	copied  []string // what could not be linked
}

// directory is one that is made, with what it is to be when all is in it.
type directory struct {
	path     string
	mode     uint32
	uid, gid int
}

// build makes the whole tree in the sibling, durably.
func (w *work) build(ctx context.Context, c Contents) (*build, error) {
	b, err := w.buildOnce(ctx, c, false)
	if !errors.Is(err, errNotDurable) {
		return b, err
	}
	w.t.o.Log.Warn("staging again after an error of the disk", "path", w.t.o.Dir, "error", err)
	if err := b.discard(); err != nil {
		return nil, err
	}
	return w.buildOnce(ctx, c, true)
}

// buildOnce is one attempt, whose outcome is to be switched or discarded, also after an
// error. With each, all is made durable one by one.
func (w *work) buildOnce(ctx context.Context, c Contents, each bool) (*build, error) {
	w.result.Bytes = 0
	b := &build{w: w}
	w.t.next = b
	// An error that syncfs is to tell of must not have come before this.
	side, err := openat(int(w.t.side.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return b, w.t.fault("open", w.t.sideName(), err)
	}
	defer closeFD(side)
	if err := b.begin(); err != nil {
		return b, err
	}
	b.stage = &stage{w: w, fd: side, each: each, next: b.to}
	if err := b.takeOver(ctx); err != nil {
		return b, err
	}
	w.t.crash("mid-build")
	if err := b.stage.fill(ctx, c); err != nil {
		return b, err
	}
	kept, err := w.keepAll(each)
	if err != nil {
		return b, err
	}
	for _, st := range w.steps {
		if st.keep {
			w.survey.found[st.Path] = st.found // A link more, or what was kept instead.
		}
	}
	if err := b.finish(); err != nil {
		return b, err
	}
	return b, b.durable(side, kept)
}

// begin makes the root and its .confsyncd.
func (b *build) begin() error {
	t := b.w.t
	if err := t.clearNext(); err != nil {
		return err
	}
	root, err := makeDirAt(int(t.side.Fd()), nextName)
	if err != nil {
		return t.fault("stage", "", err)
	}
	b.root = root
	b.from, b.to = t.cursor(), t.cursorIn(int(root.Fd()))
	if b.own, err = makeDirAt(int(root.Fd()), diff.OwnName); err != nil {
		return t.fault("stage", diff.OwnName, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(b.own.Fd()), &st); err != nil {
		return t.fault("stage", diff.OwnName, err)
	}
	path := filepath.Join(siblingPath(t.path), nextName, diff.OwnName)
	if b.ownRoot, err = openRoot(path, &st); err != nil {
		return err
	}
	fresh, err := openFile(int(b.own.Fd()), freshName, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return t.fault("stage", diff.OwnName, err)
	}
	return fresh.Close()
}

func makeDirAt(dir int, name string) (*os.File, error) {
	if err := mkdirOpen(dir, name); err != nil {
		return nil, err
	}
	return openFile(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// mkdirOpen makes a directory that can be filled, whatever the umask. What it lies in is
// nobody else's.
func mkdirOpen(dir int, name string) error {
	if err := unix.Mkdirat(dir, name, 0o700); err != nil {
		return err
	}
	return unix.Fchmodat(dir, name, 0o700, 0)
}

// takeOver makes all directories, and links or copies what does not change. What is
// written is left to fill.
func (b *build) takeOver(ctx context.Context) error {
	links := b.linker()
	err := b.takeWanted(ctx, links)
	if linked := links.wait(); err == nil {
		err = linked
	}
	if err != nil {
		return err
	}
	for _, c := range links.copies {
		b.w.t.o.Beat()
		if err := b.copyUnlinked(c); err != nil {
			return b.fault(c.path, err)
		}
	}
	// What is left behind lies in what has just been made, or in each other.
	var left []string
	for path := range b.w.survey.carry {
		if _, ok := b.w.want.Get(path); !ok {
			left = append(left, path)
		}
	}
	slices.SortFunc(left, diff.ComparePaths)
	for _, path := range left {
		if err := b.carry(path, b.w.survey.found[path]); err != nil {
			return b.fault(path, err)
		}
	}
	return nil
}

// takeWanted takes over what is wanted, and leaves to links what can be linked.
func (b *build) takeWanted(ctx context.Context, links *linker) error {
	steps := map[string]int{}
	for i, st := range b.w.steps {
		steps[st.Path] = i
	}
	for path, e := range b.w.want.All() {
		b.w.t.o.Beat()
		err := ctx.Err()
		if err != nil || links.over.Load() {
			return err // Why links cannot go on, they tell.
		}
		n, there := links.found(path)
		i, isStep := steps[path]
		switch {
		case isStep && b.w.steps[i].staged() && e.Kind != diff.Directory:
		case b.w.survey.carry[path]:
			err = b.carry(path, n)
		case !there && !isStep: // Missing, and only reported.
		case e.Kind == diff.Directory:
			err = b.mkdir(path, strip(e).Mode, n)
		default:
			links.add(path, strip(e), n)
		}
		if err != nil {
			return b.fault(path, err)
		}
	}
	return nil
}

// fault tells what others did to the target from what stops an apply.
func (b *build) fault(path string, err error) error {
	if errors.Is(err, errRaced) {
		return fmt.Errorf("%q: %w", path, err)
	}
	return b.w.t.fault("stage", path, err)
}

// mkdir makes a directory that belongs to whom the target's options say, or else to
// whom n, which stood there, belonged.
func (b *build) mkdir(path string, mode uint32, n node) error {
	dir, name, err := b.to.at(path)
	if err != nil {
		return err
	}
	if err := mkdirOpen(dir, name); err != nil {
		return err
	}
	uid, gid := b.w.t.owner(n)
	b.dirs = append(b.dirs, directory{path, mode, uid, gid})
	return nil
}

// owner returns who owns a directory that takes the place of n.
func (t *Target) owner(n node) (uid, gid int) {
	uid, gid = t.o.UID, t.o.GID
	if n.kind != diff.Directory || os.Geteuid() != 0 {
		return uid, gid
	}
	if uid < 0 {
		uid = n.uid
	}
	if gid < 0 {
		gid = n.gid
	}
	return uid, gid
}

// finish gives all directories their modes and owners, writes the journal, and notes
// what was written.
func (b *build) finish() error {
	t := b.w.t
	for _, d := range slices.Backward(b.dirs) {
		if err := b.finishDir(d.path, d.uid, d.gid, d.mode); err != nil {
			return t.fault("set mode and owner of", d.path, err)
		}
	}
	here, err := lstat(int(t.dir.Fd()), ".")
	if err != nil {
		return t.fault("look at", "", err)
	}
	uid, gid := here.uid, here.gid
	if os.Geteuid() != 0 {
		uid = -1
	}
	if err := b.finishDir("", uid, gid, here.mode); err != nil {
		return t.fault("set mode and owner of", "", err)
	}
	if err := b.linkJournals(); err != nil {
		return t.fault("stage", diff.OwnName, err)
	}
	s, err := t.State().Become(b.w.pending)
	if err != nil {
		return t.fault("write", diff.OwnName+"/journal", err)
	}
	if b.journal, err = journal.Create(b.ownRoot, s); err != nil {
		return t.fault("write", diff.OwnName+"/journal", err)
	}
	return b.note()
}

func (b *build) finishDir(path string, uid, gid int, mode uint32) error {
	fd, err := b.w.t.openBelow(int(b.root.Fd()), path, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	if err := unix.Fchown(fd, uid, gid); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return err
	}
	if b.stage.each {
		return fsync(fd)
	}
	return nil
}

// linkJournals takes journals along that were set aside.
func (b *build) linkJournals() error {
	list, err := names(int(b.w.t.own.Fd()))
	if err != nil {
		return err
	}
	for _, name := range list {
		if name == "journal" || name == "journal.new" || !ofJournal(name) {
			continue
		}
		if err := unix.Linkat(int(b.w.t.own.Fd()), name, int(b.own.Fd()), name, 0); err != nil {
			return err
		}
	}
	return nil
}

// note remembers what the written files hold.
func (b *build) note() error {
	seen := time.Now()
	for _, st := range b.w.steps {
		if !st.staged() || !st.New.HasContent() {
			continue
		}
		dir, name, err := b.to.at(st.Path)
		if err != nil {
			return b.w.t.fault("stage", st.Path, err)
		}
		n, err := lstat(dir, name)
		if err != nil {
			return b.w.t.fault("stage", st.Path, err)
		}
		b.w.t.stamps.note(st.Path, n, st.New.Hash, seen)
	}
	return nil
}

// durable makes the whole tree, and what was kept, durable.
func (b *build) durable(side int, kept *keeper) error {
	err := func() error {
		if !b.stage.each || kept.unsynced() {
			return syncfs(side)
		}
		return errors.Join(kept.syncDirs(), fsync(int(b.own.Fd())), fsync(int(b.root.Fd())), fsync(side))
	}()
	if err != nil {
		return b.w.t.fault("make durable", b.w.t.sideName(), fmt.Errorf("%w: %w", errNotDurable, err))
	}
	return nil
}

// close closes what was opened, unless the target has taken it.
func (b *build) close() error {
	var errs []error
	b.w.t.next = nil
	if b.from != nil {
		b.from.close()
		b.to.close()
	}
	if b.journal != nil {
		errs = append(errs, b.journal.Close())
	}
	if b.ownRoot != nil {
		errs = append(errs, b.ownRoot.Close())
	}
	for _, f := range []*os.File{b.own, b.root} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// discard gives the tree up.
func (b *build) discard() error { return errors.Join(b.close(), b.w.t.clearNext()) }
