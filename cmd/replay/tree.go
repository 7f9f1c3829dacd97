package main

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// tree is what git says a commit consists of, directories included, by path.
type tree map[string]entry

// entry is what stands at a path.
type entry struct {
	mode fs.FileMode // type and permissions; a symlink's permissions are not looked at
	id   string      // the blob's name in git: a hash of its bytes; empty for a directory
}

// add adds what git lists with the given mode, and the directories above it.
func (t tree) add(name, mode, id string) error {
	switch mode {
	case "100644":
		t[name] = entry{0o644, id}
	case "100755":
		t[name] = entry{0o755, id}
	case "120000":
		t[name] = entry{fs.ModeSymlink, id}
	case "160000": // A submodule.
		t[name] = entry{mode: fs.ModeDir}
	default:
		return fmt.Errorf("git ls-tree: unknown mode %s of %q", mode, name)
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		t[dir] = entry{mode: fs.ModeDir}
	}
	return nil
}

// files counts the files and symlinks.
func (t tree) files() int {
	n := 0
	for _, e := range t {
		if !e.mode.IsDir() {
			n++
		}
	}
	return n
}

// changed returns the paths at which t and other differ, in order.
func (t tree) changed(other tree) []string {
	var paths []string
	for p, e := range t {
		if o, ok := other[p]; !ok || o != e {
			paths = append(paths, p)
		}
	}
	for p := range other {
		if _, ok := t[p]; !ok {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return paths
}
