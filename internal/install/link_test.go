package install

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// An edit of as many bytes, with the mtime put back, shows in the ctime alone.
func TestTree_linksNoFileThatWasEditedSinceItWasSurveyed(t *testing.T) {
	dir := newDir(t)
	before := files{"a": "644 one", "b": "644 one", "stays": "644 stays"}
	first := mustOpen(t, optionsIn(Tree, dir))
	mustApply(t, first, 1, before)
	do(t, first.Close())
	target := at(t, optionsIn(Tree, dir), "before-build", func() {
		stays := filepath.Join(dir, "stays")
		info, err := os.Stat(stays)
		do(t, err)
		time.Sleep(2 * raceWindow)
		write(t, stays, "SWAPS")
		do(t, os.Chtimes(stays, info.ModTime(), info.ModTime()))
	})
	after := before.with(files{"a": "644 two", "b": "644 two"})
	mustApply(t, target, 2, after) // It looks again.
	mustLook(t, dir, after)
	if got := kept(t, dir); got["stays"] != "644 SWAPS" {
		t.Errorf("kept %q", got)
	}
}

// Linking one name of a file changes the ctime that its other names show.
func TestTree_takesAlongFilesThatAreLinkedToEachOther(t *testing.T) {
	dir := newDir(t)
	before := files{"a": "644 one", "b": "644 one", "same": "644 same", "too": "644 same"}
	target := mustOpen(t, optionsIn(Tree, dir))
	mustApply(t, target, 1, before)
	do(t, os.Remove(filepath.Join(dir, "too")))
	do(t, os.Link(filepath.Join(dir, "same"), filepath.Join(dir, "too")))
	time.Sleep(2 * raceWindow)
	after := before.with(files{"a": "644 two", "b": "644 two"})
	mustApply(t, target, 2, after)
	mustLook(t, dir, after)
}

func TestTree_stopsToLinkOnceItCannotGoOn(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // One batch at a time.
	dir := newDir(t)
	before := files{"a": "644 one", "b": "644 one"}
	for i := range 20 {
		d := fmt.Sprintf("d%02d", i)
		before[d] = "755/"
		before[d+"/f"] = "644 f"
	}
	first := mustOpen(t, optionsIn(Tree, dir))
	mustApply(t, first, 1, before)
	do(t, first.Close())
	target := mustOpen(t, optionsIn(Tree, dir))
	removed, looked := false, false
	target.crash = func(point string) {
		switch {
		case point == "before-build" && !removed:
			removed = true
			do(t, os.Remove(filepath.Join(dir, "d00/f")))
		case point == "after-stage" && !looked:
			looked = true
			if _, err := os.Lstat(filepath.Join(siblingPath(dir), nextName, "d19/f")); err == nil {
				t.Error("all the others were linked")
			}
		}
	}
	after := before.with(files{"a": "644 two", "b": "644 two"})
	mustApply(t, target, 2, after) // It looks again.
	mustLook(t, dir, after)
}

func TestTree_namesTheTargetThatCannotBeLookedAt(t *testing.T) {
	asUser(t)
	dir := newDir(t)
	before := files{"a": "644 one", "b": "644 one"}
	first := mustOpen(t, optionsIn(Tree, dir))
	mustApply(t, first, 1, before)
	do(t, first.Close())
	time.Sleep(2 * raceWindow)
	target := at(t, optionsIn(Tree, dir), "after-stage", func() { do(t, os.Chmod(dir, 0)) })
	_, err := apply(t, target, 2, before.with(files{"a": "644 two", "b": "644 two"}))
	do(t, os.Chmod(dir, 0o755))
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("the error names no path: %v", err)
	}
}
