package publisher

import (
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// treeOf returns the tree of files, given as paths and contents in turn.
func treeOf(t *testing.T, files ...string) diff.Tree {
	t.Helper()
	var changes []diff.Change
	for i := 0; i < len(files); i += 2 {
		c := files[i+1]
		changes = append(changes, diff.Change{Path: files[i], New: diff.Entry{Kind: diff.File, Mode: 0o644, Size: int64(len(c)), Hash: diff.Sum([]byte(c))}})
	}
	tree, err := diff.Tree{}.With(changes)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestLineage(t *testing.T) {
	type files []string
	for name, tt := range map[string]struct {
		equalled files   // the directory and the head, at first; nil: they never were equal
		commits  []files // since
		dir      files
		eligible bool
	}{
		"equal is eligible":                               {commits: []files{{"a", "1"}}, dir: files{"a", "1"}, eligible: true},
		"never equal is not":                              {commits: []files{{"a", "1"}}, dir: files{"a", "0"}},
		"an edit after it was equal is one":               {equalled: files{"a", "1"}, dir: files{"a", "2"}, eligible: true},
		"so are a new file and a deletion":                {equalled: files{"a", "1", "b", "1"}, dir: files{"a", "1", "c", "1"}, eligible: true},
		"an edit on top of a commit that it never was at": {equalled: files{"a", "1"}, commits: []files{{"a", "2"}}, dir: files{"a", "3"}, eligible: true},
		"an edit beside a commit":                         {equalled: files{"a", "1", "b", "1"}, commits: []files{{"a", "2", "b", "1"}}, dir: files{"a", "2", "b", "2"}, eligible: true},
		"a copy that lacks a commit lags":                 {equalled: files{"a", "1"}, commits: []files{{"a", "2"}}, dir: files{"a", "1"}},
		"a copy that lacks a new file lags":               {equalled: files{"a", "1"}, commits: []files{{"a", "1", "b", "1"}}, dir: files{"a", "1"}},
		"a copy that still has a deleted file lags":       {equalled: files{"a", "1", "b", "1"}, commits: []files{{"a", "1"}}, dir: files{"a", "1", "b", "1"}},
		"a copy between two commits lags":                 {equalled: files{"a", "1"}, commits: []files{{"a", "2"}, {"a", "3"}}, dir: files{"a", "2"}},
		"a copy that lacks one of two files lags":         {equalled: files{"a", "1", "b", "1"}, commits: []files{{"a", "2", "b", "2"}}, dir: files{"a", "2", "b", "1"}},
		"a file that a commit has put back is no lag":     {equalled: files{"a", "1"}, commits: []files{{"a", "2"}, {"a", "1"}}, dir: files{"a", "1"}, eligible: true},
	} {
		t.Run(name, func(t *testing.T) {
			var l lineage
			head := treeOf(t, tt.equalled...)
			if tt.equalled != nil {
				l.look(head, head)
			}
			for _, c := range tt.commits {
				after := treeOf(t, c...)
				l.moved(head, after)
				head = after
			}
			if got := l.look(head, treeOf(t, tt.dir...)); got.eligible != tt.eligible || got.eligible == (got.apart != "") {
				t.Errorf("got %+v, want %v", got, tt.eligible)
			}
		})
	}
}

func TestLineageKeepsNothingOfWhatNeverWasEqual(t *testing.T) {
	var l lineage
	l.moved(treeOf(t, "a", "1"), treeOf(t, "a", "2"))
	if len(l.former) != 0 {
		t.Errorf("%d paths", len(l.former))
	}
}
