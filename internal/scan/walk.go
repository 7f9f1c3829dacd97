package scan

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// attempts is how often something that changes under our eyes is looked at.
const attempts = 3

// directory is what the scanner knows of one directory from its last look.
type directory struct {
	dev, ino uint64
	mount    bool // another mount than that of the directory that it lies in
	stale    bool // not looked at yet, or held since: look at all of it
	tree     *diff.Dir
	files    []record // sorted by name
	subs     map[string]*directory
}

func (d *directory) is(st *unix.Stat_t) bool { return d.dev == st.Dev && d.ino == st.Ino }

func (d *directory) record(name string) (record, bool) {
	i, ok := slices.BinarySearchFunc(d.files, name, compareRecord)
	if !ok {
		return record{}, false
	}
	return d.files[i], true
}

// set makes children, which began as one of like, the directory's tree.
func (d *directory) set(children *likely[diff.Child], like *diff.Dir) {
	if children.own == nil && like != nil && children.same == len(children.known) {
		d.tree = like
		return
	}
	if children.own == nil {
		children.own = slices.Clone(children.list())
	}
	d.tree = diff.NewDir(children.own)
}

// here is the directory that is being looked at.
type here struct {
	fd        int
	mount     uint64 // see mountOf
	path      string
	known     *directory
	committed *diff.Dir // nil if none was committed
}

// like returns what the directory most probably still holds: what it held, or what was
// committed. Then both are in memory once.
func (h here) like() *diff.Dir {
	if h.known.tree != nil {
		return h.known.tree
	}
	return h.committed
}

// listing is what one look at a directory gathers, in the order of names.
type listing struct {
	children likely[diff.Child]
	files    likely[record]
	subs     map[string]*directory
}

// listing returns an empty one for some of a directory's names, which follow each other.
func (h here) listing(names []string) (l listing) {
	l.children.known, l.files.known = h.like().List(), h.known.files
	l.children.about, l.files.about = len(names), len(names)
	if len(names) > 0 {
		l.children.from, _ = slices.BinarySearchFunc(l.children.known, names[0], compareChild)
		l.files.from, _ = slices.BinarySearchFunc(l.files.known, names[0], compareRecord)
	}
	return l
}

func compareChild(c diff.Child, name string) int { return strings.Compare(c.Name, name) }

// record returns what is known of the file of that name; nil if that is nothing. The one
// that comes next is not searched for.
func (l *listing) record(name string) *record {
	known := l.files.known
	if i := l.files.from + l.files.same; i < len(known) && known[i].name == name {
		return &known[i]
	}
	i, ok := slices.BinarySearchFunc(known, name, compareRecord)
	if !ok {
		return nil
	}
	return &known[i]
}

// follow adds what the next names of the directory have.
func (l *listing) follow(next listing) {
	l.children.follow(&next.children)
	l.files.follow(&next.files)
	for name, d := range next.subs {
		l.keep(name, d)
	}
}

// has reports whether the name that was looked at last was added.
func (l *listing) has(name string) bool {
	children := l.children.list()
	return len(children) > 0 && children[len(children)-1].Name == name
}

func (l *listing) addDir(child diff.Child, d *directory) {
	l.children.add(child)
	l.keep(child.Name, d)
}

func (l *listing) keep(name string, d *directory) {
	if l.subs == nil {
		l.subs = make(map[string]*directory)
	}
	l.subs[name] = d
}

func (l *listing) addRecord(r record, e diff.Entry) {
	l.children.add(diff.Child{Name: r.name, Entry: e})
	l.files.add(r)
}

// dirChild returns a directory as the tree carries it.
func (s *Scanner) dirChild(name string, mode uint32, d *directory) diff.Child {
	return diff.Child{Name: name, Entry: diff.Entry{Kind: diff.Directory, Mode: s.mode(mode)}, Dir: d.tree}
}

// entry returns a file or symlink as the tree carries it.
func (s *Scanner) entry(r record) diff.Entry {
	e := diff.Entry{Kind: diff.Symlink, Size: r.stamp.size, Hash: r.hash}
	if r.stamp.mode&unix.S_IFMT != unix.S_IFLNK {
		e.Kind, e.Mode = diff.File, s.mode(r.stamp.mode)
	}
	return e
}

