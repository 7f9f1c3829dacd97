package publisher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
	"github.com/confsyncd/confsyncd/internal/report"
	"github.com/confsyncd/confsyncd/internal/store"
)

// memory is what a publisher remembers of one tenant and directory: its instance, the
// position and tree of the newest commit that it knows, and the directory as it was published
// last, if that is not the same: see apart.
type memory struct {
	dir     *os.Root
	lock    *os.File
	journal *journal.Journal // nil if read only
	state   journal.State
	// ours is set if the newest commit that is known was made from the directory, or follows
	// from such a one by commits beside it.
	ours bool
	// channels are the names of the head's channels, sorted.
	channels []string
}

// openMemory opens the memory, and makes it where there is none. If another process
// has it, the memory is read only: then what is remembered is forgotten at the end.
func openMemory(o Options) (*memory, error) {
	path := memoryDir(o)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("state_dir: %w", err)
	}
	dir, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("state_dir: %w", err)
	}
	m := &memory{dir: dir}
	if err := m.load(o); err != nil {
		return nil, errors.Join(err, m.close())
	}
	if err := m.loadOurs(); err != nil {
		return nil, errors.Join(err, m.close())
	}
	if err := m.loadChannels(); err != nil {
		o.Log.Warn("after a loss of etcd, hosts may have to be told of channels again", "tenant", o.Tenant, "error", err)
	}
	return m, nil
}

// memoryLocked reports whether another process has the memory.
func memoryLocked(o Options) (bool, error) {
	dir, err := os.Open(memoryDir(o))
	if err != nil {
		return false, fmt.Errorf("state_dir: %w", err)
	}
	defer dir.Close() //nolint:errcheck // Nothing was written.
	err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", dir.Name(), err)
	}
	return false, nil
}

func memoryDir(o Options) string {
	return filepath.Join(o.StateDir, "sources", report.Key(report.Source, o.Prefix, o.Tenant, o.Dir))
}

func (m *memory) load(o Options) error {
	lock, err := m.dir.Open(".")
	if err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	m.lock = lock
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		m.state, _, err = journal.Read(m.dir)
		if errors.Is(err, journal.ErrNone) {
			m.state, err = newState(o), nil // the other process is about to begin
		}
		if err != nil {
			return fmt.Errorf("remembered commit: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", m.dir.Name(), err)
	}
	m.journal, err = journal.Open(m.dir)
	switch {
	case errors.Is(err, journal.ErrNone):
		return m.begin(o)
	case errors.Is(err, journal.ErrDamaged):
		return m.replace(o, err)
	case err != nil:
		return fmt.Errorf("remembered commit: %w", err)
	}
	m.state = m.journal.State()
	return nil
}

// freeze makes the memory read only.
func (m *memory) freeze() error {
	if m.readOnly() {
		return nil
	}
	err := m.journal.Close()
	m.journal = nil
	return err
}

// newState returns an empty memory with an instance of its own.
func newState(o Options) journal.State {
	return journal.State{Meta: journal.Meta{
		Tenant: o.Tenant, Prefix: o.Prefix, Selection: o.Dir, Instance: newInstance(), UID: -1, GID: -1,
	}}
}

func (m *memory) begin(o Options) error { return m.create(newState(o)) }

// replace sets a damaged memory aside. The publisher is then as new: it holds if the
// directory and the head differ.
func (m *memory) replace(o Options, cause error) error {
	aside, err := journal.SetAside(m.dir)
	if err != nil {
		return errors.Join(cause, err)
	}
	o.Log.Error("the memory of the last commit is damaged and was set aside", "tenant", o.Tenant,
		"path", filepath.Join(m.dir.Name(), aside), "error", cause)
	return m.begin(o)
}

func (m *memory) create(s journal.State) error {
	j, err := journal.Create(m.dir, s)
	if err != nil {
		return fmt.Errorf("remember: %w", err)
	}
	if m.journal != nil {
		err = m.journal.Close()
	}
	m.journal, m.state = j, s
	return err
}

// readOnly reports whether another process has the memory.
func (m *memory) readOnly() bool { return m.journal == nil }

func (m *memory) instance() string { return m.state.Meta.Instance }

func (m *memory) have() store.Have {
	return store.Have{Position: m.state.Position, Tree: m.state.All}
}

// base is the directory as it was published last: what differs from it now are edits.
func (m *memory) base() diff.Tree { return m.state.Managed }

// apart reports whether the tree of the newest commit is another than what the directory
// was: others have committed under the publisher's own name.
func (m *memory) apart() bool { return m.state.Managed.Digest() != m.state.All.Digest() }

// remember makes a commit the one that is known, and base the directory of which nothing is
// left to be committed, durably.
func (m *memory) remember(at diff.Position, tree, base diff.Tree) error {
	if at == m.state.Position && base.Digest() == m.state.Managed.Digest() {
		return nil
	}
	next := m.state
	next.Position, next.Managed, next.All = at, base, tree
	if m.readOnly() {
		m.state = next
		return nil
	}
	if err := m.advance(next); err != nil {
		return fmt.Errorf("remember generation %d: %w", at.Generation, err)
	}
	return nil
}

// advance brings the journal to what is to be remembered. It may be ahead of the memory: an
// earlier attempt wrote that, but could not make it durable.
func (m *memory) advance(next journal.State) error {
	is, at := m.journal.State(), next.Position
	var err error
	switch {
	case is.Position == at && is.Managed.Digest() == next.Managed.Digest():
		err = m.journal.Mend()
	case !is.Position.IsZero() && (is.Position.Tenant != at.Tenant || at != is.Position && at.Generation <= is.Position.Generation):
		return m.create(next)
	default:
		err = m.journal.Advance(journal.Pending{
			Meta: is.Meta, Position: at, Changes: diff.Compare(is.Managed, next.Managed), AllChanges: diff.Compare(is.All, next.All),
		})
	}
	if err == nil {
		m.state = m.journal.State()
	}
	return err
}

func (m *memory) close() error {
	var errs []error
	if m.journal != nil {
		errs = append(errs, m.journal.Close())
	}
	if m.lock != nil {
		errs = append(errs, m.lock.Close())
	}
	return errors.Join(append(errs, m.dir.Close())...)
}

// logClose closes the memory where an error can only be told.
func (m *memory) logClose(log hclog.Logger) {
	if err := m.close(); err != nil {
		log.Error("close the memory of the last commit", "error", err)
	}
}
