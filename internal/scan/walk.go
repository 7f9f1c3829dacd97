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

// set makes children the directory's tree, which stays the same if they are, or becomes the
// committed one if they are that: then it is in memory once.
func (d *directory) set(children []diff.Child, committed *diff.Dir) {
	switch {
	case d.tree != nil && holds(d.tree, children):
	case committed != nil && holds(committed, children):
		d.tree = committed
	default:
		d.tree = diff.NewDir(children)
	}
}

// holds reports whether children, sorted by name, are all that the tree's top holds.
func holds(tree *diff.Dir, children []diff.Child) bool {
	i := 0
	for c := range tree.Children() {
		if i == len(children) || children[i] != c {
			return false
		}
		i++
	}
	return i == len(children)
}

// here is the directory that is being looked at.
type here struct {
	fd        int
	mount     uint64 // see mountOf
	path      string
	known     *directory
	committed *diff.Dir // nil if none was committed
}

// listing is what one look at a directory gathers, in the order of names.
type listing struct {
	children []diff.Child
	files    []record
	subs     map[string]*directory
	next     int // where in the directory's known files the next name is likely to be
}

// known returns what is known of a file; nil if that is nothing. Names that are asked for in
// order are not searched for.
func (l *listing) known(in *directory, name string) *record {
	if l.next >= len(in.files) || in.files[l.next].name != name {
		i, ok := slices.BinarySearchFunc(in.files, name, compareRecord)
		if l.next = i; !ok {
			return nil
		}
	}
	l.next++
	return &in.files[l.next-1]
}

// append adds what the next names of the directory have; parts is how many such lots there
// are.
func (l *listing) append(next listing, parts int) {
	if l.children == nil {
		l.children = make([]diff.Child, 0, parts*stretch)
		l.files = make([]record, 0, len(next.files)*parts)
	}
	l.children = append(l.children, next.children...)
	l.files = append(l.files, next.files...)
	for name, d := range next.subs {
		l.keep(name, d)
	}
}

// has reports whether the name that was looked at last was added.
func (l *listing) has(name string) bool {
	return len(l.children) > 0 && l.children[len(l.children)-1].Name == name
}

func (l *listing) addDir(child diff.Child, d *directory) {
	l.children = append(l.children, child)
	l.keep(child.Name, d)
}

func (l *listing) keep(name string, d *directory) {
	if l.subs == nil {
		l.subs = make(map[string]*directory)
	}
	l.subs[name] = d
}

func (l *listing) addRecord(r record, e diff.Entry) {
	l.children = append(l.children, diff.Child{Name: r.name, Entry: e})
	l.files = append(l.files, r)
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
			in.known.files = w.recalled.records(in.path, w.rootID())
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

// through passes through a directory that itself is unchanged, to those below it
// that are not. It returns false if one of these is not what it was: then this
// directory must be looked at.
func (w *walk) through(in here, want *dirty) (bool, error) {
	children := slices.Collect(in.known.tree.Children())
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
		i, _ := slices.BinarySearchFunc(children, name, func(c diff.Child, n string) int { return strings.Compare(c.Name, n) })
		children[i] = w.dirChild(name, st.Mode, sub)
	}
	in.known.set(children, in.committed)
	return true, nil
}

// look lists a directory and looks at each name in it.
func (w *walk) look(in here, want *dirty) error {
	names, err := w.names(in)
	if err != nil {
		return err
	}
	saving := w.saving(in, names)
	next, err := w.share(merge(names, saving), func(w *walk, names []string) (listing, error) {
		return w.children(in, names, saving, want)
	})
	if err != nil {
		return err
	}
	in.known.set(next.children, in.committed)
	in.known.files, in.known.subs, in.known.stale = next.files, next.subs, false
	return nil
}

// children looks at some names in a directory. Those in saving stand for files that an
// editor has moved aside.
func (w *walk) children(in here, names, saving []string, want *dirty) (listing, error) {
	next := listing{
		children: make([]diff.Child, 0, len(names)),
		files:    make([]record, 0, len(names)),
	}
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
			next.files = append(next.files, rec) // Its inode tells it apart the next time too.
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
		rec, err = w.file(in, name, next.known(in.known, name), st)
	case unix.S_IFLNK:
		rec, err = w.symlink(in, name, next.known(in.known, name), st)
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
		next.children = append(next.children, c)
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
