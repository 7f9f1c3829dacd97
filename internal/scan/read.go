package scan

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// Read is Reader.Read, once.
func (s *Scanner) Read(path string, want diff.Entry) ([]byte, error) {
	r := s.Reader()
	defer r.Close()
	return r.Read(path, want)
}

// Reader reads files of the directory. It is for one goroutine, which may be another one
// than the Scanner's.
type Reader struct {
	scanner *Scanner
	fd      int    // of the directory in which a file was read last; -1 if none was
	path    string // of that directory
}

// Reader returns a Reader, which must be closed.
func (s *Scanner) Reader() *Reader { return &Reader{scanner: s, fd: -1} }

// Close closes what is open.
func (r *Reader) Close() {
	if r.fd >= 0 {
		shut(r.fd)
		r.fd = -1
	}
}

// Read returns the content of the file or symlink at path, which is exactly what want
// says: kind, size and hash; the mode is not asked. It returns an error that wraps
// ErrChanged if something else stands there now; ErrRootMissing; or the cause if it cannot be read. Held paths are not what their
// entries say, and usually changed. What the last scan has kept is not read again, as long as
// nobody calls Forget. One directory stays open between two calls, and is not
// looked for again.
func (r *Reader) Read(path string, want diff.Entry) ([]byte, error) {
	if content := r.scanner.fresh.get(want.Hash); content != nil && want.Kind == diff.File {
		return content, nil
	}
	content, err := r.read(path, want)
	if err == nil && diff.Sum(content) != want.Hash {
		err = errMoved
	}
	var o *obstacle
	if errors.Is(err, errMoved) || errors.As(err, &o) && o.reason.Temporary() {
		err = fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", path, err)
	}
	return content, nil
}

func (r *Reader) read(path string, want diff.Entry) ([]byte, error) {
	if err := diff.CheckPath(path); err != nil {
		return nil, err
	}
	if dir := diff.Parent(path); r.fd < 0 || r.path != dir {
		if err := r.enter(dir); err != nil {
			return nil, err
		}
	}
	switch name := diff.Base(path); want.Kind {
	case diff.File:
		return readFile(r.fd, name, want.Size)
	case diff.Symlink:
		target, _, err := readSymlink(r.fd, name)
		return target, err
	}
	return nil, fmt.Errorf("%w: %v has no content", diff.ErrEntry, want.Kind)
}

// enter opens the directory at a path.
func (r *Reader) enter(path string) error {
	r.Close()
	dir, _, err := r.scanner.openRoot()
	if err != nil {
		return err
	}
	for rest := path; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		next, err := openat(dir, name, unix.O_PATH|unix.O_DIRECTORY)
		shut(dir)
		if err != nil {
			return err
		}
		dir = next
	}
	r.fd, r.path = dir, path
	return nil
}

// readFile returns the content of a file if it is size bytes.
func readFile(dir int, name string, size int64) ([]byte, error) {
	f, err := openFile(dir, name)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if f.stamp.size != size {
		return nil, errMoved
	}
	content := make([]byte, size)
	for rest := content; len(rest) > 0; {
		n, err := unix.Read(f.fd, rest)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, refusal(err)
		case n == 0:
			return nil, errMoved
		default:
			rest = rest[n:]
		}
	}
	// Nobody is asked who writes it, or whether there is more by now: with the hash that the
	// scan found, these are the bytes that it took when nobody wrote.
	return content, nil
}
