package install

import (
	"errors"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// maxWorkers bounds how many goroutines share the work on a target: the locks of
// directories, and those of the file system, let few more get anywhere.
const maxWorkers = 4

// workers returns how many goroutines are to share the work on a target.
func workers() int { return min(runtime.GOMAXPROCS(0), maxWorkers) }

// walker visits all that stands below a directory, each directory before what it holds,
// and never what lies on another file system.
type walker struct {
	// visit is called with the directory that n stands in. It reports whether what lies
	// in n, if that is a directory, is visited as well.
	visit func(dir int, path string, n node) (into bool, err error)
	// leave, if it is set, is called when all in a directory was visited.
	leave func(dir int, path string) error
	// others, if it is set, take on directories that one goroutine comes across while
	// it has enough to do. Then visit is called by several at a time.
	others *errgroup.Group
}

// walkWide walks with as many goroutines as there are workers. visit is called by several
// of them at a time, and leave must not be set. After an error the others visit what they
// have begun with.
func (w *walker) walkWide(dir int) error {
	if workers() == 1 {
		return w.walk(dir, "")
	}
	w.others = &errgroup.Group{}
	w.others.SetLimit(workers() - 1)
	err := w.walk(dir, "")
	if other := w.others.Wait(); err == nil {
		err = other
	}
	return err
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
		if err := w.below(fd, path); err != nil {
			return err
		}
	}
	if w.leave == nil {
		return nil
	}
	return w.leave(dir, path)
}

// below walks the directory at path, or has it walked, and closes its descriptor.
func (w *walker) below(fd int, path string) error {
	walk := func() error {
		defer closeFD(fd)
		return w.walk(fd, path)
	}
	if w.others != nil && w.others.TryGo(walk) {
		return nil
	}
	return walk()
}
