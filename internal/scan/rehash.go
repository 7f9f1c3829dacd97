package scan

import (
	"context"
	"crypto/sha256"
	"hash"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// How Rehash shares the machine with who waits for an edit.
const (
	rehashWork = 10 * time.Millisecond
	rehashRest = 10 * time.Millisecond
)

// Rehash reads every file and symlink of tree, which Scan returned for dir, and returns
// the paths that do not hold what the tree says: what a write through a mapping or
// through a hard link elsewhere has changed, or an edit that set the time stamps back.
// Paths that were edited meanwhile, are held, or cannot be read are among them, also all
// files below a directory that cannot be opened. See Scanner.Distrust.
//
// It needs no Scanner, so that it may run beside one, and it rests half of the time. It
// returns ctx's error, or why dir cannot be opened.
func Rehash(ctx context.Context, dir string, tree diff.Tree) ([]string, error) {
	fd, _, err := openDirectory(dir)
	if err != nil {
		return nil, err
	}
	defer shut(fd)
	r := &rehash{ctx: ctx, buf: make([]byte, 128<<10), hash: sha256.New(), rest: time.Now().Add(rehashWork)}
	err = r.visit(fd, "", tree.Root())
	return r.differ, err
}

// rehash is one Rehash under way.
type rehash struct {
	ctx    context.Context
	buf    []byte
	hash   hash.Hash
	rest   time.Time // when to rest next
	differ []string
}

// visit looks at all files in one directory and below. It returns the context's error.
func (r *rehash) visit(fd int, path string, dir *diff.Dir) error {
	for c := range dir.Children() {
		if err := r.pause(); err != nil {
			return err
		}
		at := diff.Join(path, c.Name)
		if c.Entry.Kind != diff.Directory {
			if !r.holds(fd, c.Name, c.Entry) {
				r.differ = append(r.differ, at)
			}
			continue
		}
		sub, err := openat(fd, c.Name, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			r.differ = appendFiles(append(r.differ, at), at, c.Dir)
			continue
		}
		err = r.visit(sub, at, c.Dir)
		shut(sub)
		if err != nil {
			return err
		}
	}
	return nil
}

// appendFiles appends the paths of all files and symlinks in a directory and below.
func appendFiles(paths []string, path string, dir *diff.Dir) []string {
	for c := range dir.Children() {
		at := diff.Join(path, c.Name)
		if c.Entry.Kind == diff.Directory {
			paths = appendFiles(paths, at, c.Dir)
		} else {
			paths = append(paths, at)
		}
	}
	return paths
}

// pause rests if it is time to.
func (r *rehash) pause() error {
	if time.Now().Before(r.rest) {
		return r.ctx.Err()
	}
	select {
	case <-r.ctx.Done():
		return r.ctx.Err()
	case <-time.After(rehashRest):
	}
	r.rest = time.Now().Add(rehashWork)
	return nil
}

// holds reports whether a file or symlink holds what its entry says.
func (r *rehash) holds(dir int, name string, want diff.Entry) bool {
	if want.Kind == diff.Symlink {
		target, _, err := readSymlink(dir, name)
		return err == nil && diff.Sum(target) == want.Hash
	}
	f, err := openFile(dir, name)
	if err != nil {
		return false
	}
	defer f.close()
	r.hash.Reset()
	if f.stamp.size != want.Size || f.read(r.buf, func(b []byte) { r.hash.Write(b) }) != nil {
		return false
	}
	var sum diff.Hash
	r.hash.Sum(sum[:0])
	return sum == want.Hash
}

// Distrust has the next Scan that looks at a path's directory read the path again,
// whatever its time stamps say.
func (s *Scanner) Distrust(path string) {
	d := s.root
	name, rest, deeper := strings.Cut(path, "/")
	for ; deeper && d != nil; name, rest, deeper = strings.Cut(rest, "/") {
		d = d.subs[name]
	}
	if d == nil {
		return // It is not known, and so will be read.
	}
	if i, ok := slices.BinarySearchFunc(d.files, name, compareRecord); ok {
		d.files[i].racy = true
	}
}
