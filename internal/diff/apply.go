package diff

import (
	"fmt"
	"slices"
	"strings"
)

// With returns the tree that the changes lead to. Only Path and New of each change
// count: New is what stands there afterwards, nothing if it is zero. The changes
// may come in any order; they are sorted in place.
//
// It returns an error that wraps ErrPath or ErrEntry if a change is malformed, and
// ErrMismatch if a path comes twice, a deletion names what is not there, or the
// outcome would have something below what is no directory. The tree itself never
// changes.
func (t Tree) With(changes []Change) (Tree, error) {
	for _, c := range changes {
		if err := CheckPath(c.Path); err != nil {
			return Tree{}, err
		}
		if c.Deleted() {
			continue
		}
		if err := c.New.Check(); err != nil {
			return Tree{}, fmt.Errorf("%q: %w", c.Path, err)
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return ComparePaths(a.Path, b.Path) })
	for i := 1; i < len(changes); i++ {
		if changes[i-1].Path == changes[i].Path {
			return Tree{}, fmt.Errorf("%w: %q comes twice", ErrMismatch, changes[i].Path)
		}
	}
	if len(changes) == 0 {
		return t, nil
	}
	root, err := t.root.with(0, changes)
	if err != nil {
		return Tree{}, err
	}
	return Tree{root: root}, nil
}

// with merges sorted changes, all of which lie below the directory whose path is
// depth bytes long (with its slash), into d, which may be nil.
func (d *Dir) with(depth int, changes []Change) (*Dir, error) {
	var old []Child
	if d != nil {
		old = d.children
	}
	merged := make([]Child, 0, len(old)+1)
	for len(changes) > 0 {
		name, _, _ := strings.Cut(changes[0].Path[depth:], "/")
		for len(old) > 0 && old[0].Name < name {
			merged = append(merged, old[0])
			old = old[1:]
		}
		c := Child{Name: name}
		if len(old) > 0 && old[0].Name == name {
			c = old[0]
			old = old[1:]
		}
		n := group(changes, depth+len(name))
		c, err := c.with(depth+len(name), changes[:n])
		if err != nil {
			return nil, err
		}
		if c.Entry.Kind != None {
			merged = append(merged, c)
		}
		changes = changes[n:]
	}
	return newDir(append(merged, old...)), nil
}

// group returns how many of the sorted changes concern the first one's component
// that ends at byte end, or lie below it.
func group(changes []Change, end int) int {
	head := changes[0].Path[:end]
	n := 1
	for n < len(changes) {
		p := changes[n].Path
		if !strings.HasPrefix(p, head) || len(p) > end && p[end] != '/' {
			break
		}
		n++
	}
	return n
}

// with applies the changes of one child and of what lies below it. The child's
// path is end bytes long.
func (c Child) with(end int, changes []Change) (Child, error) {
	path := changes[0].Path[:end]
	if len(changes[0].Path) == end {
		next := changes[0].New
		if next.Kind == None && c.Entry.Kind == None {
			return c, fmt.Errorf("%w: %q is deleted but was not there", ErrMismatch, path)
		}
		c.Entry = next
		changes = changes[1:]
	}
	if len(changes) > 0 {
		below, err := c.Dir.with(end+1, changes)
		if err != nil {
			return c, err
		}
		c.Dir = below
	}
	if c.Entry.Kind != Directory {
		if c.Dir.Count() > 0 {
			return c, fmt.Errorf("%w: something lies below %q, which is %v", ErrMismatch, path, c.Entry.Kind)
		}
		c.Dir = nil
	}
	return c, nil
}
