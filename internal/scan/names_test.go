package scan_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
)

func TestOneNameIsLookedAtByItself(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "d/a", "a1")
	write(t, dir, "d/b", "b1")
	s := newScanner(t, dir, settled)
	was := mustScan(t, s, diff.Tree{}, nil).Tree

	write(t, dir, "d/b", "not named")
	write(t, dir, "d/a", "named")
	now := mustScan(t, s, was, []string{}, "d/a")
	if changes := diff.Compare(was, now.Tree); len(changes) != 1 || changes[0].Path != "d/a" {
		t.Errorf("changes %+v, want d/a alone", changes)
	}
	if now.Read != 1 {
		t.Errorf("%d files were read", now.Read)
	}
	now = mustScan(t, s, now.Tree, []string{}, "d/a", "d/b", "d/never-there")
	if changes := diff.Compare(was, now.Tree); len(changes) != 2 {
		t.Errorf("changes %+v, want both", changes)
	}
}

func TestANameThatIsGoneOrNewHasItsDirectoryLookedAt(t *testing.T) {
	for name, edit := range map[string]func(dir string) error{
		"gone":          func(dir string) error { return os.Remove(filepath.Join(dir, "a")) },
		"new":           func(dir string) error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o600) },
		"a directory":   func(dir string) error { return os.Mkdir(filepath.Join(dir, "new"), 0o700) },
		"another kind":  func(dir string) error { return os.Rename(filepath.Join(dir, "link"), filepath.Join(dir, "a")) },
		"a new symlink": func(dir string) error { return os.Symlink("b", filepath.Join(dir, "new")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "a", "1")
			write(t, dir, "b", "1")
			must(t, os.Symlink("a", filepath.Join(dir, "link")))
			s := newScanner(t, dir, settled)
			was := mustScan(t, s, diff.Tree{}, nil).Tree
			must(t, edit(dir))
			got := mustScan(t, s, was, []string{}, "a", "new", "link")
			if want := mustScan(t, newScanner(t, dir, settled), was, nil); got.Tree.Digest() != want.Tree.Digest() {
				t.Errorf("found %+v more than is there", diff.Compare(want.Tree, got.Tree))
			}
		})
	}
}

func TestAFileOfTwoNamesHasBothLookedAt(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", "old")
	must(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
	s := newScanner(t, dir, settled)
	was := mustScan(t, s, diff.Tree{}, nil).Tree
	write(t, dir, "a", "written through one of them")
	now := mustScan(t, s, was, []string{}, "a")
	if changes := diff.Compare(was, now.Tree); len(changes) != 2 {
		t.Errorf("changes %+v, want both", changes)
	}
}
