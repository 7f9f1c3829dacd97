package recall

import (
	"encoding/binary"
	"hash/crc32"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// The stamps of a tree:
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
	magic       = "CSYS\x01"
	bootLength  = 36
	rootAt      = len(magic) + bootLength
	completeAt  = rootAt + 16
	digestAt    = completeAt + 8
	header      = digestAt + len(diff.Hash{})
	stampLength = 8 + 8 + 8 + 4
	trailer     = 4
)

// bootFile tells one boot of the machine from another, see random(4).
const bootFile = "/proc/sys/kernel/random/boot_id"

// Root identifies the root directory for as long as it is mounted.
type Root struct{ Dev, Ino uint64 }

// Stamp is what tells one version of a file or symlink from another, besides its size. The
// zero Stamp is none.
type Stamp struct {
	Ino          uint64
	Mtime, Ctime int64  // nanoseconds since 1970
	Mode         uint32 // st_mode
}

// Known are the stamps of a tree. It is for one goroutine at a time.
type Known struct {
	Root Root
	// Complete is when a reading of all files began: what changed since, and shows in no
	// stamp, is not known.
	Complete time.Time

	dirs map[string]*directory // by path
	last *directory            // that was asked for last
	at   string                // its path
}

type directory struct {
	dir    *diff.Dir
	stamps []byte // of its own entries
	// Paths are asked for in order, mostly: child was asked for last, and offset is where its
	// stamp is, or would be.
	child, offset int
}

// bootID returns what the stamps of this boot bear; false if there is nothing of the kind.
func bootID() (id string, ok bool) {
	b, err := os.ReadFile(bootFile)
	if err != nil || len(b) < bootLength {
		return "", false
	}
	return string(b[:bootLength]), true
}

func sum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// Encode returns the stamps of a tree; nil if this boot of the machine has no name. in is
// called for each directory, and returns what is called for its own files and symlinks, in
// the order of names.
func Encode(root Root, complete time.Time, of diff.Tree, in func(path string) func(diff.Child) Stamp) []byte {
	boot, ok := bootID()
	if !ok {
		return nil
	}
	b := make([]byte, 0, Most(of))
	b = append(b, magic...)
	b = append(b, boot...)
	b = binary.LittleEndian.AppendUint64(b, root.Dev)
	b = binary.LittleEndian.AppendUint64(b, root.Ino)
	b = binary.LittleEndian.AppendUint64(b, uint64(complete.UnixNano())) //nolint:gosec // Decode takes it back.
	digest := of.Digest()
	b = append(b, digest[:]...)
	b = encode(b, "", of.Root(), in)
	return binary.LittleEndian.AppendUint32(b, sum(b))
}

// Most is how many bytes the stamps of a tree are at most.
func Most(of diff.Tree) int { return header + of.Len()*stampLength + trailer }

// encode appends the stamps of a directory's own entries and of those below it.
func encode(b []byte, path string, dir *diff.Dir, in func(path string) func(diff.Child) Stamp) []byte {
	of := in(path)
	for c := range dir.Children() {
		if !c.Entry.HasContent() {
			continue
		}
		s := of(c)
		b = binary.LittleEndian.AppendUint64(b, s.Ino)
		b = binary.LittleEndian.AppendUint64(b, uint64(s.Mtime)) //nolint:gosec // stampAt takes it back.
		b = binary.LittleEndian.AppendUint64(b, uint64(s.Ctime)) //nolint:gosec // The same.
		b = binary.LittleEndian.AppendUint32(b, s.Mode)
	}
	for c := range dir.Children() {
		if c.Dir != nil {
			b = encode(b, diff.Join(path, c.Name), c.Dir, in)
		}
	}
	return b
}

