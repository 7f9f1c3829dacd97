package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// acceptName is the file in .confsyncd by which an operator lets the target go on from
// a head that does not follow from what the journal says.
const acceptName = "accept"

// acceptance is what that file holds.
type acceptance struct {
	Tenant     string `json:"tenant_id"`
	Generation uint64 `json:"generation"`
}

// Accept lets the agent of the target at dir, now running or later, go on from the
// given position or one of the same tenant id after it. It needs no lock. The error
// wraps journal.ErrNone if the target has no journal: then there is nothing to accept.
func Accept(dir string, at diff.Position) error {
	if err := installed(dir); err != nil {
		return err
	}
	b, err := encodeAcceptance(at)
	if err != nil {
		return err
	}
	return writeControl(dir, acceptName, b)
}

// writeDurably puts a file of that name in dir. Everyone may read it: the agent need
// not be the user that writes it.
func writeDurably(dir *os.Root, name string, b []byte) error {
	f, err := dir.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if err = f.Chmod(0o644); err == nil { // Whatever the umask.
		_, err = f.Write(b)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := dir.Rename(name+".new", name); err != nil {
		return err
	}
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Accepted returns the tenant id and the least generation that an operator lets the
// target go on from, nil if there is none.
func (t *Target) Accepted() (*diff.Position, error) {
	path := filepath.Join(ControlDir(t.o.Dir), acceptName)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the control file: %w", err)
	}
	p, err := decodeAcceptance(b)
	if err != nil {
		return nil, fmt.Errorf("read the control file %q: %w", path, err)
	}
	return &p, nil
}

func encodeAcceptance(p diff.Position) ([]byte, error) {
	b, err := json.Marshal(acceptance{Tenant: p.Tenant.String(), Generation: p.Generation})
	return append(b, '\n'), err
}

func decodeAcceptance(b []byte) (diff.Position, error) {
	var a acceptance
	if err := json.Unmarshal(b, &a); err != nil {
		return diff.Position{}, err
	}
	id, err := diff.ParseTenantID(a.Tenant)
	return diff.Position{Tenant: id, Generation: a.Generation}, err
}

// Unaccept takes back what Accept allowed.
func (t *Target) Unaccept() error {
	if err := t.removeControl(acceptName); err != nil {
		return fmt.Errorf("take back what was accepted: %w", err)
	}
	return nil
}

// Rebase makes the journal say that the target is just before the given position,
// whatever it said until now: the way on for what an operator accepted. What is
// managed stays the same.
func (t *Target) Rebase(to diff.Position) error {
	if t.peeked != nil {
		t.rebased(to)
		return nil
	}
	if err := t.ready(); err != nil {
		return err
	}
	s := t.State()
	s.Position = justBefore(to)
	var err error
	if t.journal == nil {
		t.journal, err = journal.Create(t.ownRoot, s)
	} else {
		err = t.journal.Reset(s)
	}
	if err != nil {
		return t.fault("write", diff.OwnName+"/journal", err)
	}
	return nil
}
