package main

import (
	"fmt"
	"slices"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// difference is a change as people see it.
type difference struct {
	diff.Change
	// From is the path that the file had before, if it was only renamed; Old is what
	// stood there.
	From string
}

// differences finds the renames among changes: a file that is gone and one that is new
// with the same content are one. Of several, those with equal names belong together, then
// those that come first.
func differences(changes []diff.Change) []difference {
	gone := make(map[diff.Hash][]diff.Change)
	for _, c := range changes {
		if c.Deleted() && c.Old.Kind == diff.File && c.Old.Size > 0 {
			gone[c.Old.Hash] = append(gone[c.Old.Hash], c)
		}
	}
	take := func(to diff.Change, fits func(diff.Change) bool) (diff.Change, bool) {
		list := gone[to.New.Hash]
		i := slices.IndexFunc(list, fits)
		if !to.Created() || to.New.Kind != diff.File || i < 0 {
			return diff.Change{}, false
		}
		from := list[i]
		gone[to.New.Hash] = slices.Delete(list, i, i+1)
		return from, true
	}
	renamed := make(map[string]diff.Change) // by new path
	was := make(map[string]bool)            // old paths
	for _, sameName := range []bool{true, false} {
		for _, c := range changes {
			if _, done := renamed[c.Path]; done {
				continue
			}
			from, ok := take(c, func(from diff.Change) bool { return !sameName || diff.Base(from.Path) == diff.Base(c.Path) })
			if ok {
				renamed[c.Path], was[from.Path] = from, true
			}
		}
	}
	list := make([]difference, 0, len(changes)-len(was))
	for _, c := range changes {
		from, ok := renamed[c.Path]
		switch {
		case ok:
			list = append(list, difference{Change: diff.Change{Path: c.Path, Old: from.Old, New: c.New}, From: from.Path})
		case !was[c.Path]:
			list = append(list, difference{Change: c})
		}
	}
	return list
}

// what says what happened to the path: created, deleted, renamed, or which of kind,
// content and mode is another.
func (d difference) what() []string {
	var words []string
	switch {
	case d.From != "":
		words = append(words, "renamed")
	case d.Created():
		return []string{"created"}
	case d.Deleted():
		return []string{"deleted"}
	case d.Old.Kind != d.New.Kind:
		return []string{"kind"}
	case !d.Old.SameContent(d.New):
		words = append(words, "content")
	}
	if d.Old.Mode != d.New.Mode {
		words = append(words, "mode")
	}
	return words
}

// sign is the difference in one character.
func (d difference) sign() string {
	switch {
	case d.From != "":
		return "»"
	case d.Created():
		return "+"
	case d.Deleted():
		return "-"
	}
	return "~"
}

// entryFacts are what -o json tells of what stands at a path.
type entryFacts struct {
	Kind   string `json:"kind"`
	Mode   string `json:"mode,omitempty"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
}

func entryOf(e diff.Entry) *entryFacts {
	if e.Kind == diff.None {
		return nil
	}
	f := &entryFacts{Kind: e.Kind.String(), Size: e.Size}
	if e.Kind != diff.Symlink {
		f.Mode = fmt.Sprintf("%04o", e.Mode)
	}
	if e.HasContent() {
		f.SHA256 = e.Hash.String()
	}
	return f
}

// differenceFacts are what -o json tells of a difference.
type differenceFacts struct {
	Path string      `json:"path"`
	What []string    `json:"what"`
	From string      `json:"from_path,omitempty"`
	Old  *entryFacts `json:"old,omitempty"`
	New  *entryFacts `json:"new,omitempty"`
}

func factsOfDifferences(list []difference) []differenceFacts {
	facts := make([]differenceFacts, 0, len(list))
	for _, d := range list {
		facts = append(facts, differenceFacts{Path: d.Path, What: d.what(), From: d.From, Old: entryOf(d.Old), New: entryOf(d.New)})
	}
	return facts
}
