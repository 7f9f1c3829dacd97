package install

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// walker visits all that stands below a directory, each directory before what it holds,
// and never what lies on another file system.
type walker struct {
	// visit is called with the directory that n stands in. It reports whether what lies
	// in n, if that is a directory, is visited as well.
	visit func(dir int, path string, n node) (into bool, err error)
	// leave, if it is set, is called when all in a directory was visited.
	leave func(dir int, path string) error
}

// walk visits what lies in the directory at path, which is open as dir; in the target's
// root, all but .confsyncd.
func (w *walker) walk(dir int, path string) error {
	list, err := names(dir)
	if err != nil {
		return err
	}
	for _, name := range list {
		if path == "" && name == diff.OwnName {
			continue
		}
		if err := w.entry(dir, diff.Join(path, name), name); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(dir int, path, name string) error {
	n, err := lstat(dir, name)
	if err != nil || n.kind == diff.None {
		return err
	}
	into, err := w.visit(dir, path, n)
	if err != nil || n.kind != diff.Directory {
		return err
	}
	if into {
		fd, err := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
		err = w.walk(fd, path)
		closeFD(fd)
		if err != nil {
			return err
		}
	}
	if w.leave == nil {
		return nil
	}
	return w.leave(dir, path)
}
