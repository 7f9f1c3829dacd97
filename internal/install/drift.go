package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// Deviation is in what a path differs from the journal, in one word.
type Deviation string

// The deviations, in the order in which they are looked for: a path shows the first.
const (
	Missing    Deviation = "missing"
	OtherKind  Deviation = "kind"
	OtherBytes Deviation = "content"
	OtherMode  Deviation = "mode"
	OtherOwner Deviation = "owner"
	// Unreadable says that it cannot be told what the path holds.
	Unreadable Deviation = "unreadable"
	// Mounted says that another file system hides the path. It is never repaired.
	Mounted Deviation = "mounted"
)

// Drifted is a managed path that is not what the journal says.
type Drifted struct {
	Path string
	Want diff.Entry
	// Found is what stands there. Its Kind is None if nothing does; its Hash is zero
	// if it was not needed, or could not be read.
	Found diff.Entry
	What  Deviation
	// Why says it in words: "mode 0600, not 0644". It never holds contents.
	Why string
	// Changed is when what stands there changed last, by the times that it carries; zero
	// if nothing does.
	Changed time.Time
	// Busy says that the file is open for writing, or, where that cannot be told,
	// that it changed a moment ago.
	Busy bool
}

// String returns path and reason.
func (d Drifted) String() string { return fmt.Sprintf("%q: %s", d.Path, d.Why) }

// NeedsContent reports whether the path cannot be put right with what stands there.
func (d Drifted) NeedsContent() bool {
	return d.Want.HasContent() && d.What != OtherMode && d.What != OtherOwner
}

// Where is what of a target is looked at; the zero Where is everything.
type Where struct {
	// Dirs are looked at with what lies in them. One that ends with a slash stands for all
	// below it too.
	Dirs []string
	// Paths are looked at with the directories that they lie in, and not what else does.
	Paths []string
}

func (w Where) everywhere() bool { return w.Dirs == nil && w.Paths == nil }

// Drift compares what the journal says is managed with the disk, in path order. Where a
// directory is missing, so is all below it. Contents are read where they are
// not known since an earlier look, by this process or one before it (see Read); with deep, always. What is not managed is never
// read. A journal that others deleted is brought back. It returns an error that wraps
// ErrGone, or the context's.
func (t *Target) Drift(ctx context.Context, where Where, deep bool) ([]Drifted, error) {
	if err := t.identity(); err != nil {
		return nil, err
	}
	if t.journal != nil {
		if err := t.journal.Mend(); err != nil {
			return nil, t.fault("write", diff.OwnName+"/journal", err)
		}
	}
	managed := t.State().Managed
	if where.everywhere() {
		return t.driftAnywhere(ctx, managed, deep)
	}
	l := &looker{t: t, c: t.cursor(), deep: deep}
	defer l.c.close()
	dirs := slices.Clone(where.Dirs)
	slices.SortFunc(dirs, diff.ComparePaths)
	for _, dir := range slices.Compact(dirs) {
		dir, deeper := strings.CutSuffix(dir, "/")
		if err := l.directory(ctx, dir, deeper, managed); err != nil {
			return nil, err
		}
	}
	for _, path := range where.Paths {
		if err := l.path(ctx, path, managed); err != nil {
			return nil, err
		}
	}
	l.sort()
	l.found = slices.CompactFunc(l.found, func(a, b Drifted) bool { return a.Path == b.Path })
	return l.found, nil
}

// lookBatch is how many paths one goroutine looks at a time.
const lookBatch = 512

