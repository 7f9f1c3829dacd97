package scan_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
)

func TestRehash(t *testing.T) {
	d := t.TempDir()
	for _, path := range []string{"same", "content", "size", "a/b/gone", "a/kind", "lost/f"} {
		write(t, d, path, "one")
	}
	link(t, d, "a/same", "target")
	link(t, d, "a/target", "target")
	tree := mustScan(t, newScanner(t, d), diff.Tree{}, nil).Tree
	write(t, d, "content", "two")
	write(t, d, "size", "three")
	must(t, os.Remove(filepath.Join(d, "a/b/gone")))
	must(t, os.Remove(filepath.Join(d, "a/kind")))
	must(t, unix.Mkfifo(filepath.Join(d, "a/kind"), 0o644))
	must(t, os.Remove(filepath.Join(d, "a/target")))
	link(t, d, "a/target", "elsewhere")
	must(t, os.RemoveAll(filepath.Join(d, "lost")))
	link(t, d, "lost", "a") // is not followed

	got, err := scan.Rehash(t.Context(), d, tree)
	must(t, err)
	if want := []string{"a/b/gone", "a/kind", "a/target", "content", "lost", "lost/f", "size"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := scan.Rehash(ctx, d, tree); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
	if _, err := scan.Rehash(t.Context(), filepath.Join(d, "nowhere"), tree); !errors.Is(err, scan.ErrRootMissing) {
		t.Errorf("without a root: %v", err)
	}
}

// What could not be read is not verified, so that the next scan reads it.
func TestWhatRehashCannotOpenIsReadAgain(t *testing.T) {
	d := t.TempDir()
	for _, path := range []string{"f", "a/f", "a/b/f", "c/f"} {
		write(t, d, path, "one")
	}
	s := newScanner(t, d, settled)
	tree := mustScan(t, s, diff.Tree{}, nil).Tree
	must(t, os.Rename(filepath.Join(d, "a"), filepath.Join(d, "away")))
	found, err := scan.Rehash(t.Context(), d, tree)
	must(t, err)
	must(t, os.Rename(filepath.Join(d, "away"), filepath.Join(d, "a")))

	s.Verified(time.Now())
	var dirs []string
	for _, path := range found {
		s.Distrust(path)
		dirs = append(dirs, diff.Parent(path))
	}
	if res := mustScan(t, s, tree, dirs); res.Read != 2 {
		t.Errorf("read %d files, want the 2 that could not be opened: %q", res.Read, found)
	}
}

// A write through a mapping whose page is dirty already changes no time stamp. Such a
// file is taken as it is where whether it is being written cannot be asked.
func TestRehashFindsWhatNoStampTells(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to own a file that nobody may lease")
	}
	d, err := os.MkdirTemp("/dev/shm", "confsyncd-test-") // Pages of a tmpfs are never written back.
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { must(t, os.RemoveAll(d)) })
	must(t, os.Chmod(d, 0o755))
	write(t, d, "a/f", "old")
	write(t, d, "a/g", "old")
	f, err := os.OpenFile(filepath.Join(d, "a/f"), os.O_RDWR, 0)
	must(t, err)
	m, err := unix.Mmap(int(f.Fd()), 0, 3, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	must(t, f.Close())
	defer func() { must(t, unix.Munmap(m)) }()
	copy(m, "one")

	s := newScanner(t, d, settled)
	var before *scan.Result
	asNobody(t, func() { before = mustScan(t, s, diff.Tree{}, nil) })
	copy(m, "two")
	asNobody(t, func() {
		if res := mustScan(t, s, before.Tree, nil); res.Read != 0 {
			t.Skip("the time stamps tell it here")
		}
	})
	found, err := scan.Rehash(t.Context(), d, before.Tree)
	must(t, err)
	if !slices.Equal(found, []string{"a/f"}) {
		t.Fatalf("found %q", found)
	}
	s.Distrust("a/f")
	asNobody(t, func() {
		wantTree(t, mustScan(t, s, before.Tree, []string{"a"}).Tree,
			entries{"a": dir(0o755), "a/f": file(0o644, "two"), "a/g": file(0o644, "old")})
	})
}
