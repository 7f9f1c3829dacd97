package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// Forgotten is what Forget did.
type Forgotten struct {
	// Managed is how many paths were managed, and stay as they are.
	Managed int
	// Generation is the one that they are of.
	Generation uint64
	// Interrupted says that an apply was not complete: some paths may be of the
	// generation after.
	Interrupted bool
	// Kept is the directory of kept files, which stays; "" if there were none.
	Kept string
}

// Forget takes away what makes the directory at dir a target: journal, stage and control
// files. All other files stay, kept ones too. The error wraps ErrLocked while an agent
// has the target open, or journal.ErrNone if it is no target.
func Forget(dir string) (Forgotten, error) {
	state, pending, err := ReadState(dir)
	if err != nil && !errors.Is(err, journal.ErrDamaged) {
		return Forgotten{}, err
	}
	f := Forgotten{Managed: state.Managed.Len(), Generation: state.Position.Generation, Interrupted: pending != nil}
	locked, err := lock(dir)
	if err != nil {
		return f, err
	}
	defer func() { _ = locked.Close() }()
	for _, own := range slices.Compact([]string{filepath.Join(dir, diff.OwnName), ControlDir(dir)}) {
		if err := f.clear(own); err != nil {
			return f, fmt.Errorf("forget %q: %w", dir, err)
		}
	}
	return f, nil
}

// clear empties one of confsyncd's own directories but for kept files, and removes it if
// nothing is left.
func (f *Forgotten) clear(own string) error {
	root, err := openRealRoot(own)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return errors.Join(err, root.Close())
	}
	kept := false
	for _, e := range entries {
		if e.Name() == keptName {
			if err = root.Remove(keptName); err != nil {
				kept, f.Kept, err = true, filepath.Join(own, keptName), nil
			}
		} else {
			err = root.RemoveAll(e.Name())
		}
		if err != nil {
			return errors.Join(err, root.Close())
		}
	}
	if err := root.Close(); err != nil || kept {
		return err
	}
	return os.Remove(own)
}
