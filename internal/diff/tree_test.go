package diff

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

func file(content string) Entry {
	return Entry{Kind: File, Mode: 0o644, Size: int64(len(content)), Hash: Sum([]byte(content))}
}

func link(target string) Entry {
	return Entry{Kind: Symlink, Size: int64(len(target)), Hash: Sum([]byte(target))}
}

var dir = Entry{Kind: Directory, Mode: 0o755}

// entries is a tree written down as a table.
type entries map[string]Entry

func (e entries) changes() []Change {
	var changes []Change
	for path, entry := range e {
		changes = append(changes, Change{Path: path, New: entry})
	}
	return changes
}

func (e entries) tree(t testing.TB) Tree {
	t.Helper()
	tree, err := Tree{}.With(e.changes())
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// same fails the test unless tree holds exactly e, in order, and its sums are those
// of a tree that was built at once.
func (e entries) same(t testing.TB, tree Tree) {
	t.Helper()
	got := make(entries)
	last := ""
	for path, entry := range tree.All() {
		if last != "" && ComparePaths(last, path) >= 0 {
			t.Errorf("%q comes after %q", path, last)
		}
		got[path], last = entry, path
		if one, ok := tree.Get(path); !ok || one != entry {
			t.Errorf("Get(%q) = %v, %v, want %v", path, one, ok, entry)
		}
	}
	if !maps.Equal(got, e) {
		t.Errorf("got %v\nwant %v", got, e)
	}
	if tree.Len() != len(e) {
		t.Errorf("Len() = %d, want %d", tree.Len(), len(e))
	}
	if tree.Digest() != e.tree(t).Digest() {
		t.Error("the digest is not that of the same tree built at once")
	}
}

func TestWith(t *testing.T) {
	start := entries{"a": file("1"), "d": dir, "d/b": file("2"), "d/sub": dir, "d/sub/c": file("3"), "l": link("a")}
	tests := []struct {
		name    string
		changes []Change
		want    entries // that differ from start; the zero Entry is absent
		err     error
	}{
		{name: "no changes", want: entries{}},
		{name: "a file changes", changes: entries{"a": file("9")}.changes(), want: entries{"a": file("9")}},
		{name: "a mode changes below", changes: entries{"d/sub": {Kind: Directory, Mode: 0o700}}.changes(), want: entries{"d/sub": {Kind: Directory, Mode: 0o700}}},
		{name: "an entry that stays the same", changes: entries{"a": file("1"), "d": dir}.changes(), want: entries{}},
		{name: "names before, between and after the others", changes: entries{"A": file(""), "b": file(""), "z": file("")}.changes(), want: entries{"A": file(""), "b": file(""), "z": file("")}},
		{name: "a name that begins as a directory's", changes: entries{"d-x": file(""), "d/a": file("")}.changes(), want: entries{"d-x": file(""), "d/a": file("")}},
		{name: "a file is deleted", changes: entries{"a": {}}.changes(), want: entries{"a": {}}},
		{name: "the last file of a directory is deleted", changes: entries{"d/sub/c": {}}.changes(), want: entries{"d/sub/c": {}}},
		{name: "a directory is deleted with all below", changes: entries{"d": {}, "d/b": {}, "d/sub": {}, "d/sub/c": {}}.changes(), want: entries{"d": {}, "d/b": {}, "d/sub": {}, "d/sub/c": {}}},
		{name: "all is deleted", changes: entries{"a": {}, "d": {}, "d/b": {}, "d/sub": {}, "d/sub/c": {}, "l": {}}.changes(), want: entries{"a": {}, "d": {}, "d/b": {}, "d/sub": {}, "d/sub/c": {}, "l": {}}},
		{name: "a file becomes an empty directory", changes: entries{"a": dir}.changes(), want: entries{"a": dir}},
		{name: "a file becomes a directory that holds something", changes: entries{"a": dir, "a/x": dir, "a/x/y": file("")}.changes(), want: entries{"a": dir, "a/x": dir, "a/x/y": file("")}},
		{name: "a directory becomes a file", changes: entries{"d/sub": file(""), "d/sub/c": {}}.changes(), want: entries{"d/sub": file(""), "d/sub/c": {}}},
		{name: "a directory becomes a symlink", changes: entries{"d/sub": link("b"), "d/sub/c": {}}.changes(), want: entries{"d/sub": link("b"), "d/sub/c": {}}},
		{name: "a symlink becomes a file", changes: entries{"l": file("")}.changes(), want: entries{"l": file("")}},

		{name: "refuses a path twice", changes: []Change{{Path: "a", New: file("8")}, {Path: "d/b"}, {Path: "a", New: file("9")}}, err: ErrMismatch},
		{name: "refuses a path twice although equal", changes: []Change{{Path: "d/n", New: file("8")}, {Path: "d/n", New: file("8")}}, err: ErrMismatch},
		{name: "refuses to delete what is not there", changes: entries{"b": {}}.changes(), err: ErrMismatch},
		{name: "refuses to delete what is not there below a directory", changes: entries{"d/x": {}}.changes(), err: ErrMismatch},
		{name: "refuses to delete below nothing", changes: entries{"x/y": {}}.changes(), err: ErrMismatch},
		{name: "refuses to delete below a file", changes: entries{"a/y": {}}.changes(), err: ErrMismatch},
		{name: "refuses to delete a directory without what is below", changes: entries{"d/sub": {}}.changes(), err: ErrMismatch},
		{name: "refuses to delete a directory with only some below", changes: entries{"d": {}, "d/b": {}, "d/sub/c": {}}.changes(), err: ErrMismatch},
		{name: "refuses a file in place of a directory that holds something", changes: entries{"d": file("")}.changes(), err: ErrMismatch},
		{name: "refuses something below a file", changes: entries{"a/x": file("")}.changes(), err: ErrMismatch},
		{name: "refuses something below a symlink", changes: entries{"l/x": file("")}.changes(), err: ErrMismatch},
		{name: "refuses something below a new file", changes: entries{"n": file(""), "n/x": file("")}.changes(), err: ErrMismatch},
		{name: "refuses something below nothing", changes: entries{"n/x/y": file("")}.changes(), err: ErrMismatch},
		{name: "refuses something below what is deleted", changes: entries{"a": {}, "a/x": file("")}.changes(), err: ErrMismatch},
		{name: "refuses a bad path", changes: entries{"../x": file("")}.changes(), err: ErrPath},
		{name: "refuses a bad path that is deleted", changes: entries{"": {}}.changes(), err: ErrPath},
		{name: "refuses our own name", changes: entries{"d/.confsyncd": dir}.changes(), err: ErrPath},
		{name: "refuses a bad entry", changes: entries{"x": {Kind: Symlink}}.changes(), err: ErrEntry},
	}
	r := rand.New(rand.NewPCG(1, 1))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := start.tree(t)
			want := maps.Clone(start)
			for path, e := range tt.want {
				want[path] = e
				if e == (Entry{}) {
					delete(want, path)
				}
			}
			for range 5 { // the order of the input does not count
				r.Shuffle(len(tt.changes), func(i, j int) {
					tt.changes[i], tt.changes[j] = tt.changes[j], tt.changes[i]
				})
				got, err := tree.With(tt.changes)
				if !errors.Is(err, tt.err) {
					t.Fatalf("got the error %v, want %v", err, tt.err)
				}
				if err == nil {
					want.same(t, got)
				} else if got.Len() != 0 {
					t.Error("a tree came with the error")
				}
				start.same(t, tree) // the tree itself never changes
			}
		})
	}
}