// Decode returns the stamps that Encode made of this tree in this boot of the machine, and
// not after now; false if b is anything else. b must not be changed afterwards.
func Decode(b []byte, of diff.Tree, now time.Time) (*Known, bool) {
	boot, ok := bootID()
	end := len(b) - trailer
	digest := of.Digest()
	if !ok || end < header || string(b[:len(magic)]) != magic || sum(b[:end]) != binary.LittleEndian.Uint32(b[end:]) ||
		string(b[len(magic):rootAt]) != boot || string(b[digestAt:header]) != string(digest[:]) {
		return nil, false
	}
	k := &Known{
		Root:     Root{binary.LittleEndian.Uint64(b[rootAt:]), binary.LittleEndian.Uint64(b[rootAt+8:])},
		Complete: time.Unix(0, int64(binary.LittleEndian.Uint64(b[completeAt:]))), //nolint:gosec // As Encode wrote it.
		dirs:     make(map[string]*directory),
	}
	if k.Complete.After(now) {
		return nil, false
	}
	rest, ok := k.take(b[header:end], "", of.Root())
	return k, ok && len(rest) == 0
}

// take notes the stamps of a directory's own entries and of those below it, and returns what
// follows them.
func (k *Known) take(b []byte, path string, dir *diff.Dir) (rest []byte, ok bool) {
	own := 0
	for c := range dir.Children() {
		if c.Entry.HasContent() {
			own += stampLength
		}
	}
	if own > len(b) {
		return nil, false
	}
	k.dirs[path] = &directory{dir: dir, stamps: b[:own]}
	b, ok = b[own:], true
	for c := range dir.Children() {
		if c.Dir != nil && ok {
			b, ok = k.take(b, diff.Join(path, c.Name), c.Dir)
		}
	}
	return b, ok
}

// Len returns how many files and symlinks lie in the directory at path itself.
func (k *Known) Len(path string) int {
	if d := k.dirs[path]; d != nil {
		return len(d.stamps) / stampLength
	}
	return 0
}

// In yields the files and symlinks in the directory at path that have stamps, in the order of
// names.
func (k *Known) In(path string) iter.Seq2[diff.Child, Stamp] {
	return func(yield func(diff.Child, Stamp) bool) {
		d := k.dirs[path]
		if d == nil {
			return
		}
		offset := 0
		for c := range d.dir.Children() {
			if !c.Entry.HasContent() {
				continue
			}
			s := stampAt(d.stamps[offset:])
			offset += stampLength
			if s != (Stamp{}) && !yield(c, s) {
				return
			}
		}
	}
}

// Get returns the stamp of the file or symlink at path, and what it held then.
func (k *Known) Get(path string) (diff.Entry, Stamp, bool) {
	if at := diff.Parent(path); k.last == nil || k.at != at {
		k.last, k.at = k.dirs[at], at
	}
	if k.last == nil {
		return diff.Entry{}, Stamp{}, false
	}
	return k.last.get(diff.Base(path))
}

func (d *directory) get(name string) (diff.Entry, Stamp, bool) {
	list := d.dir.List()
	if d.child >= len(list) || list[d.child].Name > name {
		d.child, d.offset = 0, 0
	}
	further, ok := slices.BinarySearchFunc(list[d.child:], name, func(c diff.Child, n string) int { return strings.Compare(c.Name, n) })
	if !ok {
		return diff.Entry{}, Stamp{}, false
	}
	for _, c := range list[d.child : d.child+further] {
		if c.Entry.HasContent() {
			d.offset += stampLength
		}
	}
	d.child += further
	c := list[d.child]
	if !c.Entry.HasContent() {
		return diff.Entry{}, Stamp{}, false
	}
	s := stampAt(d.stamps[d.offset:])
	return c.Entry, s, s != Stamp{}
}

func stampAt(b []byte) Stamp {
	return Stamp{
		Ino:   binary.LittleEndian.Uint64(b),
		Mtime: int64(binary.LittleEndian.Uint64(b[8:])),  //nolint:gosec // As encode wrote it.
		Ctime: int64(binary.LittleEndian.Uint64(b[16:])), //nolint:gosec // The same.
		Mode:  binary.LittleEndian.Uint32(b[24:]),
	}
}
