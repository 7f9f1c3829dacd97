package scan_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
)

// TestFileMovedAsideByAnEditor looks while an editor has renamed a file to its backup's
// name, and has not written it anew.
func TestFileMovedAsideByAnEditor(t *testing.T) {
	d := t.TempDir()
	var later time.Duration
	s, err := scan.New(scan.Options{
		Dir: d, Ignore: []string{"*~"}, Log: hclog.NewNullLogger(), Now: func() time.Time { return time.Now().Add(later) },
	})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(d, "f")
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	committed := diff.Tree{}
	expect := func(when string, want diff.Entry, held bool) {
		t.Helper()
		res, err := s.Scan(t.Context(), committed, []string{""})
		do(err)
		if e, _ := res.Tree.Get("f"); e != want {
			t.Errorf("%s f is %+v, want %+v", when, e, want)
		}
		if got := len(res.Held) == 1 && res.Held[0].Path == "f" && res.Held[0].Reason == scan.Saving; got != held {
			t.Errorf("%s held are %+v", when, res.Held)
		}
		committed = res.Tree
	}
	do(os.WriteFile(name, []byte("1"), 0o644))
	expect("at first", file(0o644, "1"), false)
	do(os.Rename(name, name+"~"))
	expect("moved aside", file(0o644, "1"), true)
	expect("still away", file(0o644, "1"), true)
	do(os.WriteFile(name, []byte("2"), 0o644))
	expect("written anew", file(0o644, "2"), false)
	do(os.Rename(name, name+"~"))
	expect("moved aside again", file(0o644, "2"), true)
	later = time.Minute
	expect("away for good", diff.Entry{}, false)
	later = 0
	do(os.WriteFile(name, []byte("3"), 0o644))
	expect("made again", file(0o644, "3"), false)
	do(os.Remove(name))
	expect("deleted", diff.Entry{}, false)
}
