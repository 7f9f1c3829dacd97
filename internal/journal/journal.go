package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Names in the journal's directory.
const (
	fileName      = "journal"
	freshName     = "journal.new"
	damagedPrefix = "journal.damaged-"
)

// rewriteSize is the least size of the frames, in bytes, at which a fresh snapshot
// takes their place.
const rewriteSize = 64 << 10

// Journal is an open journal.
type Journal struct {
	dir     *os.Root // the caller's
	file    *os.File
	state   State
	pending *Pending
	after   State // what pending leads to
	// snapshot is how many bytes of the file are the snapshot, size how many count.
	snapshot, size int64
	// rewriteAt is how many bytes of frames call for a fresh snapshot.
	rewriteAt int64
	// broken says that an append, or making one durable, failed. What the file
	// holds is unknown then: after an error in fsync the kernel may have dropped
	// the page (see fsync(2)), so only a fresh file can be trusted.
	broken bool
	sync   func(*os.File) error // makes the file durable
}

// Read returns what the journal in dir says, without changing anything and without
// a lock: it may be read while another process writes it. Pending is nil unless a
// next waits for its at. The error wraps ErrNone, ErrDamaged or ErrNewer.
func Read(dir *os.Root) (State, *Pending, error) {
	f, c, err := load(dir, os.O_RDONLY)
	if err != nil {
		return State{}, nil, err
	}
	return c.state, c.pending, f.Close()
}

// Open opens the journal in dir, which must stay open as long as the journal does,
// and cuts off a torn tail. What was read is durable when Open returns, so that it can
// be acted on. The error wraps ErrNone, ErrDamaged or ErrNewer.
func Open(dir *os.Root) (*Journal, error) {
	f, c, err := load(dir, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		dir: dir, file: f, state: c.state, pending: c.pending, sync: datasync,
		snapshot: int64(c.snapshot), size: int64(c.size),
	}
	j.rewriteAt = max(rewriteSize, j.snapshot)
	if err := j.cut(); err != nil {
		return nil, errors.Join(fmt.Errorf("cut the journal's torn tail: %w", err), f.Close())
	}
	if err := errors.Join(datasync(f), syncDir(dir)); err != nil {
		return nil, errors.Join(fmt.Errorf("make the journal durable: %w", err), f.Close())
	}
	if j.pending != nil {
		if j.after, err = j.state.after(j.pending, nil); err != nil {
			return nil, errors.Join(fmt.Errorf("%w: %w", ErrDamaged, err), f.Close())
		}
	}
	return j, nil
}

// Create writes a new journal that holds s, in place of any other. It is durable
// when Create returns. dir must stay open as long as the journal does.
func Create(dir *os.Root, s State) (*Journal, error) {
	j := &Journal{dir: dir, state: s, sync: datasync}
	if err := j.rewrite(); err != nil {
		if j.file != nil {
			err = errors.Join(err, j.file.Close())
		}
		return nil, err
	}
	return j, nil
}

// SetAside renames the journal in dir, so that it is not lost, and returns its new
// name.
func SetAside(dir *os.Root) (string, error) {
	name := damagedPrefix + time.Now().UTC().Format("20060102T150405.000000000Z")
	if err := dir.Rename(fileName, name); err != nil {
		return "", fmt.Errorf("set the journal aside: %w", err)
	}
	return name, syncDir(dir)
}

// State returns what the tree is at.
func (j *Journal) State() State { return j.state }

// Pending returns what the tree is becoming, nil if nothing.
func (j *Journal) Pending() *Pending { return j.pending }

// Next writes, durably, what the tree is becoming. The error wraps ErrPending,
// ErrGeneration, ErrTenant, or diff.ErrMismatch if the changes do not fit; nothing
// was written then.
func (j *Journal) Next(p Pending) error {
	after, err := j.lead(&p)
	if err != nil {
		return err
	}
	if _, err := j.append(kindNext, encodePending(&p)); err != nil {
		return err
	}
	j.pending, j.after = &p, after
	return nil
}

// At writes, durably, that the tree has become what Next said, apart from the
// suspect paths, of which that is not known. The error wraps ErrPending if there
// was no Next. After any other error State may be that already, so that what others
// have read from the file does not fall; Mend makes it durable.
func (j *Journal) At(suspect ...string) error {
	if j.pending == nil {
		return ErrPending
	}
	written, err := j.append(kindAt, appendPaths(nil, suspect))
	if !written {
		return err
	}
	j.state, j.pending, j.after = j.after, nil, State{}
	if len(suspect) > 0 {
		j.state.Suspect = slices.Clone(suspect)
	}
	if err == nil {
		j.outweigh()
	}
	return err
}

// Advance is Next and At in one append: for publishers, and for a target of which
// nothing on the disk changes. Errors are those of Next and At.
func (j *Journal) Advance(p Pending) error {
	after, err := j.lead(&p)
	if err != nil {
		return err
	}
	written, err := j.append(kindAdvance, encodePending(&p))
	if !written {
		return err
	}
	j.state = after
	if err == nil {
		j.outweigh()
	}
	return err
}

