package diff

import (
	"fmt"
	"strings"
)

// Limits of a path, as Linux has them (NAME_MAX, and PATH_MAX without its NUL).
const (
	MaxName = 255
	MaxPath = 4095
)

// OwnName is the directory in a target's root that holds what confsyncd itself
// keeps there. No tree may hold a component of that name.
const OwnName = ".confsyncd"

// SiblingName returns the name of the directory beside a target of that name that
// holds what confsyncd itself keeps of one that is switched as a whole. No tree may
// hold a component that is such a name.
func SiblingName(name string) string { return "." + name + OwnName }

// IsSiblingName reports whether name is one that SiblingName returns.
func IsSiblingName(name string) bool {
	const shortest = 1 + 1 + len(OwnName)
	return len(name) >= shortest && name[0] == '.' && strings.HasSuffix(name, OwnName)
}

// CheckPath returns an error that wraps ErrPath unless p may stand in a tree: a
// relative path of 1 to MaxPath bytes, whose components are 1 to MaxName bytes
// long, without NUL, and none of which is ".", "..", OwnName or a sibling's name.
func CheckPath(p string) error {
	if p == "" {
		return fmt.Errorf("%w: empty", ErrPath)
	}
	if len(p) > MaxPath {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrPath, len(p), MaxPath)
	}
	for name := range strings.SplitSeq(p, "/") {
		if err := CheckName(name); err != nil {
			return fmt.Errorf("%w in %q", err, p)
		}
	}
	return nil
}

// CheckName returns an error that wraps ErrPath unless name may be one component
// of a path in a tree.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: empty component", ErrPath)
	case name == "." || name == "..":
		return fmt.Errorf("%w: component %q", ErrPath, name)
	case len(name) > MaxName:
		return fmt.Errorf("%w: component of %d bytes, at most %d are allowed", ErrPath, len(name), MaxName)
	case strings.IndexByte(name, '/') >= 0, strings.IndexByte(name, 0) >= 0:
		return fmt.Errorf("%w: component %q holds a slash or NUL", ErrPath, name)
	case name == OwnName, IsSiblingName(name):
		return fmt.Errorf("%w: the name %q is confsyncd's own", ErrPath, name)
	}
	return nil
}

// ComparePaths orders paths by component: it is as strings.Compare with the slash
// below every other byte, so that a directory's contents directly follow it.
func ComparePaths(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x == '/' || (y != '/' && x < y) {
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}

// Parent returns the directory that p lies in; "" is the root.
func Parent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return ""
}

// Base returns the last component of p.
func Base(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

// Join appends a name to a directory's path; the root is "".
func Join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// Below reports whether p lies below the directory dir, at any depth.
func Below(p, dir string) bool {
	return dir == "" || len(p) > len(dir) && p[len(dir)] == '/' && strings.HasPrefix(p, dir)
}
