package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// ErrFell is wrapped by a Reader's error that says that the journal's generation fell.
var ErrFell = errors.New("the journal fell")

// Reader reads a target as those do who use its files.
type Reader struct {
	Dir    string
	Ledger *Ledger
	// Stay are paths that must be there at all times.
	Stay  []string
	Reads atomic.Int64

	mu   sync.Mutex             // guards what follows, and is held while it reads
	seen diff.Position          // what the journal said last
	skip func(path string) bool // see Skip
}

// Run reads until ctx ends or something is wrong.
func (r *Reader) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		begin := time.Now()
		if err := r.Once(); err != nil {
			return fmt.Errorf("in %s: %w", r.Dir, err)
		}
		Sleep(ctx, max(time.Millisecond, time.Since(begin))) // Others need the machine too.
	}
	return nil
}

// Skip tells which paths others may do with as they like from now on; nil: none.
func (r *Reader) Skip(skip func(path string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.skip = skip
}

// Honest is Honest for its directory, without the paths that it skips.
func (r *Reader) Honest() error {
	r.mu.Lock()
	skip := r.skip
	r.mu.Unlock()
	return Honest(r.Dir, skip)
}

// Once reads all files, and the journal, once.
func (r *Reader) Once() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.Stay {
		if err := r.file(p); err != nil {
			return err
		}
	}
	if err := r.all(""); err != nil {
		return err
	}
	return r.generation()
}

// all reads whatever lies below a directory.
func (r *Reader) all(dir string) error {
	entries, err := os.ReadDir(filepath.Join(r.Dir, dir))
	if err != nil && !gone(err) {
		return err
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		if p == own || r.skip != nil && r.skip(p) {
			continue
		}
		if e.IsDir() {
			err = r.all(p)
		} else if err = r.file(p); gone(err) {
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// gone reports whether an error says that a path is no longer what it was.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) ||
		errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EINVAL)
}

// file reads a file or symlink, and checks it.
func (r *Reader) file(p string) error {
	name := filepath.Join(r.Dir, p)
	if to, err := os.Readlink(name); err == nil {
		r.Reads.Add(1)
		return r.Ledger.CheckLink(p, to)
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r.Reads.Add(1)
	return r.Ledger.CheckFile(p, uint32(info.Mode().Perm()), string(b))
}

// generation checks that the journal is always there once it was, and never falls.
// Only where an operator accepts another tenant id do generations begin anew.
func (r *Reader) generation() error {
	s, _, err := install.ReadState(r.Dir)
	switch {
	case errors.Is(err, journal.ErrNone) && r.seen.IsZero():
		return nil
	case err != nil:
		return err
	case s.Position.Tenant == r.seen.Tenant && s.Position.Generation < r.seen.Generation:
		return fmt.Errorf("%w from generation %d to %d", ErrFell, r.seen.Generation, s.Position.Generation)
	}
	r.seen = s.Position
	return nil
}