// Mend writes a fresh file if an earlier append failed, or if the file was deleted or
// replaced by others; else it does nothing. Next, At and Advance do so by themselves. Call it before taking away what a next that
// could not be written may refer to.
func (j *Journal) Mend() error {
	if !j.broken && j.inPlace() {
		return nil
	}
	return j.rewrite()
}

// inPlace reports whether the file that is open still is the journal.
func (j *Journal) inPlace() bool {
	is, err := j.file.Stat()
	if err != nil {
		return true // The next write says what the matter is.
	}
	there, err := j.dir.Lstat(fileName)
	return err == nil && os.SameFile(is, there)
}

// Reset writes, durably, that the tree is at s, whatever it was at. The error wraps
// ErrPending while a next waits for its at. After any other error State is what it
// was, and the next write, or Mend, makes the file say so again.
func (j *Journal) Reset(s State) error {
	if j.pending != nil {
		return ErrPending
	}
	before := j.state
	j.state = s
	if err := j.rewrite(); err != nil {
		j.state, j.broken = before, true
		return err
	}
	return nil
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }

func (j *Journal) lead(p *Pending) (State, error) {
	if j.pending != nil {
		return State{}, ErrPending
	}
	p.whole = false
	return j.state.after(p, nil)
}

// append writes one frame and makes it durable. It reports whether others can read the
// frame, be it durable or not.
func (j *Journal) append(kind byte, payload []byte) (written bool, err error) {
	if int64(len(payload)) > math.MaxUint32 {
		return false, fmt.Errorf("append to the journal: %d bytes are more than a frame can hold", len(payload))
	}
	if err := j.Mend(); err != nil {
		return false, err
	}
	b := frame(kind, payload)
	if _, err := j.file.WriteAt(b, j.size); err != nil {
		j.broken = true
		return false, fmt.Errorf("append to the journal: %w", err)
	}
	if err := j.sync(j.file); err != nil {
		j.broken = true
		return true, fmt.Errorf("make the journal durable: %w", err)
	}
	j.size += int64(len(b))
	return true, nil
}

// outweigh writes a fresh snapshot when the frames outweigh the last.
func (j *Journal) outweigh() {
	frames := j.size - j.snapshot
	if frames <= j.rewriteAt {
		return
	}
	// The journal is right and durable without: where there is no room for a
	// fresh snapshot, it grows until the next attempt.
	if err := j.rewrite(); err != nil {
		j.rewriteAt = 2 * frames
	}
}

// rewrite puts a fresh file in the place of the journal.
func (j *Journal) rewrite() error {
	b := encodeFile(j.state, j.pending)
	if int64(len(b)) > math.MaxUint32 {
		return fmt.Errorf("write the journal: %d bytes are more than it can hold", len(b))
	}
	f, err := writeFresh(j.dir, b)
	if err != nil {
		return fmt.Errorf("write the journal anew: %w", err)
	}
	if err := j.dir.Rename(freshName, fileName); err != nil {
		return errors.Join(fmt.Errorf("write the journal anew: %w", err), f.Close())
	}
	if j.file != nil {
		// Nothing more is written through it, so an error says nothing.
		_ = j.file.Close()
	}
	size := int64(len(b))
	j.file, j.size, j.snapshot = f, size, size
	j.rewriteAt = max(rewriteSize, size)
	// Until the rename is durable a power cut brings the old file back.
	j.broken = true
	if err := syncDir(j.dir); err != nil {
		return err
	}
	j.broken = false
	return nil
}

// cut takes a torn tail off the file.
func (j *Journal) cut() error {
	info, err := j.file.Stat()
	if err != nil || info.Size() == j.size {
		return err
	}
	return j.file.Truncate(j.size)
}

func load(dir *os.Root, flag int) (*os.File, content, error) {
	f, err := dir.OpenFile(fileName, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, content{}, ErrNone
	}
	if err != nil {
		return nil, content{}, fmt.Errorf("open the journal: %w", err)
	}
	c, err := decode(f)
	if err != nil {
		return nil, content{}, errors.Join(err, f.Close())
	}
	return f, c, nil
}

func decode(f *os.File) (content, error) {
	info, err := f.Stat()
	if err != nil {
		return content{}, fmt.Errorf("read the journal: %w", err)
	}
	if !info.Mode().IsRegular() {
		return content{}, fmt.Errorf("%w: it is no file", ErrDamaged)
	}
	var b bytes.Buffer
	b.Grow(int(info.Size()) + bytes.MinRead)
	if _, err := b.ReadFrom(f); err != nil {
		return content{}, fmt.Errorf("read the journal: %w", err)
	}
	return decodeFile(b.Bytes())
}

// writeFresh writes b to a new file beside the journal and makes it durable.
func writeFresh(dir *os.Root, b []byte) (*os.File, error) {
	f, err := dir.OpenFile(freshName, os.O_CREATE|os.O_TRUNC|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(b); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func datasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func syncDir(dir *os.Root) error {
	d, err := dir.Open(".")
	if err != nil {
		return fmt.Errorf("make the journal's directory durable: %w", err)
	}
	if err := d.Sync(); err != nil {
		return errors.Join(fmt.Errorf("make the journal's directory durable: %w", err), d.Close())
	}
	return d.Close()
}
