package scan

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// The stamps of a tree, as one process leaves them to the next:
//
//	"CSYS"   4 bytes
//	version  1 byte
//	boot     36 bytes: see bootID
//	root     dev, ino: 8 bytes each
//	read     8 bytes: nanoseconds since 1970, when a reading of all files began
//	digest   32 bytes: of the tree
//	stamps   28 bytes for each file and symlink: ino, mtime, ctime, mode; zeros for none
//	sum      4 bytes: CRC-32C of all before
//
// Numbers are little endian. The stamps of one directory's own entries lie together, in the
// order of names, before those below it. Names, sizes and hashes are the tree's.
const (
	stampsMagic   = "CSYS\x01"
	bootLength    = 36
	stampsHeader  = len(stampsMagic) + bootLength + 8 + 8 + 8 + len(diff.Hash{})
	stampLength   = 8 + 8 + 8 + 4
	stampsTrailer = 4
)

// bootFile tells one boot of the machine from another, see random(4).
const bootFile = "/proc/sys/kernel/random/boot_id"

// bootID returns what the stamps of this boot bear; false if there is nothing of the kind.
func bootID() (id [bootLength]byte, ok bool) {
	b, err := os.ReadFile(bootFile)
	if err != nil || len(b) < bootLength {
		return id, false
	}
	copy(id[:], b)
	return id, true
}

func stampsSum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// Stamps returns what this scanner knows of a tree's files besides what the tree says, for
// the Recall of another process; nil if that is nothing. Files that the directory holds
// otherwise, and those whose stamps are racy, have to be read by that one too.
func (s *Scanner) Stamps(of diff.Tree) []byte {
	boot, ok := bootID()
	if !ok || s.root == nil || s.root.stale || s.complete.IsZero() {
		return nil
	}
	b := make([]byte, 0, stampsHeader+of.Len()*stampLength+stampsTrailer)
	b = append(b, stampsMagic...)
	b = append(b, boot[:]...)
	b = binary.LittleEndian.AppendUint64(b, s.root.dev)
	b = binary.LittleEndian.AppendUint64(b, s.root.ino)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.complete.UnixNano()))
	digest := of.Digest()
	b = append(b, digest[:]...)
	b = appendStamps(b, of.Root(), s.root)
	s.learned = false
	return binary.LittleEndian.AppendUint32(b, stampsSum(b))
}

// Learned reports whether anything was read since the last call of Stamps or Recall: whether
// the next process would have to read it too.
func (s *Scanner) Learned() bool { return s.learned }

// appendStamps appends what is known of a directory's entries and of those below it; known is
// nil if that is nothing.
func appendStamps(b []byte, dir *diff.Dir, known *directory) []byte {
	var files []record
	if known != nil && !known.stale {
		files = known.files
	}
	for c := range dir.Children() {
		if !c.Entry.HasContent() {
			continue
		}
		for len(files) > 0 && files[0].name < c.Name {
			files = files[1:]
		}
		var st stamp
		if len(files) > 0 && files[0].is(c) {
			st = files[0].stamp
		}
		b = binary.LittleEndian.AppendUint64(b, st.ino)
		b = binary.LittleEndian.AppendUint64(b, uint64(st.mtime))
		b = binary.LittleEndian.AppendUint64(b, uint64(st.ctime))
		b = binary.LittleEndian.AppendUint32(b, st.mode)
	}
	for c := range dir.Children() {
		if c.Dir != nil {
			var sub *directory
			if known != nil {
				sub = known.subs[c.Name]
			}
			b = appendStamps(b, c.Dir, sub)
		}
	}
	return b
}

// is reports whether a record vouches for an entry of a tree.
func (r *record) is(c diff.Child) bool {
	return r.name == c.Name && !r.racy && r.hash == c.Entry.Hash && r.stamp.size == c.Entry.Size &&
		(r.stamp.mode&unix.S_IFMT == unix.S_IFLNK) == (c.Entry.Kind == diff.Symlink)
}

// recalled is what another process has left.
type recalled struct {
	root RootID
	dirs map[string]recalledDir // by path
}

type recalledDir struct {
	dir    *diff.Dir
	stamps []byte // of its own entries
}

// Recall has the first scan take those files of a tree as read that have the stamps which
// another process's Stamps returned for that tree, and reports whether it does. They are of
// no use if that process, or the one that it recalled, began to read all files before since;
// nor once the machine was booted anew: a power cut may take back what was written to a
// file, and leave its stamp.
func (s *Scanner) Recall(of diff.Tree, stamps []byte, since time.Time) bool {
	boot, ok := bootID()
	end := len(stamps) - stampsTrailer
	if !ok || end < stampsHeader || string(stamps[:len(stampsMagic)]) != stampsMagic ||
		stampsSum(stamps[:end]) != binary.LittleEndian.Uint32(stamps[end:]) {
		return false
	}
	b := stamps[len(stampsMagic):end]
	digest := of.Digest()
	if string(b[:bootLength]) != string(boot[:]) || string(b[bootLength+24:bootLength+24+len(digest)]) != string(digest[:]) {
		return false
	}
	b = b[bootLength:]
	r := &recalled{
		root: RootID{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])},
		dirs: make(map[string]recalledDir),
	}
	complete := time.Unix(0, int64(binary.LittleEndian.Uint64(b[16:])))
	if complete.Before(since) || complete.After(s.now()) {
		return false
	}
	if rest, ok := r.take(b[24+len(digest):], "", of.Root()); !ok || len(rest) > 0 {
		return false
	}
	s.recalled, s.complete, s.learned = r, complete, false
	return true
}

// Complete returns when the last reading of all files began, by this process or one before it
// (see Recall). What has other stamps since was read since; what else may have changed, only
// the next reading tells. It is zero before the first scan where nothing is recalled.
func (s *Scanner) Complete() time.Time { return s.complete }

// take notes the stamps of a directory's own entries and of those below it, and returns what
// follows them.
func (r *recalled) take(b []byte, path string, dir *diff.Dir) (rest []byte, ok bool) {
	own := 0
	for c := range dir.Children() {
		if c.Entry.HasContent() {
			own += stampLength
		}
	}
	if own > len(b) {
		return nil, false
	}
	r.dirs[path] = recalledDir{dir, b[:own]}
	b, ok = b[own:], true
	for c := range dir.Children() {
		if c.Dir != nil && ok {
			b, ok = r.take(b, diff.Join(path, c.Name), c.Dir)
		}
	}
	return b, ok
}

// records returns what is recalled of a directory's files, if the root is still the same.
func (r *recalled) records(path string, root RootID) []record {
	if r == nil || r.root != root {
		return nil
	}
	in := r.dirs[path]
	b := in.stamps
	files := make([]record, 0, len(b)/stampLength)
	for c := range in.dir.Children() {
		if !c.Entry.HasContent() {
			continue
		}
		st := stamp{
			dev: anyDev, ino: binary.LittleEndian.Uint64(b), size: c.Entry.Size,
			mtime: int64(binary.LittleEndian.Uint64(b[8:])), ctime: int64(binary.LittleEndian.Uint64(b[16:])),
			mode: binary.LittleEndian.Uint32(b[24:]),
		}
		if b = b[stampLength:]; st.ino != 0 {
			files = append(files, record{name: c.Name, stamp: st, hash: c.Entry.Hash})
		}
	}
	return files
}

// Verified notes that all files were read since then, and hold what is known of them, but for
// those that the caller distrusts before the next scan.
func (s *Scanner) Verified(since time.Time) { s.complete, s.learned = since, true }
