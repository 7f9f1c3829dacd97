package install

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/recall"
)

// stampsName is the file, beside the control files, in which a process leaves its stamps to
// the next. It is a cache: not synced, and missed by nobody.
const stampsName = "stamps"

// recallable is what of n is left to the next process. Its owner is not: who changes that
// changes the ctime.
func recallable(n node) recall.Stamp {
	mode := n.mode
	switch n.kind {
	case diff.File:
		mode |= unix.S_IFREG
	case diff.Symlink:
		mode |= unix.S_IFLNK
	}
	return recall.Stamp{Ino: n.ino, Mtime: n.mtime.Nano(), Ctime: n.ctime.Nano(), Mode: mode}
}

// Read returns when the last reading of all contents began, by this process or one before
// it: see Drift. Contents that others have changed since, without a trace in size, inode,
// mode and times, are found by the next deep look.
//
// RACE: such are writes through a mapping that was written through before, those that set
// the clock back to the very tick of the last change, and those that a disk has lost which
// was taken away, and came back, within one boot of the machine.
func (t *Target) Read() time.Time { return t.stamps.complete }

// recall goes by the stamps that an earlier process has left, if they are of what the
// journal says is managed, of this directory, and of this boot of the machine. Those of a
// restored or copied target are of another directory, or its files have other inodes or
// ctimes.
func (t *Target) recall() {
	if t.journal == nil || !t.keepsTimes() {
		return
	}
	b, err := t.readStamps()
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			t.o.Log.Warn("reading all files: the stamps of the last time", "path", filepath.Join(t.o.Dir, t.sideName(), stampsName), "error", err)
		}
		return
	}
	known, ok := recall.Decode(b, t.State().Managed, t.now())
	if !ok || known.Root != t.root() {
		return
	}
	t.stamps.recalled, t.stamps.dev, t.stamps.complete = known, t.dev, known.Complete
	t.stamps.left = t.State().Managed.Digest()
}

func (t *Target) readStamps() ([]byte, error) {
	f, err := t.sideRoot.OpenFile(stampsName, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // Nothing was written.
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no file; remove it")
	}
	if most := recall.Most(t.State().Managed); info.Size() > int64(most) {
		return nil, fmt.Errorf("it has %d bytes, %d at most belong there; remove it", info.Size(), most)
	}
	b := make([]byte, info.Size())
	_, err = io.ReadFull(f, b)
	return b, err
}

// Remember leaves what is known of the managed files to the next process that opens the
// target, if that is more than there is already. Without it that one only reads more.
func (t *Target) Remember() {
	if t.journal == nil || t.Interrupted() || !t.keepsTimes() || t.identity() != nil {
		return
	}
	managed := t.State().Managed
	if !t.stamps.learned && t.stamps.left == managed.Digest() {
		return
	}
	b := recall.Encode(t.root(), t.stamps.complete, managed, t.known)
	if b == nil {
		return
	}
	if err := t.writeStamps(b); err != nil {
		t.o.Log.Warn("what is known of the files is not kept; the next start reads them all", "path", t.o.Dir, "error", err)
		return
	}
	t.stamps.learned, t.stamps.left = false, managed.Digest()
}

func (t *Target) writeStamps(b []byte) error {
	const fresh = stampsName + ".new"
	_ = t.sideRoot.Remove(fresh) // Of a process that was killed, if at all.
	f, err := t.sideRoot.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.Write(b)
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		err = t.sideRoot.Rename(fresh, stampsName)
	}
	if err != nil {
		_ = t.sideRoot.Remove(fresh) // It may not even be there.
		return fmt.Errorf("write %s/%s: %w", t.sideName(), stampsName, err)
	}
	return nil
}

// known returns what tells what is known of the entries of the directory at path. Whether
// that is still so is found out by the next process.
func (t *Target) known(path string) func(diff.Child) recall.Stamp {
	return func(c diff.Child) recall.Stamp {
		at := diff.Join(path, c.Name)
		if is, ok := t.stamps.known[at]; ok {
			if is.hash != c.Entry.Hash || is.node.size != c.Entry.Size || is.node.kind != c.Entry.Kind || is.node.dev != t.dev {
				return recall.Stamp{}
			}
			return recallable(is.node)
		}
		if t.stamps.recalled == nil {
			return recall.Stamp{}
		}
		if e, was, ok := t.stamps.recalled.Get(at); ok && e.SameContent(c.Entry) {
			return was
		}
		return recall.Stamp{}
	}
}

// root tells the target's directory from others.
func (t *Target) root() recall.Root {
	var st unix.Stat_t
	if err := unix.Fstat(int(t.dir.Fd()), &st); err != nil {
		return recall.Root{} // Of no directory.
	}
	return recall.Root{Dev: st.Dev, Ino: st.Ino}
}

// keepsTimes reports whether the target lies on a file system of which it is known that this
// kernel gives its files their inodes and ctimes for as long as it is mounted, and nobody
// else changes them. Of network file systems, FUSE and overlayfs that is not known.
func (t *Target) keepsTimes() bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(t.dir.Fd()), &st); err != nil {
		return false
	}
	switch uint32(st.Type) { //nolint:gosec // The numbers have 32 bits; how they are signed differs by architecture.
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		return true
	}
	return false
}
