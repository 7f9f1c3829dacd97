package install

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// Names in the sibling, each with a time of the form of keptTime after it.
const (
	oldPrefix  = "old-"  // trees that were switched out
	gonePrefix = "gone-" // trees that were never switched in
)

const (
	// oldAge is how long an old tree stays at least, for those who still read it.
	oldAge = 10 * time.Second
	// tidyAtOpen is for how long Open removes old trees.
	tidyAtOpen = time.Second
	// tidyLeast is how many entries Tidy removes however little time it has.
	tidyLeast = 64
	// tidyRetry is how long a tree that could not be removed is left alone.
	tidyRetry = time.Minute
)

// oldTree is what a switch has left.
type oldTree struct {
	name    string // in the sibling
	since   time.Time
	journal bool // it was switched out; else it is only to be removed
	// managed is what it held, as far as that was ours.
	managed diff.Tree
	// spared are entries that differ from managed and were kept already.
	spared map[string]node
	dir    *os.File // while it is looked through after the switch
	// notBefore is when it is tried again to remove it.
	notBefore time.Time
}

// retire gives the old tree, after an exchange, its own name.
func (t *Target) retire(o *oldTree) error {
	prefix := gonePrefix
	if o.journal {
		prefix = oldPrefix
	}
	side := int(t.side.Fd())
	for o.since = t.now().UTC(); ; o.since = o.since.Add(1) {
		o.name = prefix + o.since.Format(keptTime)
		err := unix.Renameat2(side, nextName, side, o.name, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return t.fault("rename", t.sideName()+"/"+nextName, err)
		}
		t.olds = append(t.olds, o)
		return nil
	}
}

// clearNext puts away what stands where a tree is to be built: one that was given up,
// or, after a crash, one that has been switched out.
func (t *Target) clearNext() error {
	side := int(t.side.Fd())
	n, err := lstat(side, nextName)
	if err != nil || n.kind == diff.None {
		return err
	}
	path := nextName + "/" + diff.OwnName
	fresh, err := lstat(side, path+"/"+freshName)
	if absent(err) {
		err = nil
	}
	if err != nil {
		return t.fault("look at", t.sideName()+"/"+path, err)
	}
	o := &oldTree{}
	if fresh.kind == diff.None {
		if o.managed, o.journal, err = t.managedIn(nextName); err != nil {
			return err
		}
	}
	return t.retire(o)
}

// managedIn returns what the journal of a tree in the sibling says is managed, and
// whether it has one.
func (t *Target) managedIn(name string) (diff.Tree, bool, error) {
	root, err := t.sideRoot.OpenRoot(name + "/" + diff.OwnName)
	if errors.Is(err, os.ErrNotExist) {
		return diff.Tree{}, false, nil
	}
	if err != nil {
		return diff.Tree{}, false, t.fault("open", t.sideName()+"/"+name, err)
	}
	s, _, err := journal.Read(root)
	_ = root.Close() // It was only read.
	switch {
	case errors.Is(err, journal.ErrNone):
		return diff.Tree{}, false, nil
	case errors.Is(err, journal.ErrDamaged):
		return diff.Tree{}, true, nil // All in it is kept that no other tree has.
	case err != nil:
		return diff.Tree{}, false, t.fault("read", t.sideName()+"/"+name, err)
	}
	return s.Managed, true, nil
}

