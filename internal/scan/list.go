package scan

import (
	"errors"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// names returns the sorted names in a directory. A listing of more than one
// getdents64(2) call may miss a name that is renamed over meanwhile, as every atomic
// replacement does: a committed name that it lacks is looked up by itself.
func (w *walk) names(in here) ([]string, error) {
	names, err := list(in.fd, w.buf, len(in.known.files)+len(in.known.subs))
	if err != nil {
		return nil, err
	}
	return merge(names, unlisted(in, names)), nil
}

// unlisted returns the committed names that are not listed, but of which the kernel
// does not say either that they are gone.
func unlisted(in here, names []string) (more []string) {
	i := 0
	for c := range in.committed.Children() {
		for i < len(names) && names[i] < c.Name {
			i++
		}
		if i < len(names) && names[i] == c.Name {
			continue
		}
		var st unix.Stat_t
		err := lstat(in.fd, c.Name, &st)
		if errors.Is(err, unix.ENOENT) || err == nil && respelled(in, c.Name, &st, names) {
			continue
		}
		more = append(more, c.Name)
	}
	return more
}

// respelled reports whether what was found at a name is listed in another case: then
// the file system ignores case, and the name is gone.
func respelled(in here, name string, found *unix.Stat_t, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		var st unix.Stat_t
		return strings.EqualFold(n, name) && lstat(in.fd, n, &st) == nil && st.Dev == found.Dev && st.Ino == found.Ino
	})
}

func merge(names, more []string) []string {
	if len(more) == 0 {
		return names
	}
	names = append(names, more...)
	slices.Sort(names)
	return names
}

// list reads the directory from its start, through buf. It holds about so many names.
func list(fd int, buf []byte, about int) ([]string, error) {
	if _, err := unix.Seek(fd, 0, io.SeekStart); err != nil {
		return nil, refusal(err)
	}
	names := make([]string, 0, about)
	for {
		n, err := unix.ReadDirent(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, refusal(err)
		case n == 0:
			slices.Sort(names)
			return slices.Compact(names), nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}
