package diff

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// namesAtOnce is how many bytes of names a Builder sets aside at a time.
const namesAtOnce = 4 << 10

// Builder makes a tree of entries that come in the order of ComparePaths, as Tree.All
// yields them: that takes a fraction of what With takes. The zero Builder is ready; it is
// for one tree.
type Builder struct {
	at    []byte  // the path of the directory that is being filled, with a slash if it is not the root
	open  []level // that directory, last, and those above it
	stack []Child // what they hold so far, each directory's after that of the one above
	names strings.Builder
}

// level is a directory that is not complete yet.
type level struct {
	path  int // the length of its path, with the slash
	first int // where on the stack its children begin
}

// Add adds what stands at a path, whose bytes may be used for something else afterwards. It
// returns an error that wraps ErrPath or ErrEntry if either is malformed, and ErrMismatch
// if the path does not come in order, or lies below what is no directory.
func (b *Builder) Add(path []byte, e Entry) error {
	if len(path) > MaxPath {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrPath, len(path), MaxPath)
	}
	if err := e.Check(); err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	if len(b.open) == 0 {
		b.open = append(b.open, level{})
	}
	for !bytes.HasPrefix(path, b.at) {
		b.close()
	}
	if bytes.IndexByte(path[len(b.at):], '/') >= 0 {
		return fmt.Errorf("%w: %q lies below no directory, or comes out of order", ErrMismatch, path)
	}
	name := b.name(path[len(b.at):])
	if err := CheckName(name); err != nil {
		return fmt.Errorf("%w in %q", err, path)
	}
	first := b.open[len(b.open)-1].first
	if len(b.stack) > first && b.stack[len(b.stack)-1].Name >= name {
		return fmt.Errorf("%w: %q comes out of order", ErrMismatch, path)
	}
	b.stack = append(b.stack, Child{Name: name, Entry: e})
	if e.Kind == Directory {
		b.at = append(append(b.at[:0], path...), '/')
		b.open = append(b.open, level{path: len(b.at), first: len(b.stack)})
	}
	return nil
}

// name returns the bytes as a string: many names share their memory.
func (b *Builder) name(bytes []byte) string {
	if b.names.Cap()-b.names.Len() < len(bytes) {
		b.names = strings.Builder{}
		b.names.Grow(max(namesAtOnce, len(bytes)))
	}
	from := b.names.Len()
	b.names.Write(bytes) // never fails
	return b.names.String()[from:]
}

// close completes the directory that is being filled, which is not the root.
func (b *Builder) close() {
	top := b.open[len(b.open)-1]
	dir := NewDir(slices.Clone(b.stack[top.first:]))
	b.stack = b.stack[:top.first]
	b.stack[top.first-1].Dir = dir
	b.open = b.open[:len(b.open)-1]
	b.at = b.at[:b.open[len(b.open)-1].path]
}

// Tree returns the tree of all that was added.
func (b *Builder) Tree() Tree {
	if len(b.stack) == 0 {
		return Tree{}
	}
	for len(b.open) > 1 {
		b.close()
	}
	return Tree{root: NewDir(slices.Clone(b.stack))}
}
