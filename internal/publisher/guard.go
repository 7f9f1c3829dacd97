package publisher

import (
	"errors"
	"fmt"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
)

// smallTree is the number of files below which only an emptied tree is suspicious.
const smallTree = 20

// guard returns ErrRefused if the changes look like an accident: a tree that is
// emptied, a root that is not the one it was.
func (p *Publisher) guard(base diff.Tree, changes []diff.Change, found *scan.Result) error {
	gone := deleted(changes)
	if !p.allow.Root && p.root != nil && *p.root != found.Root && 2*common(base, changes) < base.Len() {
		return refuse("see that the right directory is mounted there; if it is, publish it with "+p.options.pushWith("--allow root,delete"),
			"%s was replaced by a directory that has less than half of the committed paths", p.options.Dir)
	}
	if p.allow.Delete || gone == 0 {
		return nil
	}
	had := files(base)
	if !tooMany(gone, had, files(found.Tree), p.options.MaxDelete) {
		return nil
	}
	return refuse("if that is meant, publish it with "+p.options.pushWith("--allow delete"),
		"%d of %d files would be deleted, more than max_delete = %.0f%%", gone, had, 100*p.options.MaxDelete)
}

// tooMany reports whether so many files gone, of those that were had, look like an accident.
func tooMany(gone, had, left int, most float64) bool {
	if gone == 0 {
		return false
	}
	if had < smallTree {
		return gone == had && left == 0
	}
	return float64(gone) > most*float64(had)
}

// files counts the files and symlinks.
func files(t diff.Tree) int {
	n := 0
	for _, e := range t.All() {
		if e.HasContent() {
			n++
		}
	}
	return n
}

// deleted counts the files and symlinks that go away. One whose content reappears is
// moved.
func deleted(changes []diff.Change) int {
	arrived := make(map[diff.Hash]int)
	for _, c := range changes {
		if c.New.HasContent() && c.New.Hash != c.Old.Hash {
			arrived[c.New.Hash]++
		}
	}
	n := 0
	for _, c := range changes {
		if !c.Old.HasContent() || c.New.HasContent() {
			continue
		}
		if arrived[c.Old.Hash] > 0 {
			arrived[c.Old.Hash]--
			continue
		}
		n++
	}
	return n
}

// common counts the paths of base that are still there.
func common(base diff.Tree, changes []diff.Change) int {
	n := base.Len()
	for _, c := range changes {
		if c.Deleted() {
			n--
		}
	}
	return n
}

// errHeldForNow says that paths cannot be published yet.
var errHeldForNow = errors.New("some paths cannot be published yet")

// refuseHeld returns ErrRefused if a person asked to publish, and some paths cannot
// be: a push is whole or not at all.
func refuseHeld(held []scan.Held) error {
	if len(held) == 0 {
		return nil
	}
	for _, h := range held {
		if h.Reason.Temporary() {
			return fmt.Errorf("%w: %s; %s", errHeldForNow, some(describe(held)), h.Reason.Remedy())
		}
	}
	remedy := held[0].Reason.Remedy()
	if held[0].Reason == scan.TooLarge {
		remedy += "; or publish it once with --allow size"
	}
	return refuse(remedy, "not everything can be published: %s", some(describe(held)))
}

func describe(held []scan.Held) []string {
	words := make([]string, len(held))
	for i, h := range held {
		why := h.Reason.String()
		if h.Reason.Temporary() && time.Since(h.Since) >= longHeld {
			why += " since " + h.Since.UTC().Format(time.RFC3339)
		}
		if h.Err != nil {
			why += ": " + h.Err.Error()
		}
		words[i] = fmt.Sprintf("%q (%s)", h.Path, why)
	}
	return words
}
