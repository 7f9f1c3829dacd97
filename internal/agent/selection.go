package agent

import (
	"fmt"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// Select returns the part of a tenant's tree that the target takes, as it is to stand
// there.
func (o Options) Select(all diff.Tree) (diff.Tree, error) { return o.selects(all) }

// selects returns the part of a tenant's tree that the target takes, by path in the
// target and with the modes that it gets there.
//
// A pattern selects what it matches; a directory that matches is taken with all below
// it, and the directories that lead to what is selected come along.
func (o Options) selects(all diff.Tree) (diff.Tree, error) {
	if len(o.Paths) == 0 && o.StripPrefix == "" && o.FileMode == nil {
		return all, nil
	}
	wanted := make(map[string]diff.Entry)
	taken := "" // the directory that was selected last, and everything below with it
	for path, e := range all.All() {
		below := taken != "" && diff.Below(path, taken)
		if !below && !o.matches(path) {
			continue
		}
		if !below && e.Kind == diff.Directory {
			taken = path
		}
		for at := path; at != ""; at = diff.Parent(at) {
			if _, ok := wanted[at]; ok {
				break
			}
			wanted[at], _ = all.Get(at)
		}
	}
	changes := make([]diff.Change, 0, len(wanted))
	for path, e := range wanted {
		rest, ok := strings.CutPrefix(path, o.StripPrefix)
		if !ok || rest == "" {
			continue
		}
		if o.FileMode != nil && e.Kind == diff.File {
			e.Mode = *o.FileMode
		}
		changes = append(changes, diff.Change{Path: rest, New: e})
	}
	tree, err := diff.Tree{}.With(changes)
	if err != nil {
		return tree, fmt.Errorf("select paths: %w", err)
	}
	return tree, nil
}

func (o Options) matches(path string) bool {
	if len(o.Paths) == 0 {
		return true
	}
	for _, pattern := range o.Paths {
		// Patterns were checked with the configuration.
		if ok, err := doublestar.Match(pattern, path); ok && err == nil {
			return true
		}
	}
	return false
}
