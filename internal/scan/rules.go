package scan

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// Rules tell which paths are no part of the tree. They may be used by any number of
// goroutines.
type Rules struct {
	names    []pattern // matched against the base name, at any depth
	anchored []pattern // matched against the whole path
	own      []string  // whole paths that are ignored in any case
}

type pattern struct {
	text        string
	literal     bool // no character of it is special
	dirs        bool // matches directories only
	first, last byte // what a match begins and ends with; 0 if that is not one byte
}

// special are the bytes that mean something in a pattern.
const special = `*?[]{}\`

// NewRules reads ignore patterns in the syntax of doublestar. A pattern without a
// slash (a trailing one aside) matches a base name at any depth; one with a slash is
// anchored at the root; a trailing slash restricts it to directories. A path or
// pattern that is not UTF-8 is matched byte by byte.
//
// The busy paths, and ".confsyncd" in the root, are ignored too. An empty or
// malformed pattern is an error that names it.
func NewRules(patterns, busy []string) (*Rules, error) {
	r := &Rules{own: []string{diff.OwnName}}
	for _, b := range busy {
		if err := diff.CheckPath(b); err != nil {
			return nil, fmt.Errorf("busy file: %w", err)
		}
		r.own = append(r.own, b)
	}
	for _, text := range patterns {
		p := pattern{text: text}
		p.text, p.dirs = strings.CutSuffix(p.text, "/")
		slash := strings.Contains(p.text, "/")
		p.text = strings.TrimPrefix(p.text, "/")
		p.literal = !strings.ContainsAny(p.text, special)
		if p.text == "" || !doublestar.ValidatePattern(p.text) {
			return nil, fmt.Errorf("ignore pattern %q is malformed", text)
		}
		p.first, p.last = plain(p.text[0]), plain(p.text[len(p.text)-1])
		if slash {
			r.anchored = append(r.anchored, p)
		} else {
			r.names = append(r.names, p)
		}
	}
	return r, nil
}

// plain returns a byte of a pattern that stands for itself, and 0 for any other.
func plain(b byte) byte {
	if b >= utf8.RuneSelf || strings.IndexByte(special, b) >= 0 {
		return 0
	}
	return b
}

// Ignored reports whether path, or a directory that it lies below, is no part of the
// tree. dir tells whether path itself is a directory. The root "" is never ignored.
func (r *Rules) Ignored(path string, dir bool) bool {
	for i := range len(path) {
		if path[i] == '/' && r.match(path[:i], true) {
			return true
		}
	}
	return path != "" && r.match(path, dir)
}

// match is Ignored for a path whose parents are known not to be ignored.
func (r *Rules) match(path string, dir bool) bool {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return r.matchIn(path[:i], path[i+1:], dir)
	}
	return r.matchIn("", path, dir)
}

// matchIn is match for a name in a directory.
func (r *Rules) matchIn(in, name string, dir bool) bool {
	for _, p := range r.names {
		if p.match(name, dir) {
			return true
		}
	}
	for _, own := range r.own {
		if strings.HasSuffix(own, name) && own == diff.Join(in, name) {
			return true
		}
	}
	for _, p := range r.anchored {
		if p.match(diff.Join(in, name), dir) {
			return true
		}
	}
	return false
}

func (p pattern) match(s string, dir bool) bool {
	switch {
	case p.dirs && !dir:
		return false
	case s != "" && (p.first != 0 && s[0] != p.first || p.last != 0 && s[len(s)-1] != p.last):
		return false
	case p.literal:
		return s == p.text
	case utf8.ValidString(s) && utf8.ValidString(p.text):
		return doublestar.MatchUnvalidated(p.text, s)
	}
	return doublestar.MatchUnvalidated(widen(p.text), widen(s))
}

// widen makes one rune of each byte: doublestar takes all bytes that are not UTF-8
// for one and the same rune.
func widen(s string) string {
	wide := make([]rune, len(s))
	for i := range len(s) {
		wide[i] = rune(s[i])
	}
	return string(wide)
}
