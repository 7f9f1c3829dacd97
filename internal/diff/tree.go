package diff

import (
	"iter"
	"slices"
	"strings"
)

// Tree is an immutable set of entries by path. The zero Tree is empty. Its root
// directory is no entry: it has no mode.
type Tree struct {
	root *Dir
}

// Dir is one immutable directory of a tree, with all that lies below it.
type Dir struct {
	children []Child // sorted by name
	digest   Hash
	count    int // entries here and below
}

// Child is one name in a directory.
type Child struct {
	Name  string
	Entry Entry
	// Dir is what lies below; set exactly if the entry is a directory.
	Dir *Dir
}

// NewDir returns the directory that holds children, which are sorted by name in
// place. A child that is a directory and has a nil Dir is empty. Names must be
// valid and unique; New callers that cannot know that use Tree.With.
func NewDir(children []Child) *Dir {
	slices.SortFunc(children, func(a, b Child) int { return strings.Compare(a.Name, b.Name) })
	return newDir(children)
}

// newDir is NewDir of children that are sorted.
func newDir(children []Child) *Dir {
	d := &Dir{children: children, count: len(children)}
	for i := range children {
		c := &children[i]
		if c.Entry.Kind == Directory && c.Dir == nil {
			c.Dir = newDir(nil)
		}
		if c.Dir != nil {
			d.count += c.Dir.count
		}
	}
	d.digest = digest(children)
	return d
}

// NewTree returns the tree with the given root; nil is the empty tree.
func NewTree(root *Dir) Tree { return Tree{root: root} }

// Root returns the root directory. It is never nil.
func (t Tree) Root() *Dir {
	if t.root == nil {
		return NewDir(nil)
	}
	return t.root
}

// Len returns the number of entries.
func (t Tree) Len() int {
	if t.root == nil {
		return 0
	}
	return t.root.count
}

// Digest returns the tree's Merkle digest: equal digests mean equal trees.
func (t Tree) Digest() Hash { return t.Root().digest }

// Get returns the entry at path.
func (t Tree) Get(path string) (Entry, bool) {
	c, ok := t.Child(path)
	return c.Entry, ok
}

// Child returns what stands at path, with all that lies below it.
func (t Tree) Child(path string) (Child, bool) {
	d := t.root
	for {
		name, rest, deeper := strings.Cut(path, "/")
		c, ok := d.Child(name)
		if !ok || !deeper {
			return c, ok
		}
		d, path = c.Dir, rest
	}
}

// Dir returns the directory at path; "" is the root.
func (t Tree) Dir(path string) (*Dir, bool) {
	if path == "" {
		return t.Root(), true
	}
	c, ok := t.Child(path)
	return c.Dir, ok && c.Dir != nil
}

// Child returns the child of that name. A nil Dir has none.
func (d *Dir) Child(name string) (Child, bool) {
	if d == nil {
		return Child{}, false
	}
	i, ok := slices.BinarySearchFunc(d.children, name, func(c Child, n string) int { return strings.Compare(c.Name, n) })
	if !ok {
		return Child{}, false
	}
	return d.children[i], true
}

// Children yields the directory's own children, sorted by name.
func (d *Dir) Children() iter.Seq[Child] {
	return func(yield func(Child) bool) {
		if d == nil {
			return
		}
		for _, c := range d.children {
			if !yield(c) {
				return
			}
		}
	}
}

// List returns the directory's own children, sorted by name. They are not to be changed.
func (d *Dir) List() []Child {
	if d == nil {
		return nil
	}
	return d.children
}

// Count returns the number of entries in the directory and below.
func (d *Dir) Count() int {
	if d == nil {
		return 0
	}
	return d.count
}

// All yields every path and its entry in the order of ComparePaths: each directory
// before what it holds.
func (t Tree) All() iter.Seq2[string, Entry] {
	return func(yield func(string, Entry) bool) {
		t.root.walk("", yield)
	}
}

func (d *Dir) walk(at string, yield func(string, Entry) bool) bool {
	if d == nil {
		return true
	}
	for _, c := range d.children {
		p := Join(at, c.Name)
		if !yield(p, c.Entry) || !c.Dir.walk(p, yield) {
			return false
		}
	}
	return true
}