// mode returns the bits that the tree carries of the mode of a file or directory.
func (s *Scanner) mode(found uint32) uint32 {
	switch {
	case !s.options.GitModes:
		return found & diff.ModeBits
	case found&unix.S_IFMT == unix.S_IFDIR, found&unix.S_IXUSR != 0:
		return 0o755
	}
	return 0o644
}

// walk is one scan under way, or what one goroutine does of it.
type walk struct {
	*Scanner
	*tools
	ctx       context.Context
	found     []Held
	settling  map[string]sighting // the next Scanner.unsettled
	unleased  bool                // some file could not be leased
	read      int
	readBytes int64
}

// visit brings one directory up to date. It returns the context's error, or errMoved
// or an *obstacle if the directory cannot be listed; nothing is held below it then.
func (w *walk) visit(in here, want *dirty) error {
	switch {
	case in.known.stale:
		want = &dirty{self: true, deep: true}
		if in.known.tree == nil {
			in.known.files = w.recalledIn(in.path)
		}
	case want == nil:
		want = &dirty{self: true}
	}
	if !want.self && !want.deep {
		mark := len(w.found)
		done, err := w.through(in, want)
		if done || err != nil {
			return err
		}
		w.found = w.found[:mark]
	}
	return w.look(in, want)
}

// through passes through a directory that itself is unchanged but for some names, to those
// below it that are not. It returns false if one of these is not what it was: then this
// directory must be looked at.
func (w *walk) through(in here, want *dirty) (bool, error) {
	children := likely[diff.Child]{known: in.known.tree.List(), same: len(in.known.tree.List())}
	for name, below := range want.below {
		sub := in.known.subs[name]
		if sub == nil || sub.stale {
			return false, nil
		}
		fd, st, err := openDir(in.fd, name)
		if err != nil {
			return false, nil
		}
		err = errMoved
		if sub.is(&st) {
			err = w.visit(in.sub(fd, mountOf(fd, st.Dev), name, sub), below)
		}
		shut(fd)
		if err != nil {
			return false, w.ctx.Err()
		}
		i, _ := slices.BinarySearchFunc(children.known, name, compareChild)
		children.replace(i, w.dirChild(name, st.Mode, sub))
	}
	files := likely[record]{known: in.known.files, same: len(in.known.files)}
	for _, name := range want.names {
		if ok, err := w.again(in, name, &children, &files); !ok {
			return false, err
		}
	}
	in.known.set(&children, in.known.tree)
	in.known.files = files.list()
	return true, nil
}

// again looks at one name in a directory that is known. It returns false if what stands
// there, or does not, may concern other names: a file that is gone may have been renamed,
// and one with several names may have another one here.
func (w *walk) again(in here, name string, children *likely[diff.Child], files *likely[record]) (bool, error) {
	i, known := slices.BinarySearchFunc(files.known, name, compareRecord)
	child, listed := slices.BinarySearchFunc(children.known, name, compareChild)
	var st unix.Stat_t
	err := lstat(in.fd, name, &st)
	if errors.Is(err, unix.ENOENT) && !known && !listed {
		_, committed := in.committed.Child(name)
		return !committed, nil
	}
	// What is written through one name of a file raises no event for its others.
	if err != nil || !known || !listed || st.Nlink > 1 {
		return false, nil
	}
	was := files.list()[i]
	var now record
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		now, err = w.file(in, name, &was, &st)
	case unix.S_IFLNK:
		now, err = w.symlink(in, name, &was, &st)
	default:
		return false, nil
	}
	if err != nil {
		return false, w.ctx.Err()
	}
	files.replace(i, now)
	children.replace(child, diff.Child{Name: name, Entry: w.entry(now)})
	return true, nil
}

// look lists a directory and looks at each name in it.
func (w *walk) look(in here, want *dirty) error {
	names, err := w.names(in)
	if err != nil {
		return err
	}
	saving := w.saving(in, names)
	next, err := w.share(in, merge(names, saving), func(w *walk, names []string) (listing, error) {
		return w.children(in, names, saving, want)
	})
	if err != nil {
		return err
	}
	in.known.set(&next.children, in.like())
	in.known.files, in.known.subs, in.known.stale = next.files.list(), next.subs, false
	return nil
}

