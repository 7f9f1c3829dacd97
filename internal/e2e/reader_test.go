//go:build !lean

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// reader reads a target as those do who use its files.
type reader struct {
	dir    string
	ledger *ledger
	// stay are paths that must be there at all times.
	stay  []string
	reads atomic.Int64
	seen  diff.Position // what the journal said last
}

// run reads until ctx ends or something is wrong.
func (r *reader) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := r.once(); err != nil {
			return fmt.Errorf("in %s: %w", r.dir, err)
		}
		sleep(ctx, time.Millisecond)
	}
	return nil
}

func (r *reader) once() error {
	for _, p := range r.stay {
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
func (r *reader) all(dir string) error {
	entries, err := os.ReadDir(filepath.Join(r.dir, dir))
	if err != nil && !gone(err) {
		return err
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		if p == own {
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
func (r *reader) file(p string) error {
	name := filepath.Join(r.dir, p)
	if to, err := os.Readlink(name); err == nil {
		r.reads.Add(1)
		return r.ledger.checkLink(p, to)
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
	r.reads.Add(1)
	return r.ledger.checkFile(p, uint32(info.Mode().Perm()), string(b))
}

// generation checks that the journal is always there once it was, and never falls.
// Only where an operator accepts another tenant id do generations begin anew.
func (r *reader) generation() error {
	s, _, err := install.ReadState(r.dir)
	switch {
	case errors.Is(err, journal.ErrNone) && r.seen.IsZero():
		return nil
	case err != nil:
		return err
	case s.Position.Tenant == r.seen.Tenant && s.Position.Generation < r.seen.Generation:
		return fmt.Errorf("the journal fell from generation %d to %d", r.seen.Generation, s.Position.Generation)
	}
	r.seen = s.Position
	return nil
}
