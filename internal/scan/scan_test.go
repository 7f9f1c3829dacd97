package scan_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
)

func TestScan(t *testing.T) {
	name255 := strings.Repeat("n", 255)
	tests := []struct {
		name  string
		build func(t *testing.T, d string)
		want  entries
	}{
		{"an empty directory is an empty tree", func(*testing.T, string) {}, entries{}},
		{"files and directories with modes", func(t *testing.T, d string) {
			write(t, d, "a/b/f", "x")
			write(t, d, "empty", "")
			must(t, os.Chmod(filepath.Join(d, "empty"), 0o600))
			must(t, unix.Chmod(filepath.Join(d, "a/b/f"), 0o4751))
			must(t, os.Mkdir(filepath.Join(d, "e"), 0o755))
			must(t, unix.Chmod(filepath.Join(d, "e"), 0o1777))
		}, entries{
			"a": dir(0o755), "a/b": dir(0o755), "a/b/f": file(0o4751, "x"),
			"empty": file(0o600, ""), "e": dir(0o1777),
		}},
		{"symlinks are carried, not followed", func(t *testing.T, d string) {
			write(t, d, "d/f", "x")
			link(t, d, "dangling", "nowhere/at/all")
			link(t, d, "absolute", "/etc/passwd")
			link(t, d, "loop", "loop")
			link(t, d, "todir", "d")
			link(t, d, "bytes", "\xff\n")
		}, entries{
			"d": dir(0o755), "d/f": file(0o644, "x"), "dangling": symlink("nowhere/at/all"),
			"absolute": symlink("/etc/passwd"), "loop": symlink("loop"), "todir": symlink("d"), "bytes": symlink("\xff\n"),
		}},
		{"names are bytes", func(t *testing.T, d string) {
			write(t, d, "a\xff/b\n", "x")
			write(t, d, name255, "y")
			write(t, d, "...", "z")
		}, entries{"a\xff": dir(0o755), "a\xff/b\n": file(0o644, "x"), name255: file(0o644, "y"), "...": file(0o644, "z")}},
		{"a file larger than the buffer", func(t *testing.T, d string) {
			write(t, d, "big", strings.Repeat("0123456789", 100_000))
		}, entries{"big": file(0o644, strings.Repeat("0123456789", 100_000))}},
		{"the root's own .confsyncd is no part of it", func(t *testing.T, d string) {
			write(t, d, ".confsyncd/journal", "x")
		}, entries{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := t.TempDir()
			tt.build(t, d)
			res := mustScan(t, newScanner(t, d), diff.Tree{}, nil)
			wantTree(t, res.Tree, tt.want)
			wantHeld(t, res)
		})
	}
}