// findOlds finds what earlier processes have left in the sibling.
func (t *Target) findOlds() error {
	list, err := names(int(t.side.Fd()))
	if err != nil {
		return t.fault("open", t.sideName(), err)
	}
	slices.Sort(list)
	t.olds = nil
	for _, name := range probes() {
		_ = unix.Unlinkat(int(t.side.Fd()), name, unix.AT_REMOVEDIR) // Of one that was killed; else there is none.
	}
	for _, name := range list {
		o := &oldTree{name: name}
		rest, isOld := strings.CutPrefix(name, oldPrefix)
		rest, isGone := strings.CutPrefix(rest, gonePrefix)
		if isOld == isGone {
			continue
		}
		if o.since, err = time.Parse(keptTime, rest); err != nil {
			continue // Not ours.
		}
		if now := t.now(); o.since.After(now) {
			o.since = now // The clock was set back since; it would stay until then.
		}
		if isOld {
			if o.managed, o.journal, err = t.managedIn(name); err != nil {
				return err
			}
		}
		t.olds = append(t.olds, o)
	}
	known := len(t.olds)
	if err := t.clearNext(); err != nil {
		return err
	}
	if len(t.olds) > known {
		return t.settleSwitch() // Perhaps it had come to the exchange.
	}
	return t.notFresh()
}

// Tidy removes, bit by bit and for about the given time, the trees that switches have
// left in the sibling: each at least ten seconds after it was switched out, the newest
// not before the next switch. What was edited in them, and lies nowhere else, is kept.
// It returns when there is more to be done, a negative duration if nothing is. What
// cannot be removed is logged, and tried again a minute later.
func (t *Target) Tidy(budget time.Duration) time.Duration {
	end := time.Now().Add(budget)
	again := time.Duration(-1)
	for _, o := range slices.Clone(t.olds) {
		if o == t.newestOld() {
			continue
		}
		wait := max(o.notBefore.Sub(t.now()), 0)
		if o.journal {
			wait = max(wait, o.since.Add(oldAge).Sub(t.now()))
		}
		if wait == 0 {
			err := t.remove(o, end)
			switch {
			case errors.Is(err, errEnough):
				return 0
			case err != nil:
				t.o.Log.Warn("an old tree could not be removed", "path", t.full(t.sideName()+"/"+o.name), "error", remedied(err))
				wait = tidyRetry
				o.notBefore = t.now().Add(wait)
			default:
				t.olds = slices.DeleteFunc(t.olds, func(other *oldTree) bool { return other == o })
				continue
			}
		}
		if again < 0 || wait < again {
			again = wait
		}
	}
	return again
}

func (t *Target) newestOld() *oldTree {
	for _, o := range slices.Backward(t.olds) {
		if o.journal {
			return o
		}
	}
	return nil
}

// dropOlds removes all old trees now: the target is switched path by path from here on.
func (t *Target) dropOlds() {
	for _, o := range t.olds {
		if err := t.remove(o, time.Now().Add(time.Hour)); err != nil {
			t.o.Log.Warn("an old tree could not be removed", "path", t.full(t.sideName()+"/"+o.name), "error", err)
		}
	}
	t.olds = nil
}

// errEnough says that the time is up.
var errEnough = errors.New("enough for now")

