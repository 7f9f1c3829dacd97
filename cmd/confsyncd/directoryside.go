package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/journal"
	"github.com/confsyncd/confsyncd/internal/scan"
)

// directorySide is a directory as one side: of a target what is managed, otherwise all
// that a source would publish. What cannot be read now is as in other.
func (a *app) directorySide(ctx context.Context, l *look, dir string, other diff.Tree) (side, error) {
	state, _, err := install.ReadState(dir)
	target := err == nil
	if err != nil && !errors.Is(err, journal.ErrNone) {
		return side{}, err
	}
	var rules scan.Options // whatever is managed may stand in a target
	if !target {
		rules = l.rulesOf(dir)
	}
	rules.Dir, rules.Log = dir, l.log
	scanner, err := scan.New(rules)
	if err != nil {
		return side{}, err
	}
	found, err := scanner.Scan(ctx, other, nil)
	if err != nil {
		return side{}, err
	}
	for _, h := range found.Held {
		if _, ok := state.Managed.Get(h.Path); ok || !target {
			fmt.Fprintf(a.err, "confsyncd: %s: %s cannot be compared: %v\n", printable(dir), printable(h.Path), h.Reason)
		}
	}
	tree := found.Tree
	if target {
		if tree, err = managed(tree, state.Managed); err != nil {
			return side{}, err
		}
	}
	return side{tree: tree, facts: sideFacts{Dir: dir}, read: func(_ context.Context, changes []diff.Change, put func(diff.Hash, []byte)) error {
		for _, c := range changes {
			content, err := scanner.Read(c.Path, c.New)
			if errors.Is(err, scan.ErrChanged) {
				return fmt.Errorf("%s changed while it was compared; run it again: %w", printable(dir), err)
			}
			if err != nil {
				return err
			}
			put(c.New.Hash, content)
		}
		return nil
	}}, nil
}

// rulesOf returns what of a directory is no part of a tree: as its source in the
// configuration says, or by default.
func (l *look) rulesOf(dir string) scan.Options {
	s := config.DefaultSource()
	for _, known := range l.config.Sources {
		if known.Dir == dir {
			s = known
		}
	}
	return scan.Options{Ignore: s.Ignore, BusyFiles: s.BusyFiles, GitModes: s.FileMode == "git", RefuseSymlinks: s.Symlinks == "refuse"}
}

// managed returns what of a target's directory stands at the paths that are managed.
func managed(found, known diff.Tree) (diff.Tree, error) {
	var unmanaged []diff.Change
	for path := range found.All() {
		if _, ok := known.Get(path); !ok {
			unmanaged = append(unmanaged, diff.Change{Path: path})
		}
	}
	return found.With(unmanaged)
}
