package scan

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// aside is how long a file may be away that an editor has renamed to its backup's name.
const aside = 2 * time.Second

// saving returns the committed files that are not there, but were renamed just now to a
// name beside it that is ignored: their inode stands there. Editors save like that (emacs,
// and vim with backupcopy=no), and are about to write the file anew.
func (w *walk) saving(in here, names []string) (more []string) {
	for c := range in.committed.Children() {
		if c.Entry.Kind != diff.File {
			continue
		}
		if _, there := slices.BinarySearch(names, c.Name); there {
			continue
		}
		rec, known := in.known.record(c.Name)
		if known && slices.ContainsFunc(names, func(name string) bool { return w.isAside(in, name, rec) }) {
			more = append(more, c.Name)
		}
	}
	return more
}

// isAside reports whether what is known as a record stands at an ignored name since a
// moment ago: a rename changes the ctime.
func (w *walk) isAside(in here, name string, rec record) bool {
	var st unix.Stat_t
	return w.rules.match(diff.Join(in.path, name), false) && lstat(in.fd, name, &st) == nil &&
		(rec.stamp.dev == anyDev || st.Dev == rec.stamp.dev) && st.Ino == rec.stamp.ino && w.now().UnixNano()-st.Ctim.Nano() < int64(aside)
}
