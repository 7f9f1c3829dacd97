package scan_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
)

func TestRead(t *testing.T) {
	tests := []struct {
		name string
		edit func(t *testing.T, d string)
		path string
		want diff.Entry
		err  error
	}{
		{"a file", nil, "a/b/f", file(0o644, "one"), nil},
		{"a file of another mode", nil, "a/b/f", file(0o600, "one"), nil},
		{"an empty file", nil, "a/empty", file(0o644, ""), nil},
		{"a symlink", nil, "a/l", symlink("b/f"), nil},
		{"other content of the same size", nil, "a/b/f", file(0o644, "two"), scan.ErrChanged},
		{"other content of another size", nil, "a/b/f", file(0o644, "three"), scan.ErrChanged},
		{"a file that is gone", nil, "a/b/gone", file(0o644, "one"), scan.ErrChanged},
		{"a symlink in its place", nil, "a/l", file(0o644, "one"), scan.ErrChanged},
		{"a file in a symlink's place", nil, "a/b/f", symlink("one"), scan.ErrChanged},
		{"a symlink above it is not followed", func(t *testing.T, d string) {
			must(t, os.Rename(filepath.Join(d, "a"), filepath.Join(d, "x")))
			link(t, d, "a", "x")
		}, "a/b/f", file(0o644, "one"), scan.ErrChanged},
		{"a file open for writing that is still the same", func(t *testing.T, d string) {
			w, err := os.OpenFile(filepath.Join(d, "a/b/f"), os.O_WRONLY, 0)
			must(t, err)
			closeAtEnd(t, w)
		}, "a/b/f", file(0o644, "one"), nil},
		{"a file that is being written", func(t *testing.T, d string) {
			w, err := os.OpenFile(filepath.Join(d, "a/b/f"), os.O_WRONLY, 0)
			must(t, err)
			closeAtEnd(t, w)
			_, err = w.WriteString("two")
			must(t, err)
		}, "a/b/f", file(0o644, "one"), scan.ErrChanged},
		{"an unreadable file", func(t *testing.T, d string) {
			must(t, os.Chmod(filepath.Join(d, "a/b/f"), 0))
		}, "a/b/f", file(0o644, "one"), fs.ErrPermission},
		{"a missing root", func(t *testing.T, d string) { must(t, os.RemoveAll(d)) }, "a/b/f", file(0o644, "one"), scan.ErrRootMissing},
		{"a way out", nil, "../f", file(0o644, "one"), diff.ErrPath},
		{"a directory", nil, "a", dir(0o755), diff.ErrEntry},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := openToAll(t)
			write(t, d, "a/b/f", "one")
			write(t, d, "a/empty", "")
			link(t, d, "a/l", "b/f")
			if tt.edit != nil {
				tt.edit(t, d)
			}
			giveToNobody(t, d, "a/b/f")
			asNobody(t, func() {
				got, err := newScanner(t, d).Read(tt.path, tt.want)
				if !errors.Is(err, tt.err) {
					t.Fatalf("error %v, want %v", err, tt.err)
				}
				if tt.err == nil && diff.Sum(got) != tt.want.Hash {
					t.Errorf("got %q", got)
				}
			})
		})
	}
}

func TestWhatAScanHasKeptIsNotReadAgain(t *testing.T) {
	d := t.TempDir()
	write(t, d, "a/f", "one")
	s := newScanner(t, d, settled)
	tree := mustScan(t, s, diff.Tree{}, nil).Tree
	write(t, d, "a/f", "two")
	got, err := s.Read("a/f", file(0o644, "one"))
	if err != nil || string(got) != "one" {
		t.Errorf("got %q, %v", got, err)
	}
	s.Forget()
	if _, err := s.Read("a/f", file(0o644, "one")); !errors.Is(err, scan.ErrChanged) {
		t.Errorf("error %v, want %v", err, scan.ErrChanged)
	}
	write(t, d, "a/f", "one")
	again := newScanner(t, d, settled)
	mustScan(t, again, tree, nil)
	write(t, d, "a/f", "two")
	if _, err := again.Read("a/f", file(0o644, "one")); !errors.Is(err, scan.ErrChanged) {
		t.Errorf("of a committed content: error %v, want %v", err, scan.ErrChanged)
	}
}

func TestBusy(t *testing.T) {
	d := t.TempDir()
	s := newScanner(t, d, settled, func(o *scan.Options) { o.BusyFiles = []string{".confsyncd-hold", ".git/index.lock"} })
	if p, _, busy := s.Busy(); busy {
		t.Errorf("busy by %q", p)
	}
	write(t, d, ".git/index.lock", "")
	p, age, busy := s.Busy()
	if !busy || p != ".git/index.lock" || age < 59*time.Minute || age > 61*time.Minute {
		t.Errorf("got %q, %v, %v", p, age, busy)
	}
	link(t, d, ".confsyncd-hold", "nowhere")
	if p, _, busy := s.Busy(); !busy || p != ".confsyncd-hold" {
		t.Errorf("got %q, %v", p, busy)
	}
}
