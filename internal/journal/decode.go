package journal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// content is what a file says.
type content struct {
	state   State
	pending *Pending
	// snapshot is where the snapshot ends, size where the last good frame does.
	snapshot, size int
}

// decodeFile reads a whole file. What it allocates is bounded by the file's size.
// It returns an error that wraps ErrDamaged or ErrNewer.
func decodeFile(b []byte) (content, error) {
	if len(b) < headerSize || string(b[:len(magic)]) != magic {
		return content{}, fmt.Errorf("%w: it does not start as one", ErrDamaged)
	}
	if v := binary.BigEndian.Uint16(b[len(magic):]); v > version {
		return content{}, fmt.Errorf("%w (format %d; this one reads %d)", ErrNewer, v, version)
	} else if v != version {
		return content{}, fmt.Errorf("%w: format %d", ErrDamaged, v)
	}
	kind, payload, ok := readFrame(b[headerSize:])
	if !ok || kind != kindState {
		return content{}, fmt.Errorf("%w: the snapshot does not check", ErrDamaged)
	}
	state, err := decodeState(payload)
	if err != nil {
		return content{}, fmt.Errorf("%w: the snapshot: %w", ErrDamaged, err)
	}
	c := content{state: state, snapshot: headerSize + frameHeader + len(payload)}
	c.size = c.snapshot
	for c.size < len(b) {
		kind, payload, ok := readFrame(b[c.size:])
		if !ok {
			if anyFrame(b[c.size+1:]) {
				return content{}, fmt.Errorf("%w: a bad frame at byte %d, good ones after it", ErrDamaged, c.size)
			}
			break
		}
		if err := c.replay(kind, payload); err != nil {
			return content{}, fmt.Errorf("%w: the frame at byte %d: %w", ErrDamaged, c.size, err)
		}
		c.size += frameHeader + len(payload)
	}
	return c, nil
}

// replay takes the meaning of one frame.
func (c *content) replay(kind byte, payload []byte) error {
	if (kind == kindAt) != (c.pending != nil) {
		return fmt.Errorf("kind %d: %w", kind, ErrPending)
	}
	switch kind {
	case kindNext, kindAdvance:
		p, err := decodePending(payload)
		if err != nil {
			return err
		}
		after, err := c.state.after(&p, nil)
		if err != nil {
			return err
		}
		if kind == kindNext {
			c.pending = &p
		} else {
			c.state = after
		}
		return nil
	case kindAt:
		d := decoder{b: payload}
		suspect := d.paths()
		if err := d.end(); err != nil {
			return err
		}
		after, err := c.state.after(c.pending, suspect)
		if err != nil {
			return err
		}
		c.state, c.pending = after, nil
		return nil
	}
	return fmt.Errorf("unknown kind %d", kind)
}

// readFrame returns the frame that b starts with.
func readFrame(b []byte) (kind byte, payload []byte, ok bool) {
	if len(b) < frameHeader {
		return 0, nil, false
	}
	n := uint64(binary.BigEndian.Uint32(b[4:]))
	if n > uint64(len(b)-frameHeader) {
		return 0, nil, false
	}
	end := frameHeader + int(n)
	if binary.BigEndian.Uint32(b) != checksum(b[4:end]) {
		return 0, nil, false
	}
	return b[8], b[frameHeader:end], true
}

// anyFrame reports whether a good frame starts anywhere in b.
func anyFrame(b []byte) bool {
	for i := 0; i+frameHeader <= len(b); i++ {
		if k := b[i+8]; k < kindNext || k > kindAdvance {
			continue
		}
		if _, _, ok := readFrame(b[i:]); ok {
			return true
		}
	}
	return false
}

func decodeState(b []byte) (State, error) {
	d := decoder{b: b}
	s := State{Meta: d.meta(), Position: d.position()}
	whole := d.flags(wholeFlag) != 0
	s.Managed = d.tree()
	if s.All = s.Managed; !whole {
		s.All = d.tree()
	}
	s.Left, s.Suspect = d.paths(), d.paths()
	return s, d.end()
}

func decodePending(b []byte) (Pending, error) {
	d := decoder{b: b}
	p := Pending{Meta: d.meta(), Position: d.position()}
	flags := d.flags(wholeFlag | backFlag | pruneFlag)
	p.whole, p.Back = flags&wholeFlag != 0, flags&backFlag != 0
	p.Changes = d.changes()
	if !p.whole {
		p.AllChanges = d.changes()
	}
	p.Leave = d.paths()
	if flags&pruneFlag != 0 {
		p.Prune = d.paths()
	}
	return p, d.end()
}

var (
	errShort    = errors.New("it ends early")
	errTrailing = errors.New("bytes after its end")
	errValue    = errors.New("a value out of range")
)

// decoder reads values off b. After the first error it reads zeros.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

// end returns the first error, or one if anything was not read.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail(errTrailing)
	}
	return d.err
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail(errShort)
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail(errShort)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail(errShort)
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads a number of items of which each is at least size bytes long.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/size) {
		d.fail(errShort)
		return 0
	}
	return int(n)
}

func (d *decoder) string() string { return string(d.bytes(d.uvarint())) }

func (d *decoder) hash() (h diff.Hash) {
	copy(h[:], d.bytes(uint64(len(h))))
	return h
}

func (d *decoder) flags(known byte) byte {
	f := d.byte()
	if f&^known != 0 {
		d.fail(errValue)
	}
	return f
}

func (d *decoder) meta() Meta {
	return Meta{
		Tenant: d.string(), Prefix: d.string(), Selection: d.string(), Instance: d.string(),
		UID: d.varint(), GID: d.varint(),
	}
}

func (d *decoder) position() (p diff.Position) {
	copy(p.Tenant[:], d.bytes(uint64(len(p.Tenant))))
	p.Generation = d.uvarint()
	p.Commit = d.hash()
	return p
}

func (d *decoder) entry() diff.Entry {
	e := diff.Entry{Kind: diff.Kind(d.byte())}
	if e.Kind == diff.None {
		return e
	}
	mode := d.uvarint()
	if mode > diff.ModeBits {
		d.fail(errValue)
		return diff.Entry{}
	}
	e.Mode = uint32(mode)
	if e.HasContent() {
		size := d.uvarint()
		if size > 1<<62 {
			d.fail(errValue)
		}
		e.Size, e.Hash = int64(size), d.hash()
	}
	if d.err != nil {
		return diff.Entry{}
	}
	if err := e.Check(); err != nil {
		d.fail(err)
	}
	return e
}

func (d *decoder) tree() diff.Tree {
	var b diff.Builder
	for range d.count(3) {
		path, e := d.bytes(d.uvarint()), d.entry()
		if d.err != nil {
			return diff.Tree{}
		}
		if err := b.Add(path, e); err != nil {
			d.fail(err)
		}
	}
	return b.Tree()
}

func (d *decoder) changes() []diff.Change {
	n := d.count(3)
	if n == 0 {
		return nil
	}
	changes := make([]diff.Change, 0, n)
	for range n {
		changes = append(changes, diff.Change{Path: d.string(), Old: d.entry(), New: d.entry()})
	}
	return changes
}

func (d *decoder) paths() []string {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	paths := make([]string, 0, n)
	for range n {
		path := d.string()
		if d.err == nil {
			if err := diff.CheckPath(path); err != nil {
				d.fail(err)
			}
		}
		paths = append(paths, path)
	}
	return paths
}
