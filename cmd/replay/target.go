package main

import (
	"crypto/sha1" // git's name for a blob.
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// own is what an agent keeps for itself in a target.
const own = ".confsyncd"

// target is the directory that an agent keeps.
type target struct {
	dir string
}

// difference says how the target differs from want at path, or returns "".
func (t target) difference(path string, want entry, wanted bool) string {
	name := filepath.Join(t.dir, path)
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		if wanted {
			return "missing"
		}
		return ""
	}
	if err != nil {
		return err.Error()
	}
	if !wanted {
		return "not in the commit"
	}
	if got := info.Mode(); got.Type() != want.mode.Type() {
		return fmt.Sprintf("kind is %v, want %v", got.Type(), want.mode.Type())
	}
	switch want.mode.Type() {
	case fs.ModeDir:
		return ""
	case 0:
		if got := info.Mode().Perm(); got != want.mode {
			return fmt.Sprintf("mode is %04o, want %04o", got, want.mode)
		}
	}
	content, err := read(name, info)
	if err != nil {
		return err.Error()
	}
	if got := blobID(content, len(want.id)); got != want.id {
		return fmt.Sprintf("blob is %.12s, want %.12s", got, want.id)
	}
	return ""
}

// differences compares everything in the target with want. What was asked for first
// comes first.
func (t target) differences(want tree) (map[string]string, error) {
	found := make(map[string]string)
	seen := make(map[string]bool, len(want))
	err := filepath.WalkDir(t.dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // Gone since its directory was read: it is looked at below.
		}
		if err != nil {
			return err
		}
		p, err := filepath.Rel(t.dir, name)
		if err != nil || p == "." {
			return err
		}
		if p == own && d.IsDir() {
			return fs.SkipDir
		}
		seen[p] = true
		e, wanted := want[p]
		if s := t.difference(p, e, wanted); s != "" {
			found[p] = s
		}
		return nil
	})
	for p, e := range want {
		if !seen[p] {
			if s := t.difference(p, e, true); s != "" {
				found[p] = s
			}
		}
	}
	return found, err
}

// read returns the content of a file, or where a symlink points to.
func read(name string, info fs.FileInfo) ([]byte, error) {
	if info.Mode().Type() == fs.ModeSymlink {
		s, err := os.Readlink(name)
		return []byte(s), err
	}
	return os.ReadFile(name)
}

// blobID returns git's name for content, of as many hexadecimal digits as the
// repository's names have: 40, or 64 in one of the newer kind.
func blobID(content []byte, digits int) string {
	var h hash.Hash
	if digits == 2*sha256.Size {
		h = sha256.New()
	} else {
		h = sha1.New()
	}
	h.Write(fmt.Appendf(nil, "blob %d\x00", len(content)))
	h.Write(content)
	return hex.EncodeToString(h.Sum(nil))
}

// list shows the first of the differences, in order of their paths.
func list(differences map[string]string) string {
	const most = 20
	paths := make([]string, 0, len(differences))
	for p := range differences {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	s := fmt.Sprintf("%d differences", len(paths))
	for _, p := range paths[:min(most, len(paths))] {
		s += fmt.Sprintf("\n  %q: %s", p, differences[p])
	}
	return s
}
