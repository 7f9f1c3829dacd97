package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/install"
)

// own is what an agent keeps for itself in a target.
const own = ".confsyncd"

// Node is what lies at a path: its kind and mode as they are, and what it holds.
type Node struct {
	Mode    fs.FileMode // of a symlink only its kind
	Content string      // of a file; where a symlink points to
}

// Tree is what lies in a directory, by path.
type Tree map[string]Node

// ReadTree reads a directory that nobody changes.
func ReadTree(dir string) (Tree, error) {
	found := make(Tree)
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
		found[path], err = readNode(name, info)
		return err
	})
	return found, err
}

// readNode reads what stood there when it was listed. Another file may have been renamed to
// the name since: mode and content are of one of them.
func readNode(name string, listed fs.FileInfo) (Node, error) {
	switch listed.Mode().Type() {
	case 0:
	case fs.ModeSymlink:
		to, err := os.Readlink(name)
		return Node{Mode: fs.ModeSymlink, Content: to}, err
	default:
		return Node{Mode: listed.Mode()}, nil
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return Node{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return Node{Mode: listed.Mode()}, errors.Join(err, fmt.Errorf("%s was replaced while it was read", name))
	}
	b, err := io.ReadAll(f)
	return Node{Mode: info.Mode(), Content: string(b)}, err
}

// Differ tells how got differs from want, nil if it does not.
func Differ(want, got Tree) error {
	var words []string
	for _, path := range slices.Sorted(maps.Keys(want)) {
		w := want[path]
		g, ok := got[path]
		switch {
		case !ok:
			words = append(words, path+" is missing")
		case g.Mode != w.Mode:
			words = append(words, fmt.Sprintf("%s is %v, want %v", path, g.Mode, w.Mode))
		case g.Content != w.Content:
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

// Equal waits until dir is want, and returns how long that took.
func Equal(want Tree, dir string, within time.Duration) (time.Duration, error) {
	return Eventually(within, func() error {
		got, err := ReadTree(dir)
		if err != nil {
			return err
		}
		return Differ(want, got)
	})
}

// Stamps tells, for everything in a directory, whether anybody touched it since.
func Stamps(dir string) (map[string]syscall.Stat_t, error) {
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

// Leftovers tells what an agent at rest should not have in its own directory.
func Leftovers(target string) error {
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