func TestFileToDirectoryToFile(t *testing.T) {
	before := entries{"x": file("1")}.tree(t)
	with := func(tree Tree, e entries) Tree {
		t.Helper()
		next, err := tree.With(e.changes())
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	between := with(before, entries{"x": dir, "x/y": file("2")})
	entries{"x": dir, "x/y": file("2")}.same(t, between)
	after := with(between, entries{"x": file("1"), "x/y": {}})
	if after.Digest() != before.Digest() {
		t.Error("there and back is another tree")
	}
}

func TestCompare(t *testing.T) {
	tests := []struct {
		name     string
		from, to entries
		want     []Change
	}{
		{"equal", entries{"a": file("1"), "d": dir}, entries{"a": file("1"), "d": dir}, nil},
		{
			"mode_only",
			entries{"d": dir, "d/a": file("1")},
			entries{"d": dir, "d/a": {Kind: File, Mode: 0o600, Size: 1, Hash: Sum([]byte("1"))}},
			[]Change{{Path: "d/a", Old: file("1"), New: Entry{Kind: File, Mode: 0o600, Size: 1, Hash: Sum([]byte("1"))}}},
		},
		{
			"mode_of_a_directory",
			entries{"d": dir, "d/a": file("1")},
			entries{"d": {Kind: Directory, Mode: 0o700}, "d/a": file("1")},
			[]Change{{Path: "d", Old: dir, New: Entry{Kind: Directory, Mode: 0o700}}},
		},
		{"content", entries{"a": file("1")}, entries{"a": file("2")}, []Change{{Path: "a", Old: file("1"), New: file("2")}}},
		{
			"a move is a deletion and a creation",
			entries{"d": dir, "d/a": file("1")},
			entries{"b": file("1"), "d": dir},
			[]Change{{Path: "b", New: file("1")}, {Path: "d/a", Old: file("1")}},
		},
		{
			"a move of a directory",
			entries{"x": dir, "x/y": dir, "x/y/z": file("1")},
			entries{"w": dir, "w/y": dir, "w/y/z": file("1")},
			[]Change{{Path: "w", New: dir}, {Path: "w/y", New: dir}, {Path: "w/y/z", New: file("1")}, {Path: "x", Old: dir}, {Path: "x/y", Old: dir}, {Path: "x/y/z", Old: file("1")}},
		},
		{
			"a file becomes a directory",
			entries{"a": file("1")},
			entries{"a": dir, "a/b": file("2")},
			[]Change{{Path: "a", Old: file("1"), New: dir}, {Path: "a/b", New: file("2")}},
		},
		{
			"a directory becomes a symlink",
			entries{"a": dir, "a/b": file("2")},
			entries{"a": link("b")},
			[]Change{{Path: "a", Old: dir, New: link("b")}, {Path: "a/b", Old: file("2")}},
		},
		{"an empty directory comes", entries{"d": dir}, entries{"d": dir, "d/e": dir}, []Change{{Path: "d/e", New: dir}}},
		{"an empty directory goes", entries{"d": dir}, nil, []Change{{Path: "d", Old: dir}}},
		{"a file becomes an empty directory", entries{"a": file("")}, entries{"a": dir}, []Change{{Path: "a", Old: file(""), New: dir}}},
		{
			"from nothing, in the order of paths", nil,
			entries{"a-b": file(""), "a": dir, "a/b": file("")},
			[]Change{{Path: "a", New: dir}, {Path: "a/b", New: file("")}, {Path: "a-b", New: file("")}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Compare(tt.from.tree(t), tt.to.tree(t))
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v\nwant %v", got, tt.want)
			}
		})
	}
}