// children looks at some names in a directory. Those in saving stand for files that an
// editor has moved aside.
func (w *walk) children(in here, names, saving []string, want *dirty) (listing, error) {
	next := in.listing(names)
	w.options.Beat()
	for _, name := range names {
		if err := w.ctx.Err(); err != nil {
			return next, err
		}
		err := w.child(&next, in, name, want.at(name))
		if len(saving) == 0 && err == nil {
			continue
		}
		if _, is := slices.BinarySearch(saving, name); is && err == nil && !next.has(name) {
			rec, _ := in.known.record(name)
			next.files.add(rec) // Its inode tells it apart the next time too.
			err = &obstacle{reason: Saving}
		}
		var o *obstacle
		if errors.As(err, &o) {
			w.hold(&next, in, name, o)
		} else if err != nil {
			return next, err
		}
	}
	return next, nil
}

// child adds what stands at one name. It returns the context's error, or an
// *obstacle if the path is to be held.
func (w *walk) child(next *listing, in here, name string, want *dirty) error {
	var st unix.Stat_t
	for range attempts {
		err := lstat(in.fd, name, &st)
		// What cannot be told may be a directory.
		if errors.Is(err, unix.ENOENT) || w.rules.matchIn(in.path, name, err != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR) {
			return nil
		}
		if err != nil {
			return &obstacle{Unreadable, err}
		}
		if err := checkPath(in.path, name); err != nil {
			return &obstacle{BadPath, err}
		}
		if err := w.take(next, in, name, &st, want); !errors.Is(err, errMoved) {
			return err
		}
	}
	return &obstacle{reason: Vanishing}
}

// checkPath is diff.CheckPath for a name in a directory whose path is valid.
func checkPath(dir, name string) error {
	if len(dir)+1+len(name) > diff.MaxPath {
		return diff.CheckPath(diff.Join(dir, name))
	}
	return diff.CheckName(name)
}

// take adds what lstat found at one name, by its kind.
func (w *walk) take(next *listing, in here, name string, st *unix.Stat_t, want *dirty) error {
	var rec record
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return w.subdir(next, in, name, st, want)
	case unix.S_IFREG:
		rec, err = w.file(in, name, next.record(name), st)
	case unix.S_IFLNK:
		rec, err = w.symlink(in, name, next.record(name), st)
	default:
		return &obstacle{reason: Unsupported}
	}
	if err == nil {
		next.addRecord(rec, w.entry(rec))
	}
	return err
}

// subdir adds a directory: as it is known if nothing says that it changed.
func (w *walk) subdir(next *listing, in here, name string, st *unix.Stat_t, want *dirty) error {
	known := in.known.subs[name]
	if known != nil && want == nil && !known.stale && known.is(st) {
		next.addDir(w.dirChild(name, st.Mode, known), known)
		return nil
	}
	fd, now, err := openDir(in.fd, name)
	var mount uint64
	if err == nil {
		defer shut(fd)
		mount = mountOf(fd, now.Dev)
		known, err = identify(known, &now, mount != in.mount)
	}
	if err == nil {
		err = w.visit(in.sub(fd, mount, name, known), want)
	}
	if err != nil {
		if known != nil {
			// It is known again, and its mount is, should it come back as it was.
			known.stale = true
			next.keep(name, known)
		}
		return err
	}
	next.addDir(w.dirChild(name, now.Mode, known), known)
	return nil
}

// identify returns what is known of the directory that was opened: nothing if it is
// another one. If a mount took its entries out of sight, it returns the *obstacle
// Remounted, and what was known.
func identify(known *directory, st *unix.Stat_t, mount bool) (*directory, error) {
	switch {
	case known == nil:
	case known.is(st):
		known.mount = mount // The same directory may be mounted over itself.
		return known, nil
	case known.mount != mount && known.tree.Count() > 0:
		return known, &obstacle{reason: Remounted}
	}
	return &directory{dev: st.Dev, ino: st.Ino, mount: mount, stale: true}, nil
}

// hold keeps at a name what is committed there, if anything, and reports it.
func (w *walk) hold(next *listing, in here, name string, o *obstacle) {
	if c, ok := in.committed.Child(name); ok {
		next.children.add(c)
	}
	path := diff.Join(in.path, name)
	h := Held{Path: path, Reason: o.reason, Err: o.err, Since: w.now()}
	if old, ok := w.holding(path); ok && old.Reason == o.reason {
		h.Since = old.Since
	}
	w.found = append(w.found, h)
}

// sub returns the place of a subdirectory.
func (h here) sub(fd int, mount uint64, name string, known *directory) here {
	c, _ := h.committed.Child(name)
	return here{fd: fd, mount: mount, path: diff.Join(h.path, name), known: known, committed: c.Dir}
}
