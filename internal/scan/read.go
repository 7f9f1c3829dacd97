package scan

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// Read returns the content of the file or symlink at path, which is exactly what want
// says: kind, size and hash; the mode is not asked. It returns an error that wraps
// ErrChanged if something else stands there now; ErrRootMissing; or the cause if it cannot be read. Held paths are not what their
// entries say, and usually changed.
func (s *Scanner) Read(path string, want diff.Entry) ([]byte, error) {
	content, err := s.readAt(path, want)
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

func (s *Scanner) readAt(path string, want diff.Entry) ([]byte, error) {
	if err := diff.CheckPath(path); err != nil {
		return nil, err
	}
	dir, _, err := s.openRoot()
	if err != nil {
		return nil, err
	}
	defer func() { shut(dir) }()
	name, rest, deeper := strings.Cut(path, "/")
	for deeper {
		next, err := openat(dir, name, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return nil, err
		}
		shut(dir)
		dir = next
		name, rest, deeper = strings.Cut(rest, "/")
	}
	switch want.Kind {
	case diff.File:
		return s.readFile(dir, name, want.Size)
	case diff.Symlink:
		target, _, err := readSymlink(dir, name)
		return target, err
	}
	return nil, fmt.Errorf("%w: %v has no content", diff.ErrEntry, want.Kind)
}

// readFile returns the content of a file if it is size bytes.
func (s *Scanner) readFile(dir int, name string, size int64) ([]byte, error) {
	f, err := openFile(dir, name)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if f.stamp.size != size {
		return nil, errMoved
	}
	content := make([]byte, 0, size)
	if err := f.read(s.own.buf, func(b []byte) { content = append(content, b...) }); err != nil {
		return nil, err
	}
	// Nobody is asked who writes it: with the hash that the scan found, these are the
	// bytes that it took when nobody did.
	return content, nil
}