func TestChangeTellsWhatItIs(t *testing.T) {
	for _, tt := range []struct {
		change           Change
		created, deleted bool
	}{
		{Change{New: dir}, true, false},
		{Change{Old: dir}, false, true},
		{Change{Old: dir, New: file("")}, false, false},
	} {
		if tt.change.Created() != tt.created || tt.change.Deleted() != tt.deleted {
			t.Errorf("%v: created %v, deleted %v", tt.change, tt.change.Created(), tt.change.Deleted())
		}
	}
}

// randomEntries returns a tree of few names, so that two of them have many paths in
// common, often of other kinds.
func randomEntries(r *rand.Rand) entries {
	e := make(entries)
	var fill func(at string, depth int)
	fill = func(at string, depth int) {
		for _, name := range []string{"a", "a-", "a\x01", "b", "\xff"} {
			p := Join(at, name)
			switch r.IntN(8) {
			case 0, 1:
				e[p] = file(fmt.Sprint(r.IntN(3)))
			case 2:
				e[p] = link(fmt.Sprint(r.IntN(2)))
			case 3:
				e[p] = Entry{Kind: File, Mode: uint32(r.IntN(ModeBits)), Hash: Sum(nil)}
			case 4, 5:
				e[p] = Entry{Kind: Directory, Mode: uint32(0o700 + r.IntN(2))}
				if depth > 0 {
					fill(p, depth-1)
				}
			}
		}
	}
	fill("", 3)
	return e
}

func TestComparedChangesLeadToTheOtherTree(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		a, b := randomEntries(r), randomEntries(r)
		from, to := a.tree(t), b.tree(t)
		changes := Compare(from, to)
		if !slices.IsSortedFunc(changes, func(a, b Change) int { return ComparePaths(a.Path, b.Path) }) {
			t.Fatal("changes are out of order")
		}
		for _, c := range changes {
			if a[c.Path] != c.Old || b[c.Path] != c.New {
				t.Fatalf("%v is not what happens to the path", c)
			}
		}
		r.Shuffle(len(changes), func(i, j int) { changes[i], changes[j] = changes[j], changes[i] })
		got, err := from.With(changes)
		if err != nil {
			t.Fatal(err)
		}
		b.same(t, got)
		if len(Compare(got, to)) != 0 {
			t.Fatal("the tree differs from the one that it equals")
		}
		if maps.Equal(a, b) != (from.Digest() == to.Digest()) {
			t.Fatal("digests do not tell whether trees are equal")
		}
	}
}

