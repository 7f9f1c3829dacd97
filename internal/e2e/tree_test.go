//go:build !lean

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/confsyncd/confsyncd/internal/install"
)

// own is what an agent keeps for itself in a target.
const own = ".confsyncd"

// node is what lies at a path: its kind and mode as they are, and what it holds.
type node struct {
	mode    fs.FileMode // of a symlink only its kind
	content string      // of a file; where a symlink points to
}

// tree is what lies in a directory, by path.
type tree map[string]node

// readTree reads a directory that nobody changes.
func readTree(dir string) (tree, error) {
	found := make(tree)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		path, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if path == own {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n := node{mode: info.Mode()}
		switch info.Mode().Type() {
		case 0:
			var b []byte
			b, err = os.ReadFile(name)
			n.content = string(b)
		case fs.ModeSymlink:
			n.mode = fs.ModeSymlink
			n.content, err = os.Readlink(name)
		}
		found[path] = n
		return err
	})
	return found, err
}

// differ tells how got differs from want, nil if it does not.
func differ(want, got tree) error {
	var words []string
	for _, path := range slices.Sorted(maps.Keys(want)) {
		w := want[path]
		g, ok := got[path]
		switch {
		case !ok:
			words = append(words, path+" is missing")
		case g.mode != w.mode:
			words = append(words, fmt.Sprintf("%s is %v, want %v", path, g.mode, w.mode))
		case g.content != w.content:
			words = append(words, path+" has another content")
		}
	}
	for _, path := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[path]; !ok {
			words = append(words, path+" is too much")
		}
	}
	if len(words) == 0 {
		return nil
	}
	return fmt.Errorf("%d differences: %s", len(words), strings.Join(words[:min(len(words), 8)], "; "))
}

// equal waits until dir is want, and returns how long that took.
func equal(want tree, dir string, within time.Duration) (time.Duration, error) {
	return eventually(within, func() error {
		got, err := readTree(dir)
		if err != nil {
			return err
		}
		return differ(want, got)
	})
}

// stamps tells, for everything in a directory, whether anybody touched it since.
func stamps(dir string) (map[string]syscall.Stat_t, error) {
	found := make(map[string]syscall.Stat_t)
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(name, &st); err != nil {
			return err
		}
		st.Atim = syscall.Timespec{} // Reading is no touching.
		found[name] = st
		return nil
	})
	return found, err
}

// leftovers tells what an agent at rest should not have in its own directory.
func leftovers(target string) error {
	var errs []error
	for _, sub := range []string{"stage", "kept"} {
		entries, err := os.ReadDir(filepath.Join(install.ControlDir(target), sub))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			errs = append(errs, fmt.Errorf("left over: %s/%s", sub, e.Name()))
		}
	}
	return errors.Join(errs...)
}
