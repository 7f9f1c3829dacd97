package diff

import (
	"strings"
	"testing"
)

// treeOf makes a tree of words: "a/" is a directory, "a=1" a file, directories above are made.
func treeOf(t testing.TB, words string) Tree {
	t.Helper()
	made := make(map[string]Entry)
	for word := range strings.FieldsSeq(words) {
		path, content, isFile := strings.Cut(word, "=")
		path = strings.TrimSuffix(path, "/")
		for dir := Parent(path); dir != ""; dir = Parent(dir) {
			made[dir] = Entry{Kind: Directory, Mode: 0o755}
		}
		made[path] = Entry{Kind: Directory, Mode: 0o755}
		if isFile {
			made[path] = Entry{Kind: File, Mode: 0o644, Size: int64(len(content)), Hash: Sum([]byte(content))}
		}
	}
	var changes []Change
	for path, e := range made {
		changes = append(changes, Change{Path: path, New: e})
	}
	tree, err := Tree{}.With(changes)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestRebase(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		onto, from, to, want string
	}{
		{"an edit", "a=0 b=0", "a=1 b=1", "a=2 b=1", "a=2 b=0"},
		{"a new file", "a=0", "a=1", "a=1 b=1", "a=0 b=1"},
		{"a deletion", "a=0 b=0", "a=1 b=1", "b=1", "b=0"},
		{"a deletion of what is not there", "b=0", "a=1 b=1", "b=1", "b=0"},
		{"an edit of what is not there", "b=0", "a=1 b=1", "a=2 b=1", "a=2 b=0"},
		{"an edit that was made already", "a=2 b=0", "a=1 b=1", "a=2 b=1", "a=2 b=0"},
		{"an edit in a directory that is not there", "b=0", "d/a=1 d/c=1 b=1", "d/a=2 d/c=1 b=1", "d/a=2 b=0"},
		{"an edit below what is a file", "d=0", "d/a=1 d/c=1", "d/a=2 d/c=1", "d/a=2"},
		{"a deletion below what is a file", "d=0", "d/a=1 d/c=1", "d/c=1", "d=0"},
		{"a deletion below what is not there", "x=0", "d/a=1 x=1", "d/ x=1", "x=0"},
		{"a file where a directory was", "d/a=0 d/z=0", "d/a=1", "d=2", "d=2"},
		{"a directory that goes, and has more", "d/a=0 d/z=0", "d/a=1", "", "d/z=0"},
		{"a directory that goes", "d/a=0", "d/a=1", "", ""},
		{"a file that goes where a directory is", "d/z=0", "d=1", "", "d/z=0"},
		{"a new directory where a file is", "d=0", "x=1", "d/ x=1", "d/"},
		{"a new empty directory", "a=0", "a=1", "a=1 d/", "a=0 d/"},
		{"nothing", "a=0", "a=1 b=1", "a=1 b=1", "a=0"},
		{"all", "a=1 b=1", "a=1 b=1", "c=1", "c=1"},
		{"from nothing", "a=0", "", "b=1", "a=0 b=1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Rebase(treeOf(t, tt.onto), treeOf(t, tt.from), treeOf(t, tt.to))
			if changes := Compare(treeOf(t, tt.want), got); len(changes) > 0 {
				t.Errorf("differs from what is wanted by %+v", changes)
			}
		})
	}
}

// What is rebased is a tree, has all that was edited, and nothing that neither side has.
func FuzzRebase(f *testing.F) {
	f.Fuzz(func(t *testing.T, onto, from, to string) {
		var trees [3]Tree
		for i, lines := range []string{onto, from, to} {
			tree, err := Tree{}.With(changesOf(lines))
			if err != nil {
				t.Skip()
			}
			trees[i] = tree
		}
		got := Rebase(trees[0], trees[1], trees[2])
		var all []Change
		for path, e := range got.All() {
			all = append(all, Change{Path: path, New: e})
			a, isOnto := trees[0].Get(path)
			b, isTo := trees[2].Get(path)
			if !(isOnto && a == e) && !(isTo && b == e) {
				t.Errorf("%q is from nowhere", path)
			}
		}
		if again, err := (Tree{}).With(all); err != nil || again.Digest() != got.Digest() {
			t.Errorf("is no tree: %v", err)
		}
		for _, c := range Compare(trees[1], trees[2]) {
			if e, _ := got.Get(c.Path); !c.Deleted() && e != c.New {
				t.Errorf("the edit of %q is not in it", c.Path)
			} else if c.Deleted() && e.Kind != None && e.Kind != Directory {
				t.Errorf("%q is still there", c.Path)
			}
		}
		if Rebase(trees[0], trees[1], trees[1]).Digest() != trees[0].Digest() || Rebase(trees[1], trees[1], trees[2]).Digest() != trees[2].Digest() {
			t.Error("nothing and all are not what they are to be")
		}
	})
}
