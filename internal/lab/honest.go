package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// Honest compares what the journal of a target says with the disk, both read without the
// program: each path must be what it is at, or, while an apply is under way or was
// interrupted, what it is becoming. The error is nil, too, if anything changed
// meanwhile. Paths that skip names are not looked at.
func Honest(dir string, skip func(path string) bool) error {
	before, pending, err := install.ReadState(dir)
	if err != nil {
		return err
	}
	disk, readErr := ReadTree(dir)
	after, pendingAfter, err := install.ReadState(dir)
	if err != nil {
		return err
	}
	if before.Position != after.Position || (pending == nil) != (pendingAfter == nil) ||
		pending != nil && pending.Position != pendingAfter.Position {
		return nil
	}
	if readErr != nil && pending != nil {
		return nil // What is switched right now may go while it is read.
	}
	if readErr != nil {
		return readErr
	}
	becoming := make(map[string]diff.Entry)
	if pending != nil {
		for _, c := range pending.Changes {
			becoming[c.Path] = c.New
		}
	}
	for path, at := range before.Managed.All() {
		if skip != nil && skip(path) || slices.Contains(before.Suspect, path) {
			continue
		}
		is := disk[path].entry()
		if next, ok := becoming[path]; is != at && (!ok || is != next) {
			return fmt.Errorf("the journal is at generation %d (pending: %v), but %s is %v, not %v", before.Position.Generation, pending != nil, path, is, at)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(becoming)) {
		_, managed := before.Managed.Get(path)
		if is := disk[path].entry(); !managed && is.Kind != diff.None && is != becoming[path] && (skip == nil || !skip(path)) {
			return fmt.Errorf("%s is becoming %v, but is %v", path, becoming[path], is)
		}
	}
	return nil
}

// JournalGeneration returns the generation that the journal of a target is at, 0 if it has
// none.
func JournalGeneration(dir string) (uint64, error) {
	s, _, err := install.ReadState(dir)
	if errors.Is(err, journal.ErrNone) {
		return 0, nil
	}
	return s.Position.Generation, err
}

// entry is what a node is in the product's words.
func (n Node) entry() diff.Entry {
	e := diff.Entry{Mode: uint32(n.Mode.Perm()), Size: int64(len(n.Content)), Hash: diff.Sum([]byte(n.Content))}
	for bit, mode := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if n.Mode&bit != 0 {
			e.Mode |= mode
		}
	}
	switch n.Mode.Type() {
	case fs.ModeDir:
		return diff.Entry{Kind: diff.Directory, Mode: e.Mode}
	case fs.ModeSymlink:
		e.Kind, e.Mode = diff.Symlink, 0
		return e
	case 0:
		if n.Mode == 0 && n.Content == "" {
			return diff.Entry{}
		}
		e.Kind = diff.File
		return e
	}
	return diff.Entry{Kind: diff.None, Size: -1} // What is never published.
}
