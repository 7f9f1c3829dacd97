package scan

import (
	"bytes"
	"sync"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// freshBytes bounds the contents that one scan keeps, in bytes.
const freshBytes = 32 << 20

// fresh are contents of small files that the last scan has read and nobody has committed:
// who commits them next need not read them again. A content whose stamp is racy is not
// among them, see file.settled.
type fresh struct {
	mu       sync.Mutex // guards what follows
	contents map[diff.Hash][]byte
	bytes    int
}

// keep keeps a copy of a content while there is room.
func (f *fresh) keep(h diff.Hash, content []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bytes += len(content); f.bytes > freshBytes {
		return
	}
	if f.contents == nil {
		f.contents = make(map[diff.Hash][]byte)
	}
	f.contents[h] = bytes.Clone(content)
}

// get returns the content of that hash, nil if it is not there. It is not to be changed.
func (f *fresh) get(h diff.Hash) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.contents[h]
}

// Forget gives up the contents that the last scan has kept for Read.
func (s *Scanner) Forget() {
	s.fresh.mu.Lock()
	defer s.fresh.mu.Unlock()
	s.fresh.contents, s.fresh.bytes = nil, 0
}
