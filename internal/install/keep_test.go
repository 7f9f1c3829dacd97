package install

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sets returns the names of the applies that kept anything.
func sets(t *testing.T, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(ControlDir(dir), keptName, "*"))
	do(t, err)
	return list
}

func TestKept_notByWhatEndedBeforeItBegan(t *testing.T) {
	eachMode(t, testKeptNotByWhatEndedBeforeItBegan)
}

func testKeptNotByWhatEndedBeforeItBegan(t *testing.T, m Mode) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	mustApply(t, target, 1, files{"a": "644 one"})
	do(t, os.WriteFile(filepath.Join(dir, "a"), []byte("edited"), 0o644))
	p, c := plan(t, 2, files{"a": "644 two"})
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		target.crash = func(at string) {
			if at == "after-stage" {
				cancel()
			}
		}
		if _, err := target.Apply(ctx, p, c); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if got := sets(t, dir); len(got) > 0 {
		t.Errorf("kept %q, and a still stands there", got)
	}
	mustApply(t, target, 2, files{"a": "644 two"})
	if got := kept(t, dir); len(got) != 1 || got["a"] != "644 edited" {
		t.Errorf("kept %q", got)
	}
}

func TestKept_onceByAllAttemptsAtOneNext(t *testing.T) {
	o := options(newDir(t))
	first := mustOpen(t, o)
	mustApply(t, first, 1, files{"a": "644 one", "b": "644 one"})
	do(t, first.Close())
	do(t, os.WriteFile(filepath.Join(o.Dir, "b"), []byte("edited"), 0o644))
	after := files{"a": "644 two", "b": "644 two"}
	mustCrash(t, o, "after-next", 2, after)
	// Meanwhile another editor replaces the file by one that holds the same.
	for i := range 4 {
		if i == 2 {
			do(t, os.WriteFile(filepath.Join(o.Dir, "new"), []byte("edited"), 0o644))
			do(t, os.Rename(filepath.Join(o.Dir, "new"), filepath.Join(o.Dir, "b")))
		}
		mustCrash(t, o, "mid-switch 1", 2, after)
		list, err := filepath.Glob(filepath.Join(ControlDir(o.Dir), keptName, "*", "*"))
		if err != nil || len(list) != 1 {
			t.Fatalf("after %d attempts %q are kept (%v)", i+1, list, err)
		}
	}
	mustOpen(t, o)
	mustLook(t, o.Dir, after)
	if got := kept(t, o.Dir); len(got) != 1 || got["b"] != "644 edited" {
		t.Errorf("kept %q", got)
	}
}

func TestKept_theNewestStayAtOpenHoweverLarge(t *testing.T) {
	eachMode(t, testKeptTheNewestStayAtOpenHoweverLarge)
}

func testKeptTheNewestStayAtOpenHoweverLarge(t *testing.T, m Mode) {
	o := optionsIn(m, newDir(t))
	first := mustOpen(t, o)
	mustApply(t, first, 1, files{"a": "644 one"})
	do(t, first.Close())
	path := filepath.Join(o.Dir, "a")
	do(t, os.Truncate(path, keptSize+1)) // Sparse.
	mustCrash(t, o, "after-next", 2, files{"a": "644 two"})
	mustOpen(t, o)
	mustLook(t, o.Dir, files{"a": "644 two"})
	list := sets(t, o.Dir)
	if len(list) != 1 {
		t.Fatalf("kept %q", list)
	}
	if info, err := os.Stat(filepath.Join(list[0], "a")); err != nil || info.Size() != keptSize+1 {
		t.Errorf("%v %v", info, err)
	}
}

func TestKept_aNameAsLongAsNamesMayBe(t *testing.T) { eachMode(t, testKeptANameAsLongAsNamesMayBe) }

func testKeptANameAsLongAsNamesMayBe(t *testing.T, m Mode) {
	o := optionsIn(m, newDir(t))
	name := strings.Repeat("n", maxName)
	first := mustOpen(t, o)
	mustApply(t, first, 1, files{name: "644 one"})
	do(t, first.Close())
	do(t, os.WriteFile(filepath.Join(o.Dir, name), []byte("edited"), 0o644))
	target := at(t, o, "after-next", func() {
		do(t, os.WriteFile(filepath.Join(o.Dir, "new"), []byte("again"), 0o644))
		do(t, os.Rename(filepath.Join(o.Dir, "new"), filepath.Join(o.Dir, name)))
	})
	mustApply(t, target, 2, files{name: "644 two"})
	got := kept(t, o.Dir)
	if got[name] != "644 edited" || got[name[:maxName-2]+"~1"] != "644 again" {
		t.Errorf("kept %q", got)
	}
}
