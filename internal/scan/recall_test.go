package scan_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
)

// manyFiles makes more names in a directory than one goroutine looks at.
func manyFiles(t testing.TB, d string) {
	for i := range 300 {
		write(t, d, fmt.Sprintf("many/%03d", i), fmt.Sprint(i))
	}
	write(t, d, "a/b/f", "one")
	write(t, d, "a/empty", "")
	link(t, d, "a/l", "b/f")
	must(t, os.Mkdir(filepath.Join(d, "none"), 0o755))
}

// sealed returns stamps whose sum is right, whatever was done to them.
func sealed(stamps []byte) []byte {
	end := len(stamps) - 4
	sum := crc32.Checksum(stamps[:end], crc32.MakeTable(crc32.Castagnoli))
	return binary.LittleEndian.AppendUint32(bytes.Clone(stamps[:end]), sum)
}

func TestRecall(t *testing.T) {
	whole := 303 // what a scan of manyFiles reads
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte {
			b[at] ^= 1
			return sealed(b)
		}
	}
	tests := []struct {
		name  string
		edit  func(t *testing.T, d string)
		alter func(stamps []byte) []byte
		since time.Time
		read  int // by the scan after it
	}{
		{"nothing changed", nil, nil, time.Time{}, 0},
		{"a file was replaced", func(t *testing.T, d string) {
			write(t, d, "many/new", "x")
			must(t, os.Rename(filepath.Join(d, "many/new"), filepath.Join(d, "many/007")))
		}, nil, time.Time{}, 1},
		{"a file was written, and its mtime set back", func(t *testing.T, d string) {
			st, err := os.Stat(filepath.Join(d, "a/b/f"))
			must(t, err)
			write(t, d, "a/b/f", "two")
			must(t, os.Chtimes(filepath.Join(d, "a/b/f"), st.ModTime(), st.ModTime()))
		}, nil, time.Time{}, 1},
		{"files came and went", func(t *testing.T, d string) {
			write(t, d, "a/new", "x")
			must(t, os.Remove(filepath.Join(d, "many/000")))
		}, nil, time.Time{}, 1},
		{"a directory moved: each inode is known at its own path only", func(t *testing.T, d string) {
			must(t, os.Rename(filepath.Join(d, "a/b"), filepath.Join(d, "a/c")))
		}, nil, time.Time{}, 1},
		{"they are from before what is asked for", nil, nil, later().Add(time.Hour), whole},
		{"another boot", nil, flip(5), time.Time{}, whole},
		{"another root", nil, flip(5 + 36 + 8), time.Time{}, whole},
		{"another tree", nil, flip(5 + 36 + 24), time.Time{}, whole},
		{"a newer version", nil, flip(4), time.Time{}, whole},
		{"the file is cut", nil, func(b []byte) []byte { return sealed(b[:len(b)-28]) }, time.Time{}, whole},
		{"the file is longer", nil, func(b []byte) []byte { return sealed(append(b, b...)) }, time.Time{}, whole},
		{"bytes rotted", nil, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }, time.Time{}, whole},
		{"the file is empty", nil, func([]byte) []byte { return nil }, time.Time{}, whole},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := t.TempDir()
			manyFiles(t, d)
			s := newScanner(t, d, settled)
			tree := mustScan(t, s, diff.Tree{}, nil).Tree
			stamps := s.Stamps(tree)
			if tt.alter != nil {
				stamps = tt.alter(stamps)
			}
			if tt.edit != nil {
				tt.edit(t, d)
			}
			next := newScanner(t, d, settled)
			known := next.Recall(tree, stamps, tt.since)
			res := mustScan(t, next, tree, nil)
			if res.Read != tt.read {
				t.Errorf("read %d files, want %d", res.Read, tt.read)
			}
			if res.Tree.Digest() != mustScan(t, newScanner(t, d, settled), tree, nil).Tree.Digest() {
				t.Error("found another tree than a scanner that recalls nothing")
			}
			if known && tt.edit == nil && next.Learned() != (tt.read > 0) {
				t.Errorf("learned: %v", next.Learned())
			}
		})
	}
}

func TestRacyFilesAreNotRecalled(t *testing.T) {
	d := t.TempDir()
	write(t, d, "old", "x")
	now := time.Now()
	then := func(o *scan.Options) { o.Now = func() time.Time { return now } } // It was written just then.
	s := newScanner(t, d, then)
	tree := mustScan(t, s, diff.Tree{}, nil).Tree
	next := newScanner(t, d, then)
	if !next.Recall(tree, s.Stamps(tree), time.Time{}) {
		t.Fatal("not recalled")
	}
	if res := mustScan(t, next, tree, nil); res.Read != 1 {
		t.Errorf("read %d files, want 1", res.Read)
	}
}

func TestRecalledFileIsHeldToTheLimit(t *testing.T) {
	d := t.TempDir()
	write(t, d, "f", "three")
	s := newScanner(t, d, settled)
	tree := mustScan(t, s, diff.Tree{}, nil).Tree
	next := newScanner(t, d, settled, func(o *scan.Options) { o.MaxFileSize = 4 })
	next.Recall(tree, s.Stamps(tree), time.Time{})
	wantHeld(t, mustScan(t, next, diff.Tree{}, nil), "f: too large")
}

func FuzzRecall(f *testing.F) {
	d := f.TempDir()
	manyFiles(f, d)
	s := newScanner(f, d, settled)
	tree := mustScan(f, s, diff.Tree{}, nil).Tree
	stamps := s.Stamps(tree)
	f.Add(stamps)
	f.Add(stamps[:len(stamps)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		next := newScanner(t, d, settled)
		next.Recall(tree, b, time.Time{})
		if len(b) >= 4 {
			next.Recall(tree, sealed(b), time.Time{})
		}
		if got := mustScan(t, next, tree, nil).Tree; got.Digest() != tree.Digest() {
			t.Error("stamps made another tree")
		}
	})
}
