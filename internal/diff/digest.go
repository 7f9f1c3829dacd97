package diff

import (
	"crypto/sha256"
	"encoding/binary"
)

// digest returns the Merkle digest of a directory: SHA-256 over its children in
// order of name. Each child contributes its kind, mode, size, the length of its
// name, its name, and then its content's hash or, for a directory, its digest. The
// encoding is part of the wire format: agents compare digests with publishers'.
func digest(children []Child) Hash {
	h := sha256.New()
	buf := make([]byte, 0, 4<<10)
	buf = append(buf, "confsyncd tree 1\n"...)
	for i := range children {
		c := &children[i]
		if len(buf) > cap(buf)-MaxName-64 {
			h.Write(buf)
			buf = buf[:0]
		}
		buf = append(buf, byte(c.Entry.Kind))
		buf = binary.BigEndian.AppendUint32(buf, c.Entry.Mode)
		buf = binary.BigEndian.AppendUint64(buf, uint64(c.Entry.Size))
		buf = binary.BigEndian.AppendUint16(buf, uint16(len(c.Name)))
		buf = append(buf, c.Name...)
		if c.Dir != nil {
			buf = append(buf, c.Dir.digest[:]...)
		} else {
			buf = append(buf, c.Entry.Hash[:]...)
		}
	}
	h.Write(buf)
	return Hash(h.Sum(nil))
}