// driftAnywhere is Drift of all that is managed. By stamps it is done by as many goroutines as
// there are workers, since somebody may wait for it; contents that are known already are read
// by one alone.
func (t *Target) driftAnywhere(ctx context.Context, managed diff.Tree, deep bool) ([]Drifted, error) {
	begin := t.now()
	t.stamps.keep(managed)
	g, group := errgroup.WithContext(ctx)
	if g.SetLimit(workers()); deep {
		g.SetLimit(1)
	}
	var mu sync.Mutex // guards all.found, and while the group is at work the stamps and Beat
	all := &looker{t: t}
	batch := make([]looking, 0, lookBatch)
	flush := func() {
		list := batch
		batch = make([]looking, 0, lookBatch)
		g.Go(func() error {
			l := &looker{t: t, c: t.cursor(), deep: deep, shared: &mu}
			defer l.c.close()
			err := l.batch(group, list)
			mu.Lock()
			defer mu.Unlock()
			all.found = append(all.found, l.found...)
			return err
		})
	}
	for path, e := range managed.All() {
		if batch = append(batch, looking{path, e}); len(batch) == lookBatch {
			flush()
		}
		if group.Err() != nil {
			break
		}
	}
	flush()
	if err := cmp.Or(g.Wait(), ctx.Err()); err != nil {
		return nil, err
	}
	all.sort()
	if deep {
		t.stamps.complete, t.stamps.learned = begin, true
	}
	return all.found, nil
}

// looking is a path that is to be looked at, and what should stand there.
type looking struct {
	path string
	want diff.Entry
}

// looker compares managed paths with the disk.
type looker struct {
	t     *Target
	c     *cursor
	deep  bool
	each  func(path string, bytes int64) // told of every path, if set
	found []Drifted
	// shared guards the target's stamps and Beat, if several goroutines look at a time.
	shared *sync.Mutex
}

// alone does something that one goroutine may do at a time.
func (l *looker) alone(do func()) {
	if l.shared != nil {
		l.shared.Lock()
		defer l.shared.Unlock()
	}
	do()
}

func (l *looker) sort() {
	slices.SortFunc(l.found, func(a, b Drifted) int { return diff.ComparePaths(a.Path, b.Path) })
}