func TestTreeGrownPathByPathHasTheSameDigest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 3))
	for range 50 {
		e := randomEntries(r)
		tree := Tree{}
		for _, path := range slices.SortedFunc(maps.Keys(e), ComparePaths) {
			var err error
			if tree, err = tree.With([]Change{{Path: path, New: e[path]}}); err != nil {
				t.Fatal(err)
			}
		}
		e.same(t, tree)
		e.same(t, NewTree(rebuild(tree.Root())))
	}
}

// rebuild makes a directory anew from its children, in the wrong order.
func rebuild(d *Dir) *Dir {
	var children []Child
	for c := range d.Children() {
		if c.Dir.Count() > 0 {
			c.Dir = rebuild(c.Dir)
		} else {
			c.Dir = nil
		}
		children = append(children, c)
	}
	slices.Reverse(children)
	return NewDir(children)
}

// The digest is part of the wire format: these constants never change.
func TestDigestIsWhatItAlwaysWas(t *testing.T) {
	golden := entries{
		"empty":        file(""),
		"etc":          dir,
		"etc/app.conf": file("listen = 80\n"),
		"etc/none":     {Kind: Directory, Mode: 0o1770},
		"etc/run":      {Kind: File, Mode: 0o4755, Size: 9, Hash: Sum([]byte("#!/bin/sh"))},
		"etc-link":     link("etc/app.conf"),
		"\xff":         file("not UTF-8"),
	}
	if got, want := golden.tree(t).Digest().String(), "5550e4dad931cd6c870400c439676c356962406b57cf561a86849384cfd421b3"; got != want {
		t.Errorf("the golden tree's digest is %s, want %s", got, want)
	}
	if got, want := (Tree{}).Digest().String(), "ea16bc94784995533d330a2971d037dff9f03177fc88d29d5acde24c7ab9d2f0"; got != want {
		t.Errorf("the empty tree's digest is %s, want %s", got, want)
	}
}

func TestDigestTellsEveryFieldApart(t *testing.T) {
	trees := map[string]entries{
		"a file":                  {"a": file("1")},
		"its mode":                {"a": {Kind: File, Mode: 0o600, Size: 1, Hash: Sum([]byte("1"))}},
		"its content":             {"a": file("2")},
		"its size":                {"a": {Kind: File, Mode: 0o644, Size: 2, Hash: Sum([]byte("1"))}},
		"its kind":                {"a": {Kind: Symlink, Size: 1, Hash: Sum([]byte("1"))}},
		"its name":                {"b": file("1")},
		"an empty directory":      {"a": dir},
		"a directory in it":       {"a": dir, "a/b": dir},
		"a directory beside it":   {"a": dir, "b": dir},
		"the same, a level below": {"a": dir, "a/a": file("1")},
		"nothing":                 {},
	}
	seen := make(map[Hash]string)
	for name, e := range trees {
		d := e.tree(t).Digest()
		if other, ok := seen[d]; ok {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[d] = name
	}
}

func TestTreeLookups(t *testing.T) {
	tree := entries{"d": dir, "d/e": dir, "d/e/f": file("1"), "g": file("2")}.tree(t)
	for _, path := range []string{"", "x", "d/x", "g/x", "d/e/f/x", "d/", "/d", "x/y"} {
		if _, ok := tree.Get(path); ok {
			t.Errorf("Get(%q) finds something", path)
		}
	}
	if _, ok := (Tree{}).Get("a"); ok {
		t.Error("the empty tree holds something")
	}
	for path, count := range map[string]int{"": 4, "d": 2, "d/e": 1} {
		if d, ok := tree.Dir(path); !ok || d.Count() != count {
			t.Errorf("Dir(%q) holds %d, %v", path, d.Count(), ok)
		}
	}
	for _, path := range []string{"g", "x", "g/x"} {
		if _, ok := tree.Dir(path); ok {
			t.Errorf("Dir(%q) is a directory", path)
		}
	}
	for path := range tree.All() { // an iteration that is left early
		if path == "d/e" {
			break
		}
	}
}

func TestUnchangedDirectoriesAreShared(t *testing.T) {
	tree := entries{"a": dir, "a/x": file("1"), "b": dir, "b/x": file("1")}.tree(t)
	next, err := tree.With([]Change{{Path: "a/x", New: file("2")}})
	if err != nil {
		t.Fatal(err)
	}
	before, _ := tree.Dir("b")
	if after, _ := next.Dir("b"); after != before {
		t.Error("the directory that did not change was copied")
	}
}
