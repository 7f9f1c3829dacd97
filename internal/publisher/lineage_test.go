package publisher

import (
	"testing"
	"testing/synctest"
	"time"

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
		eligible bool // of a copy
		shared   bool // of a directory that is shared
	}{
		"equal is eligible":                               {commits: []files{{"a", "1"}}, dir: files{"a", "1"}, eligible: true, shared: true},
		"never equal is not":                              {commits: []files{{"a", "1"}}, dir: files{"a", "0"}},
		"an edit after it was equal is one":               {equalled: files{"a", "1"}, dir: files{"a", "2"}, eligible: true, shared: true},
		"so are a new file and a deletion":                {equalled: files{"a", "1", "b", "1"}, dir: files{"a", "1", "c", "1"}, eligible: true, shared: true},
		"an edit on top of a commit that it never was at": {equalled: files{"a", "1"}, commits: []files{{"a", "2"}}, dir: files{"a", "3"}, eligible: true, shared: true},
		"an edit beside a commit":                         {equalled: files{"a", "1", "b", "1"}, commits: []files{{"a", "2", "b", "1"}}, dir: files{"a", "2", "b", "2"}, eligible: true, shared: true},
		"a copy that lacks a commit lags":                 {equalled: files{"a", "1"}, commits: []files{{"a", "2"}}, dir: files{"a", "1"}, shared: true},
		"a copy that lacks a new file lags":               {equalled: files{"a", "1"}, commits: []files{{"a", "1", "b", "1"}}, dir: files{"a", "1"}, shared: true},
		"a copy that still has a deleted file lags":       {equalled: files{"a", "1", "b", "1"}, commits: []files{{"a", "1"}}, dir: files{"a", "1", "b", "1"}, shared: true},
		"a copy between two commits lags":                 {equalled: files{"a", "1"}, commits: []files{{"a", "2"}, {"a", "3"}}, dir: files{"a", "2"}, shared: true},
		"a copy that lacks one of two files lags":         {equalled: files{"a", "1", "b", "1"}, commits: []files{{"a", "2", "b", "2"}}, dir: files{"a", "2", "b", "1"}, shared: true},
		"a file that a commit has put back is no lag":     {equalled: files{"a", "1"}, commits: []files{{"a", "2"}, {"a", "1"}}, dir: files{"a", "1"}, eligible: true, shared: true},
	} {
		for _, kind := range []struct {
			name     string
			patience time.Duration
			want     bool
		}{{"copy", forever, tt.eligible}, {"shared", 0, tt.shared}, {"shared behind a cache", cachePatience, tt.eligible}} {
			t.Run(name+", "+kind.name, func(t *testing.T) {
				l := lineage{patience: kind.patience}
				head := treeOf(t, tt.equalled...)
				if tt.equalled != nil {
					l.look(head, head)
				}
				for _, c := range tt.commits {
					after := treeOf(t, c...)
					l.moved(head, after)
					head = after
				}
				if got := l.look(head, treeOf(t, tt.dir...)); got.eligible != kind.want || got.eligible == (got.apart != "") {
					t.Errorf("got %+v, want %v", got, kind.want)
				}
			})
		}
	}
}

func TestWhatACacheMayShowIsBelievedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := treeOf(t, "a", "1"), treeOf(t, "a", "2")
		for patience, want := range map[time.Duration]bool{cachePatience: true, forever: false} {
			l := lineage{patience: patience}
			l.look(one, one)
			l.moved(one, two)
			time.Sleep(cachePatience - time.Second)
			if l.look(two, one).eligible {
				t.Errorf("patience %v: too early", patience)
			}
			time.Sleep(time.Second)
			if got := l.look(two, one).eligible; got != want {
				t.Errorf("patience %v: %v", patience, got)
			}
		}
	})
}

func TestPathThatHasCaughtUpMayBePutBack(t *testing.T) {
	l := lineage{patience: forever}
	before, after := treeOf(t, "a", "1", "b", "1"), treeOf(t, "a", "2", "b", "1")
	l.look(before, before)
	l.moved(before, after)
	l.look(after, treeOf(t, "a", "2", "b", "2")) // never equal as a whole
	if got := l.look(after, treeOf(t, "a", "1", "b", "2")); !got.eligible {
		t.Errorf("%+v", got)
	}
}

func TestLineageKeepsNothingOfWhatNeverWasEqual(t *testing.T) {
	l := lineage{patience: forever}
	l.moved(treeOf(t, "a", "1"), treeOf(t, "a", "2"))
	if len(l.former) != 0 {
		t.Errorf("%d paths", len(l.former))
	}
}
