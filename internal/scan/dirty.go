package scan

import (
	"strings"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// dirty tells, of one directory, what is to be looked at. A nil dirty is nothing.
type dirty struct {
	self  bool // this directory
	deep  bool // and all below it
	below map[string]*dirty
	// names are to be looked at although the directory itself is not.
	names []string
}

// at returns what is to be looked at in a subdirectory.
func (d *dirty) at(name string) *dirty {
	switch {
	case d == nil:
		return nil
	case d.deep:
		return d
	}
	return d.below[name]
}

// add marks one directory, by its path below d; with a trailing slash, and all below
// it.
func (d *dirty) add(path string) {
	path, deep := strings.CutSuffix(path, "/")
	d = d.directory(path)
	d.self, d.deep = true, d.deep || deep
}

// addName marks one name, by its path below d.
func (d *dirty) addName(path string) {
	d = d.directory(diff.Parent(path))
	d.names = append(d.names, diff.Base(path))
}

// directory returns what is known of one directory, by its path below d.
func (d *dirty) directory(path string) *dirty {
	for path != "" {
		name, rest, _ := strings.Cut(path, "/")
		next := d.below[name]
		if next == nil {
			next = &dirty{}
			if d.below == nil {
				d.below = make(map[string]*dirty)
			}
			d.below[name] = next
		}
		d, path = next, rest
	}
	return d
}

// dirtied returns what the next scan has to look at: the directories and paths named, and
// all directories that hold something, because a hold ends without an event and its entry
// follows the committed tree.
func (s *Scanner) dirtied(dirs, paths []string) *dirty {
	if dirs == nil || s.doubt {
		return &dirty{self: true, deep: true}
	}
	d := &dirty{}
	for _, dir := range dirs {
		d.add(dir)
	}
	for _, path := range paths {
		d.addName(path)
	}
	for _, h := range s.held {
		d.add(diff.Parent(h.Path))
	}
	return d
}