// remove removes an old tree, until the given time.
func (t *Target) remove(o *oldTree, end time.Time) error {
	side := int(t.side.Fd())
	if err := openUp(side, o.name); err != nil {
		return err
	}
	root, err := openat(side, o.name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer closeFD(root)
	l := t.looker(o)
	defer l.close()
	removed := 0
	all := &walker{}
	all.visit = func(dir int, path string, n node) (bool, error) {
		if removed++; removed > tidyLeast && time.Now().After(end) {
			return false, errEnough
		}
		if n.kind == diff.Directory {
			return true, openAll(dir, diff.Base(path))
		}
		if err := l.lookAt(dir, path, n); err != nil {
			return false, err
		}
		return false, l.unlink(dir, path, n)
	}
	all.leave = func(dir int, path string) error {
		return unix.Unlinkat(dir, diff.Base(path), unix.AT_REMOVEDIR)
	}
	err = all.walk(root, "")
	if l.kept != nil {
		t.o.Log.Warn("kept what was edited in an old tree", "path", t.full(t.sideName()+"/"+keptName+"/"+l.kept.name))
		err = errors.Join(err, t.sweepKept(l.kept, true))
	}
	if err != nil {
		return err
	}
	// The journal goes last: it tells what need not be kept.
	if err := t.sideRoot.RemoveAll(o.name); err != nil {
		return err
	}
	return nil
}

// openAll lets an ordinary user read and empty a directory of its own.
func openAll(dir int, name string) error {
	n, err := lstat(dir, name)
	if err != nil || os.Geteuid() == 0 || n.uid != os.Geteuid() || n.mode&0o700 == 0o700 {
		return err
	}
	fd, err := openat(dir, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	return chmodDir(fd, n.mode|0o700)
}

// oldLooker looks for what would be lost with an old tree.
type oldLooker struct {
	t      *Target
	old    *oldTree
	live   *cursor
	kept   *keeper
	shared []string // paths whose file, an edited one, stands in the live tree too
}

func (t *Target) looker(o *oldTree) *oldLooker {
	return &oldLooker{t: t, old: o, live: t.cursor()}
}

func (l *oldLooker) close() { l.live.close() }

// lookAt is look, for a tree that was switched out.
func (l *oldLooker) lookAt(dir int, path string, n node) error {
	if !l.old.journal {
		return nil
	}
	return l.look(dir, path, n)
}

// look keeps the file or symlink n if it is not what was managed there, and stands
// nowhere else.
func (l *oldLooker) look(dir int, path string, n node) error {
	if n.kind != diff.File && n.kind != diff.Symlink {
		return nil
	}
	if spared, ok := l.old.spared[path]; ok && spared.renamed(n) {
		return nil
	}
	shared, err := l.isLive(path, n)
	if err != nil {
		return err
	}
	was, _ := l.old.managed.Get(path)
	if shared {
		if l.old.dir == nil {
			return nil // It is the live tree's business.
		}
		there, err := read(dir, diff.Base(path), n, was)
		if err == nil && (!there.SameContent(was) || !l.t.fits(n, strip(was))) {
			l.shared = append(l.shared, path)
		}
		return err
	}
	there, err := read(dir, diff.Base(path), n, was)
	if err != nil || there.SameContent(was) {
		return err
	}
	return l.keep(dir, path, n)
}

// isLive reports whether n stands in the live tree at the same path.
func (l *oldLooker) isLive(path string, n node) (bool, error) {
	now, err := l.liveAt(path)
	return err == nil && now.kind == n.kind && now.ino == n.ino && now.dev == n.dev, err
}

// liveAt returns what stands in the live tree at path.
func (l *oldLooker) liveAt(path string) (node, error) {
	dir, name, err := l.live.at(path)
	if absent(err) {
		return node{}, nil
	}
	if err != nil {
		return node{}, err
	}
	return lstat(dir, name)
}

// unlink removes the file at path from the old tree. Its ctime in the live tree, if it
// stands there too, is no reason to read it again.
func (l *oldLooker) unlink(dir int, path string, n node) error {
	before, err := l.liveAt(path)
	if err == nil {
		err = unix.Unlinkat(dir, diff.Base(path), 0)
	}
	if err != nil || before.ino != n.ino || before.dev != n.dev {
		return err
	}
	now, err := l.liveAt(path)
	l.t.stamps.relink(path, before, now, l.t.now())
	return err
}

func (l *oldLooker) keep(dir int, path string, n node) error {
	if l.kept == nil {
		l.kept = l.t.keeper()
	}
	st := &step{Change: diff.Change{Path: path}, found: n}
	if err := l.kept.keep(dir, diff.Base(path), st, true); err != nil {
		return fmt.Errorf("keep %q: %w", path, err)
	}
	l.old.spare(path, st.found)
	return l.kept.durable()
}

func (o *oldTree) spare(path string, n node) {
	if o.spared == nil {
		o.spared = map[string]node{}
	}
	o.spared[path] = n
}

// merge returns one keeper for what two have kept.
func merge(a, b *keeper) *keeper {
	if a == nil {
		return b
	}
	a.n += b.count()
	return a
}