// TestEdit publishes a tree, edits it, and scans only the directories named.
func TestEdit(t *testing.T) {
	tests := []struct {
		name string
		edit func(t *testing.T, d string)
		dirs []string
		want entries // of what changed; the zero entry is a deletion
	}{
		{"nothing", func(*testing.T, string) {}, nil, entries{}},
		{"mode only", func(t *testing.T, d string) {
			must(t, os.Chmod(filepath.Join(d, "a/f"), 0o600))
		}, []string{"a"}, entries{"a/f": file(0o600, "one")}},
		{"mode of a directory, seen from its parent", func(t *testing.T, d string) {
			must(t, os.Chmod(filepath.Join(d, "a"), 0o700))
		}, []string{""}, entries{"a": dir(0o700)}},
		{"mode of a directory, seen from itself", func(t *testing.T, d string) {
			must(t, os.Chmod(filepath.Join(d, "a"), 0o700))
		}, []string{"a"}, entries{"a": dir(0o700)}},
		{"atomic rename", func(t *testing.T, d string) {
			write(t, d, "a/tmp", "two")
			must(t, os.Rename(filepath.Join(d, "a/tmp"), filepath.Join(d, "a/f")))
		}, []string{"a"}, entries{"a/f": file(0o644, "two")}},
		{"same size and same mtime", func(t *testing.T, d string) {
			p := filepath.Join(d, "a/f")
			st, err := os.Stat(p)
			must(t, err)
			write(t, d, "a/f", "two")
			must(t, os.Chtimes(p, st.ModTime(), st.ModTime()))
		}, []string{"a"}, entries{"a/f": file(0o644, "two")}},
		{"a file becomes a directory", func(t *testing.T, d string) {
			must(t, os.Remove(filepath.Join(d, "a/f")))
			write(t, d, "a/f/g", "two")
		}, []string{"a"}, entries{"a/f": dir(0o755), "a/f/g": file(0o644, "two")}},
		{"a directory becomes a file", func(t *testing.T, d string) {
			must(t, os.RemoveAll(filepath.Join(d, "b")))
			write(t, d, "b", "two")
		}, []string{""}, entries{"b": file(0o644, "two"), "b/c": {}, "b/c/f": {}}},
		{"a directory becomes a file, seen from below", func(t *testing.T, d string) {
			must(t, os.RemoveAll(filepath.Join(d, "b")))
			write(t, d, "b", "two")
		}, []string{"b/c"}, entries{"b": file(0o644, "two"), "b/c": {}, "b/c/f": {}}},
		{"a directory is gone, seen from below", func(t *testing.T, d string) {
			must(t, os.RemoveAll(filepath.Join(d, "b/c")))
		}, []string{"b/c"}, entries{"b/c": {}, "b/c/f": {}}},
		{"a directory is replaced, seen from below", func(t *testing.T, d string) {
			must(t, os.Rename(filepath.Join(d, "b"), filepath.Join(d, "old")))
			write(t, d, "b/c/g", "two")
			write(t, d, "b/h", "two")
			must(t, os.RemoveAll(filepath.Join(d, "old")))
		}, []string{"b/c"}, entries{"b/c/f": {}, "b/c/g": file(0o644, "two"), "b/h": file(0o644, "two")}},
		{"directories swap their names", func(t *testing.T, d string) {
			must(t, unix.Renameat2(unix.AT_FDCWD, filepath.Join(d, "a"), unix.AT_FDCWD, filepath.Join(d, "b"), unix.RENAME_EXCHANGE))
		}, []string{""}, entries{"a/f": {}, "a/c": dir(0o755), "a/c/f": file(0o644, "one"), "b/c": {}, "b/c/f": {}, "b/f": file(0o644, "one")}},
		{"a symlink is retargeted", func(t *testing.T, d string) {
			must(t, os.Remove(filepath.Join(d, "l")))
			link(t, d, "l", "b")
		}, []string{""}, entries{"l": symlink("b")}},
		{"a directory that was never there", func(*testing.T, string) {}, []string{"x/y/z", "a/f/q"}, entries{}},
	}
	before := entries{
		"a": dir(0o755), "a/f": file(0o644, "one"), "b": dir(0o755), "b/c": dir(0o755),
		"b/c/f": file(0o644, "one"), "l": symlink("a"),
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := t.TempDir()
			write(t, d, "a/f", "one")
			write(t, d, "b/c/f", "one")
			link(t, d, "l", "a")
			s := newScanner(t, d)
			first := mustScan(t, s, diff.Tree{}, nil)
			wantTree(t, first.Tree, before)
			tt.edit(t, d)
			res := mustScan(t, s, first.Tree, tt.dirs)
			want := entries{}
			for p, e := range before {
				want[p] = e
			}
			for p, e := range tt.want {
				if want[p] = e; e.Kind == diff.None {
					delete(want, p)
				}
			}
			wantTree(t, res.Tree, want)
			wantHeld(t, res)
		})
	}
}

