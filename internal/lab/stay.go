package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Stay lets the kernel tell whether paths were there, and never half-written, at every
// instant: a path that a rename replaces is neither deleted nor modified.
type Stay struct {
	events int            // inotify descriptor
	dirs   map[int]string // by watch
}

// NewStay watches paths below dir, whose directories stay the same.
func NewStay(dir string, paths []string) (*Stay, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	s := &Stay{events: fd, dirs: make(map[int]string)}
	for _, p := range paths {
		at := path.Dir(p)
		wd, err := unix.InotifyAddWatch(fd, filepath.Join(dir, at), unix.IN_DELETE|unix.IN_MOVED_FROM|unix.IN_MODIFY|unix.IN_MOVE_SELF|unix.IN_DELETE_SELF)
		if err != nil {
			return nil, errors.Join(err, unix.Close(fd))
		}
		s.dirs[wd] = at
	}
	return s, nil
}

// Close tells what happened that should not have.
func (s *Stay) Close() error {
	var errs []error
	buf := make([]byte, 1<<20)
	for {
		n, err := unix.Read(s.events, buf)
		if errors.Is(err, unix.EAGAIN) {
			return errors.Join(append(errs, unix.Close(s.events))...)
		}
		if err != nil {
			return errors.Join(append(errs, err, unix.Close(s.events))...)
		}
		for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			wd, mask := binary.NativeEndian.Uint32(rest), binary.NativeEndian.Uint32(rest[4:])
			end := unix.SizeofInotifyEvent + binary.NativeEndian.Uint32(rest[12:])
			name := strings.TrimRight(string(rest[unix.SizeofInotifyEvent:end]), "\x00")
			errs = append(errs, fmt.Errorf("%s was deleted, moved away or written in place (inotify mask %#x)", path.Join(s.dirs[int(wd)], name), mask))
			rest = rest[end:]
		}
	}
}