// batch looks at paths, which are in order.
func (l *looker) batch(ctx context.Context, list []looking) error {
	for _, at := range list {
		_, err := l.look(at.path, at.want)
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// directory looks at one directory and at what lies in it, or below it too.
func (l *looker) directory(ctx context.Context, dir string, deeper bool, managed diff.Tree) error {
	d, ok := managed.Dir(dir)
	if !ok {
		return nil
	}
	if dir != "" {
		e, _ := managed.Get(dir)
		if gone, err := l.look(dir, e); err != nil || gone {
			return errors.Join(err, l.below(ctx, dir, d))
		}
	}
	for child := range d.Children() {
		path := diff.Join(dir, child.Name)
		gone, err := l.look(path, child.Entry)
		if err == nil && (gone || deeper) && child.Dir != nil {
			err = l.below(ctx, path, child.Dir)
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// path looks at one path and at the directory that it lies in. Where a directory is to stand
// there, all in that one is looked at.
func (l *looker) path(ctx context.Context, path string, managed diff.Tree) error {
	parent := diff.Parent(path)
	e, ok := managed.Get(path)
	if !ok || e.Kind == diff.Directory {
		return l.directory(ctx, parent, false, managed)
	}
	if parent != "" {
		in, _ := managed.Get(parent)
		if gone, err := l.look(parent, in); err != nil || gone {
			d, _ := managed.Dir(parent)
			return errors.Join(err, l.below(ctx, parent, d))
		}
	}
	_, err := l.look(path, e)
	return err
}

// below looks at everything below a directory.
func (l *looker) below(ctx context.Context, dir string, d *diff.Dir) error {
	for child := range d.Children() {
		path := diff.Join(dir, child.Name)
		_, err := l.look(path, child.Entry)
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if err := l.below(ctx, path, child.Dir); err != nil {
			return err
		}
	}
	return nil
}

// look compares one path. It reports whether no directory stands there, so that nothing
// managed can lie below.
func (l *looker) look(path string, want diff.Entry) (gone bool, err error) {
	l.alone(l.t.o.Beat)
	d := Drifted{Path: path, Want: want}
	n, err := l.compare(&d)
	if err != nil && d.What == "" {
		d.What, d.Why = unreachable(err)
	}
	if l.each != nil {
		l.each(path, n.size)
	}
	if d.What != "" {
		l.found = append(l.found, d)
	}
	return n.kind != diff.Directory, nil
}

// unreachable says what an error of looking at a path means for it.
func unreachable(err error) (Deviation, string) {
	if errors.Is(err, unix.EXDEV) {
		return Mounted, "another file system is mounted over it; unmount that, or leave the path out of the selection"
	}
	why := fmt.Sprintf("cannot be looked at: %v", err)
	if r := remedy(err); r != "" {
		why += "; " + r
	}
	return Unreadable, why
}

// compare fills in how a path differs, and returns what stands there.
func (l *looker) compare(d *Drifted) (node, error) {
	dir, name, err := l.c.at(d.Path)
	if absent(err) {
		d.What, d.Why = Missing, "missing, with the directory that it lies in"
		return node{}, nil
	}
	if err != nil {
		return node{}, err
	}
	seen := l.t.now()
	n, err := lstat(dir, name)
	if err != nil {
		return n, err
	}
	d.Found = diff.Entry{Kind: n.kind, Mode: n.mode, Size: n.size}
	if n.kind != diff.None {
		d.Changed = time.Unix(0, max(n.mtime.Nano(), n.ctime.Nano()))
	}
	switch n.kind {
	case diff.Directory:
		d.Found.Size = 0
	case diff.Symlink:
		d.Found.Mode = 0
	}
	switch {
	case n.kind == diff.None:
		d.Found, d.What, d.Why = diff.Entry{}, Missing, "missing"
	case n.kind == diff.Directory && n.dev != l.t.dev:
		return n, unix.EXDEV
	case n.kind != d.Want.Kind:
		d.What, d.Why = OtherKind, fmt.Sprintf("a %s, not a %v", n.describe(), d.Want.Kind)
	case d.Want.HasContent():
		if err := l.content(dir, name, n, d, seen); err != nil {
			return n, err
		}
	}
	if d.What == "" {
		l.t.unfit(n, d)
	}
	if d.What != "" && n.kind != diff.None && mounted(dir, name) {
		d.What = ""
		return n, unix.EXDEV
	}
	if d.What != "" && n.kind == diff.File {
		d.Busy = d.Busy || busy(dir, name, n, l.t.now())
	}
	return n, nil
}

// content compares what a file or symlink holds, which was seen at the given time.
func (l *looker) content(dir int, name string, n node, d *Drifted, seen time.Time) error {
	if n.size != d.Want.Size {
		d.What, d.Why = OtherBytes, fmt.Sprintf("other content, %d bytes, not %d", n.size, d.Want.Size)
		return nil
	}
	var hash diff.Hash
	var known bool
	l.alone(func() { hash, known = l.t.stamps.hash(d.Path, n, seen) })
	if !known || l.deep {
		var err error
		if n.kind == diff.Symlink {
			hash, err = hashLink(dir, name)
		} else {
			hash, err = hashFile(dir, name, n)
		}
		if errors.Is(err, unix.EACCES) && ownUnreadable(n) && l.t.fits(n, d.Want) {
			// Its owner must not read it: its size has to do.
			d.Found.Hash = d.Want.Hash
			return nil
		}
		if err != nil {
			l.alone(func() { l.t.stamps.doubt(d.Path) })
			return err
		}
		if !hash.IsZero() {
			l.alone(func() { l.t.stamps.note(d.Path, n, hash, seen) })
		}
	}
	d.Found.Hash = hash
	if hash != d.Want.Hash {
		d.What, d.Why = OtherBytes, fmt.Sprintf("other content, %d bytes like the published", n.size)
		d.Busy = hash.IsZero() // It changed while it was read.
	}
	return nil
}

// unfit compares mode and owner.
func (t *Target) unfit(n node, d *Drifted) {
	switch {
	case t.fits(n, d.Want):
	case d.Want.Kind != diff.Symlink && n.mode != d.Want.Mode:
		d.What, d.Why = OtherMode, fmt.Sprintf("mode %04o, not %04o", n.mode, d.Want.Mode)
	default:
		want := func(id, found int) int {
			if id < 0 {
				return found
			}
			return id
		}
		d.What = OtherOwner
		d.Why = fmt.Sprintf("owner %d:%d, not %d:%d", n.uid, n.gid, want(t.o.UID, n.uid), want(t.o.GID, n.gid))
	}
}