func TestOnlyTheChangeIsReadAndMade(t *testing.T) {
	d := t.TempDir()
	write(t, d, "a/f", "one")
	write(t, d, "a/deep/f", "one")
	write(t, d, "b/f", "one")
	s := newScanner(t, d, settled)
	first := mustScan(t, s, diff.Tree{}, nil)
	if first.Read != 3 || first.ReadBytes != 9 {
		t.Errorf("the first scan read %d files, %d bytes", first.Read, first.ReadBytes)
	}
	if res := mustScan(t, s, first.Tree, nil); res.Read != 0 || res.Tree.Root() != first.Tree.Root() {
		t.Errorf("an idle full scan read %d files and has root %p, was %p", res.Read, res.Tree.Root(), first.Tree.Root())
	}
	write(t, d, "a/f", "two")
	write(t, d, "b/f", "unseen")
	res := mustScan(t, s, first.Tree, []string{"a"})
	if res.Read != 1 {
		t.Errorf("%d files were read, want 1", res.Read)
	}
	for _, p := range []string{"a/deep", "b"} {
		was, _ := first.Tree.Dir(p)
		if is, _ := res.Tree.Dir(p); is != was {
			t.Errorf("%q was made anew", p)
		}
	}
	for _, path := range []string{"a/f", "b/f", "nowhere/f", "a/nothing"} {
		s.Distrust(path)
	}
	if res := mustScan(t, s, first.Tree, []string{"a", "b"}); res.Read != 2 {
		t.Errorf("%d files were read again, want the 2 that are not trusted", res.Read)
	}
}

func TestAFileOfJustNowIsReadAgain(t *testing.T) {
	d := t.TempDir()
	write(t, d, "f", "one")
	at := time.Now()
	s := newScanner(t, d, func(o *scan.Options) { o.Now = func() time.Time { return at } })
	mustScan(t, s, diff.Tree{}, nil)
	if res := mustScan(t, s, diff.Tree{}, nil); res.Read != 1 {
		t.Errorf("within the margin %d files were read again, want 1", res.Read)
	}
	at = at.Add(time.Minute)
	mustScan(t, s, diff.Tree{}, nil)
	if res := mustScan(t, s, diff.Tree{}, nil); res.Read != 0 {
		t.Errorf("long after it %d files were read again, want 0", res.Read)
	}
}

func TestIgnoredPathsLeaveTheTree(t *testing.T) {
	d := t.TempDir()
	write(t, d, "f", "x")
	write(t, d, "f~", "x")
	write(t, d, ".git/index.lock", "x")
	write(t, d, ".git/config", "x")
	write(t, d, ".confsyncd-hold", "x")
	committed := mustScan(t, newScanner(t, d), diff.Tree{}, nil).Tree
	res := mustScan(t, newScanner(t, d, func(o *scan.Options) {
		o.Ignore = []string{"*~"}
		o.BusyFiles = []string{".confsyncd-hold", ".git/index.lock"}
	}), committed, nil)
	wantTree(t, res.Tree, entries{"f": file(0o644, "x"), ".git": dir(0o755), ".git/config": file(0o644, "x")})
}

