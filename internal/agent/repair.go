package agent

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/store"
)

// repair puts paths right, with contents of the view. Those that keep others from it are
// told apart: blocked are the paths that could not be put right, with why. An error is not
// the matter of a path; with install.ErrChanged all were tried.
func (a *applier) repair(ctx context.Context, view store.View, paths []string) (result install.Result, blocked []install.ConflictPath, err error) {
	contents := installed{a.options.Store, view, a.target.Content()}
	result, err = a.target.Repair(ctx, paths, a.options.telling(contents))
	switch {
	case err == nil || !ofOnePath(err) || a.target.Interrupted():
		return result, result.Blocked, err
	case len(paths) == 1:
		return install.Result{}, []install.ConflictPath{{Path: paths[0], Why: err.Error()}}, nil
	}
	half := len(paths) / 2
	first, blocked, err := a.repair(ctx, view, paths[:half])
	if err != nil && !errors.Is(err, install.ErrChanged) {
		return first, blocked, err
	}
	second, others, otherErr := a.repair(ctx, view, paths[half:])
	if otherErr != nil {
		err = otherErr
	}
	second.Corrected += first.Corrected
	second.Kept += first.Kept
	second.Bytes += first.Bytes
	second.Switched = second.Switched || first.Switched
	return second, append(blocked, others...), err
}

// ofOnePath reports whether an error may be the matter of one path among many.
func ofOnePath(err error) bool {
	var conflict *install.Conflict
	for _, one := range []error{unix.EACCES, unix.EPERM, install.ErrNested, install.ErrOtherFileSystem} {
		if errors.Is(err, one) {
			return true
		}
	}
	return errors.As(err, &conflict)
}

// installed provides the contents of what is installed, which need not be the newest.
type installed struct {
	store *store.Store
	view  store.View
	at    install.Version
}

// Fetch is that of install.Contents.
func (c installed) Fetch(ctx context.Context, want []diff.Entry, have func(diff.Hash) []byte, put func(diff.Entry, []byte) error) error {
	version, err := c.store.At(ctx, c.view, c.at.Generation)
	if err != nil {
		return err
	}
	if !c.at.Is(version.Position()) {
		return fmt.Errorf("etcd has another commit of generation %d", c.at.Generation)
	}
	return version.Fetch(ctx, want, have, put)
}
