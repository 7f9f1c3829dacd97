//go:build faults

package faults

import (
	"fmt"
	"slices"
	"strings"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// hostile is a changeset that is right in all but what its name says.
type hostile struct {
	name    string
	changes []codec.Change
	words   string // of the reason
	// contents says that only who reads contents sees it.
	contents bool
}

// paths are one file at each of the paths, in the order of lists.
func paths(all ...string) []codec.Change {
	var changes []codec.Change
	for _, p := range all {
		changes = append(changes, whole(p, "planted\n"))
	}
	slices.SortStableFunc(changes, func(a, b codec.Change) int { return diff.ComparePaths(a.Path, b.Path) })
	return changes
}

// odd is a change whose entry is altered.
func odd(path string, alter func(*codec.Change)) []codec.Change {
	ch := whole(path, "planted\n")
	alter(&ch)
	return []codec.Change{ch}
}

// outside are paths that lead out of the target, or to what is an agent's own.
func outside() []hostile {
	return []hostile{
		{"the parent", paths("../escaped"), "path", false},
		{"the parent itself", paths(".."), "path", false},
		{"the parent, later", paths("d1/../../escaped"), "path", false},
		{"absolute", paths("/tmp/escaped"), "path", false},
		{"two slashes in front", paths("//escaped"), "path", false},
		{"our own directory", paths(".confsyncd"), "own", false},
		{"our own journal", paths(".confsyncd/journal"), "own", false},
		{"our own directory, deeper", paths("d1/.confsyncd/stage"), "own", false},
		{"our own sibling", paths(".dir.confsyncd/next"), "own", false},
		{"a symlink, and a path through it", func() []codec.Change {
			l := whole("gate", "../bystander")
			l.New.Kind, l.New.Mode = diff.Symlink, 0
			return []codec.Change{l, whole("gate/planted", "planted\n")}
		}(), "below", false},
	}
}

// misshapen are paths that no tree has.
func misshapen() []hostile {
	long := strings.Repeat("n", 256)
	return []hostile{
		{"NUL", paths("a\x00b"), "path", false},
		{"a component of 256 bytes", paths("d1/" + long), "256", false},
		{"a path of 4,096 bytes", paths(strings.Repeat("d/", 2047) + "ff"), "4096", false},
		{"the same twice", append(paths("twice"), paths("twice")...), "order", false},
		{"out of order", append(paths("zz"), paths("aa")...), "order", false},
		{"a file, and one below it", paths("a", "a/b"), "below", false},
		{"below a file that is there", paths("top.conf/below"), "below", false},
		{"empty", paths(""), "path", false},
		{"a dot", paths("."), "path", false},
		{"a dot in front", paths("./a"), "path", false},
		{"a dot at the end", paths("a/."), "path", false},
		{"a slash at the end", paths("a/"), "path", false},
		{"two slashes", paths("a//b"), "path", false},
	}
}

// impossible are entries that cannot be written, or not be had.
func impossible() []hostile {
	return []hostile{
		{"an unknown kind", odd("x", func(c *codec.Change) { c.New.Kind = 9 }), "kind 9", false},
		{"a mode of more bits", odd("x", func(c *codec.Change) { c.New.Mode = 0o100644 }), "mode", false},
		{"a symlink to 5,000 bytes", func() []codec.Change {
			l := whole("x", strings.Repeat("s", 5000))
			l.New.Kind, l.New.Mode = diff.Symlink, 0
			return []codec.Change{l}
		}(), "symlink", false},
		{"a symlink to nothing", odd("x", func(c *codec.Change) {
			c.New, c.Content = diff.Entry{Kind: diff.Symlink, Hash: diff.Sum(nil)}, codec.Content{}
		}), "symlink", false},
		{"a file of 65 MiB", odd("x", func(c *codec.Change) {
			c.New.Size = codec.MaxFileSize + 1<<20
			c.Content = codec.Content{Packs: []codec.PackRef{{Hash: diff.Sum(nil), Size: codec.MaxPackContent}}}
		}), "at most", false},
		{"the deletion of what is not there", []codec.Change{{Path: "nowhere"}}, "not there", false},
		{"a content with another hash", odd("x", func(c *codec.Change) { c.Content.Whole = []byte("plAnted\n") }), "hash", true},
		{"a content that nobody has", odd("x", func(c *codec.Change) {
			c.New.Hash, c.Content = diff.Sum([]byte("never published")), codec.Content{}
		}), "content", true},
		{"a content in a pack that is not there", odd("x", func(c *codec.Change) {
			c.Content = codec.Content{Packs: []codec.PackRef{{Hash: diff.Sum([]byte("no such pack")), Size: c.New.Size}}}
		}), "missing", true},
		{"a patch of what nobody has", odd("x", func(c *codec.Change) {
			c.New.Size = 100
			c.Content = codec.Content{Patch: &codec.Patch{Base: diff.Sum([]byte("no such base")), Frame: []byte("no frame"), Size: 8}}
		}), "content", true},
		{"a patch that is none", odd("x", func(c *codec.Change) {
			c.New.Size = 100
			c.Content = codec.Content{Patch: &codec.Patch{Base: diff.Sum([]byte("top\n")), Frame: []byte("no frame"), Size: 8}}
		}), "patch", true},
	}
}

// pathCases are records that are right in themselves: the codec's own encoder made them,
// every digest and hash is as it should be, and the head names them.
func pathCases() []Case {
	const how = "a raw client commits a generation of which all is right (encoder, commit chain, digest) but %s; " +
		"agent, a host that joins by pull and pull --dry-run, the publisher's own read, and status, log, show, ls, diff, cat, verify answer"
	return []Case{
		hostileCase("paths that lead out of the target", fmt.Sprintf(how, "paths with .., absolute, of our own names, through a symlink"), nil, outside, false),
		hostileCase("paths that no tree has", fmt.Sprintf(how, "paths with NUL, too long, duplicate, out of order, below files, empty components"), []string{"files"}, misshapen, false),
		hostileCase("entries that cannot be", fmt.Sprintf(how, "kinds, modes, sizes, contents that are wrong or nowhere; no publisher runs meanwhile, and the last is ended by its start"), []string{"files"}, impossible, true),
	}
}

// hostileCase tries one list after another, alone without a publisher: it would publish
// over a record that is only wrong for who needs its contents.
func hostileCase(name, how string, modes []string, lists func() []hostile, alone bool) Case {
	return Case{Name: name, How: how, Modes: modes, Slow: true, Try: func(w *World) {
		h := w.hand()
		w.top()
		if alone {
			w.do(w.Source.Stop())
		}
		h.right()
		all := lists()
		plant := func(list hostile) { h.commit(h.next(list.changes, h.digestAfter(list.changes))) }
		for _, list := range all {
			w.Logf("%s", list.name)
			plant(list)
			h.contents = list.contents
			h.refused(list.words, "damaged", h.remedy())
			h.heal()
		}
		if alone {
			plant(all[len(all)-1])
			w.Publish()
		}
		w.Edit(5)
		w.Healed()
	}}
}

// top adds a file that is there for certain, with a content that is known.
func (w *World) top() {
	w.Helper()
	w.do(w.Writer.Add("top.conf", 0o644, "top\n"))
	w.Equal(w.c.within())
}

// remedy is what is said to do about damage.
func (h *hand) remedy() string { return pub(tenant) + headKey }