func TestRoot(t *testing.T) {
	t.Run("a missing root is an error, and its return heals", func(t *testing.T) {
		d := filepath.Join(t.TempDir(), "root")
		s := newScanner(t, d)
		if _, err := s.Scan(t.Context(), diff.Tree{}, nil); !errors.Is(err, scan.ErrRootMissing) {
			t.Errorf("got %v", err)
		}
		write(t, d, "f", "x")
		first := mustScan(t, s, diff.Tree{}, []string{})
		must(t, os.Rename(d, d+"-away"))
		if _, err := s.Scan(t.Context(), first.Tree, []string{}); !errors.Is(err, scan.ErrRootMissing) {
			t.Errorf("got %v", err)
		}
		write(t, d+"-away", "g", "y")
		must(t, os.Rename(d+"-away", d))
		wantTree(t, mustScan(t, s, first.Tree, []string{}).Tree, entries{"f": file(0o644, "x"), "g": file(0o644, "y")})
	})
	t.Run("a file in its place is an error", func(t *testing.T) {
		d := t.TempDir()
		write(t, d, "f", "x")
		_, err := newScanner(t, filepath.Join(d, "f")).Scan(t.Context(), diff.Tree{}, nil)
		if !errors.Is(err, scan.ErrRootMissing) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a root that is a symlink is followed, and another target is another root", func(t *testing.T) {
		d := t.TempDir()
		write(t, d, "v1/f", "1")
		write(t, d, "v2/f", "2")
		link(t, d, "current", "v1")
		s := newScanner(t, filepath.Join(d, "current"))
		first := mustScan(t, s, diff.Tree{}, nil)
		link(t, d, "next", "v2")
		must(t, os.Rename(filepath.Join(d, "next"), filepath.Join(d, "current")))
		res := mustScan(t, s, first.Tree, []string{})
		wantTree(t, res.Tree, entries{"f": file(0o644, "2")})
		if res.Root == first.Root {
			t.Errorf("both roots are %+v", res.Root)
		}
	})
	// The scanner asks the clock before it reads a file: that is when these tests act.
	t.Run("a root that is moved away during the scan is an error", func(t *testing.T) {
		d := filepath.Join(t.TempDir(), "root")
		write(t, d, "a", "x")
		write(t, d, "b", "x")
		committed := mustScan(t, newScanner(t, d), diff.Tree{}, nil).Tree
		away := func() { must(t, errors.Join(os.Remove(filepath.Join(d, "b")), os.Rename(d, d+"-away"))) }
		_, err := newScanner(t, d, meanwhile(2, away)).Scan(t.Context(), committed, nil)
		if !errors.Is(err, scan.ErrRootMissing) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a root that is replaced during the scan is scanned anew", func(t *testing.T) {
		d := filepath.Join(t.TempDir(), "root")
		write(t, d, "a", "x")
		write(t, d+"-new", "b", "y")
		swap := func() { must(t, unix.Renameat2(unix.AT_FDCWD, d, unix.AT_FDCWD, d+"-new", unix.RENAME_EXCHANGE)) }
		res := mustScan(t, newScanner(t, d, meanwhile(2, swap)), diff.Tree{}, nil)
		wantTree(t, res.Tree, entries{"b": file(0o644, "y")})
	})
	t.Run("a relative path is refused", func(t *testing.T) {
		if _, err := scan.New(scan.Options{Dir: "x"}); err == nil {
			t.Error("no error")
		}
	})
}

func TestAScanThatWasCutShortIsMadeUpFor(t *testing.T) {
	d := t.TempDir()
	write(t, d, "a/f", "x")
	write(t, d, "b/f", "x")
	s := newScanner(t, d)
	first := mustScan(t, s, diff.Tree{}, nil)
	write(t, d, "b/f", "y")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Scan(ctx, first.Tree, []string{"b"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	res := mustScan(t, s, first.Tree, []string{"a"})
	if e, _ := res.Tree.Get("b/f"); e != file(0o644, "y") {
		t.Errorf("b/f is %+v", e)
	}
}

func TestDirectoryWithTrailingSlashStandsForAllBelow(t *testing.T) {
	d := t.TempDir()
	for _, path := range []string{"a/f", "a/b/f", "a/b/c/f", "d/e/f"} {
		write(t, d, path, "old")
	}
	s := newScanner(t, d, settled)
	mustScan(t, s, diff.Tree{}, nil)
	for _, path := range []string{"a/f", "a/b/f", "a/b/c/f", "d/e/f"} {
		write(t, d, path, "newer")
	}
	for _, tt := range []struct {
		dirs []string
		want int // files read
	}{
		{[]string{"a/b"}, 1},
		{[]string{"a/", "a/b"}, 2},
		{[]string{"d"}, 0},
		{[]string{"/"}, 1},
	} {
		if res := mustScan(t, s, diff.Tree{}, tt.dirs); res.Read != tt.want {
			t.Errorf("%q: %d files were read, want %d", tt.dirs, res.Read, tt.want)
		}
	}
}
