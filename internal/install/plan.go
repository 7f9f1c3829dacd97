package install

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// work is one apply in hand, or one that is rolled forward.
type work struct {
	t       *Target
	pending journal.Pending
	// base is what the journal knows of the paths that may be changed or deleted.
	base diff.Tree
	want diff.Tree
	// leave are the paths that stay although they cease to be managed.
	leave map[string]bool
	// steps are what becomes of each path, in path order. A step's index is the
	// name of what is staged for it.
	steps   []step
	first   bool // first contact, or another selection
	unmoved bool // the journal says what the plan does
	idle    bool // nothing is to be done, not even to the journal
	// keepDrift is the plan's.
	keepDrift bool
	exchange  bool    // the whole tree is switched at once
	survey    *survey // what stands in the target; set if exchange is
	conflict  Conflict
	kept      *keeper
	// inStage is how many staged entries were not renamed into the target.
	inStage int
	// suspect are the paths that could not be switched because of others' changes.
	suspect []string
	// denied is why the first of them that the kernel denied could not be.
	denied error
	result Result
}

// plan compares p with the journal and with the disk. It writes nothing. If there is
// a conflict, the plan must not be gone on with.
func (t *Target) plan(p Plan) (*work, error) {
	w, err := t.compare(p)
	if err != nil || w.idle {
		return w, err
	}
	c := t.cursor()
	c.plans = true
	defer c.close()
	if err := w.ancestors(c); err != nil {
		return nil, err
	}
	for i := range w.steps {
		t.o.Beat()
		look := w.look
		if w.steps[i].again {
			look = w.lookAgain
		}
		if err := look(c, &w.steps[i]); err != nil {
			return nil, err
		}
	}
	if t.o.Mode == Tree && w.conflict.Total == 0 {
		if w.exchange = w.moving() > 1; w.exchange || w.first {
			if err := w.lookAround(); err != nil {
				return nil, err
			}
		}
	}
	if w.conflict.Total == 0 {
		w.forbid(c)
	}
	if w.conflict.Total == 0 && !w.exchange {
		if err := w.access(c); err != nil {
			return nil, err
		}
	}
	if w.conflict.Total > 0 {
		slices.SortFunc(w.conflict.Paths, func(a, b ConflictPath) int { return diff.ComparePaths(a.Path, b.Path) })
		w.conflict.FirstContact = w.first
		return w, nil
	}
	w.settle()
	w.idle = w.unmoved && len(w.steps) == 0
	return w, nil
}

// compare finds out, without the disk, which paths must be looked at.
func (t *Target) compare(p Plan) (*work, error) {
	s := t.State()
	if err := t.admit(s, p); err != nil {
		return nil, err
	}
	meta := p.Meta
	meta.UID, meta.GID = int64(t.o.UID), int64(t.o.GID)
	w := &work{t: t, base: s.Managed, want: p.Want, keepDrift: p.KeepDrift, first: s.Position.IsZero() || reselected(s.Meta, meta)}
	w.pending = journal.Pending{Meta: meta, Position: p.Position, Back: p.Back, ToManaged: p.Want, ToAll: p.All}
	if w.first {
		w.leaveBehind(s)
		if s.Position.Tenant != p.Position.Tenant {
			w.base = diff.Tree{} // What another tenant installed gives no right to overwrite it.
		}
	}
	changes := diff.Compare(w.base, p.Want)
	if w.base.Digest() == s.All.Digest() && p.Want.Digest() == p.All.Digest() {
		w.pending.AllChanges = changes // of a large tree, a second list weighs
	} else {
		w.pending.AllChanges = diff.Compare(s.All, p.All)
	}
	have := make(map[string]bool, len(changes))
	w.steps = make([]step, 0, len(changes))
	for _, c := range changes {
		if c.New = strip(c.New); c.New == c.Old || w.first && c.Deleted() {
			continue
		}
		have[c.Path] = true
		w.steps = append(w.steps, step{Change: c})
	}
	w.again(s.Suspect, have)
	w.repair(p.Again, have)
	if s.Meta.UID != meta.UID || s.Meta.GID != meta.GID {
		var all []string
		for path := range p.Want.All() {
			all = append(all, path)
		}
		w.again(all, have)
	}
	w.unmoved = len(w.pending.AllChanges)+len(w.leave)+len(s.Suspect) == 0 && s.Position == p.Position && s.Meta == meta
	w.idle = w.unmoved && len(w.steps) == 0
	return w, nil
}

// admit refuses plans that the journal would refuse, before anything is staged.
func (t *Target) admit(s journal.State, p Plan) error {
	from, to := s.Position, p.Position
	switch {
	case to.IsZero():
		return fmt.Errorf("%w: it has no position", ErrOlder)
	case from.IsZero() || from == to:
		return nil
	case from.Tenant != to.Tenant:
		if s.Meta.Tenant == p.Meta.Tenant && s.Meta.Prefix == p.Meta.Prefix {
			return fmt.Errorf("%w: %q has tenant id %v, tenant %q now has %v; if that is meant, \"confsyncd accept %s\" lets it go on",
				ErrForeignTenant, t.o.Dir, from.Tenant, p.Meta.Tenant, to.Tenant, t.o.Dir)
		}
		return nil
	case p.Back && to.Generation < from.Generation:
		return nil
	case to.Generation <= from.Generation:
		return fmt.Errorf("%w: %q is at generation %d (commit %v), the plan at %d (commit %v)",
			ErrOlder, t.o.Dir, from.Generation, from.Commit, to.Generation, to.Commit)
	}
	return nil
}

func reselected(a, b journal.Meta) bool {
	return a.Tenant != b.Tenant || a.Prefix != b.Prefix || a.Selection != b.Selection
}

// strip takes setuid and setgid off, which a target never gets.
func strip(e diff.Entry) diff.Entry {
	e.Mode &^= unix.S_ISUID | unix.S_ISGID
	return e
}

// leaveBehind finds what was managed and is not selected any more.
func (w *work) leaveBehind(s journal.State) {
	w.leave = map[string]bool{}
	for _, c := range diff.Compare(s.Managed, w.want) {
		if c.Deleted() {
			w.leave[c.Path] = true
			w.pending.Leave = append(w.pending.Leave, c.Path)
		}
	}
}

// again adds paths that must be looked at although they did not change.
func (w *work) again(paths []string, have map[string]bool) {
	for _, path := range paths {
		e, ok := w.want.Get(path)
		if !ok || have[path] {
			continue
		}
		have[path] = true
		old, _ := w.base.Get(path)
		w.steps = append(w.steps, step{Change: diff.Change{Path: path, Old: old, New: strip(e)}})
	}
}

// ancestors makes sure that what is written has a directory to lie in, and that
// no nested target is written to. It leaves the steps in path order.
func (w *work) ancestors(c *cursor) error {
	changing := map[string]bool{}
	for _, s := range w.steps {
		if s.New.Kind == diff.Directory {
			changing[s.Path] = true
		}
	}
	seen := map[string]bool{"": true}
	for _, writing := range []bool{true, false} {
		for _, s := range slices.Clone(w.steps) {
			if s.Deleted() == writing {
				continue
			}
			for at := diff.Parent(s.Path); !seen[at]; at = diff.Parent(at) {
				seen[at] = true
				if err := w.ancestor(c, at, writing && !changing[at]); err != nil {
					return err
				}
			}
		}
	}
	slices.SortFunc(w.steps, func(a, b step) int { return diff.ComparePaths(a.Path, b.Path) })
	return nil
}

// ancestor looks at one directory. If it is needed, but does not change, it is made
// where it is missing; what stands in its place is in the way.
func (w *work) ancestor(c *cursor, path string, needed bool) error {
	dir, name, err := c.at(path)
	var n node
	if err == nil {
		n, err = lstat(dir, name)
	}
	if err != nil && !absent(err) {
		return w.t.fault("open", path, err)
	}
	switch {
	case n.kind == diff.Directory && n.dev != w.t.dev:
		// A btrfs subvolume, which is no mount.
		return w.t.fault("open", path, unix.EXDEV)
	case n.kind == diff.Directory:
		return w.notNested(path)
	case !needed:
	case n.kind == diff.None:
		e, _ := w.want.Get(path)
		w.steps = append(w.steps, step{Change: diff.Change{Path: path, Old: strip(e), New: strip(e)}})
	default:
		w.conflict.add(path, "a "+n.describe()+" stands where a managed directory was; move it away")
	}
	return nil
}

func (w *work) notNested(path string) error {
	fd, err := w.t.openDir(path, unix.O_PATH)
	if err != nil {
		return w.t.fault("open", path, err)
	}
	defer closeFD(fd)
	n, err := lstat(fd, diff.OwnName)
	if err == nil && n.kind != diff.None {
		return fmt.Errorf("%w: %q is a target of its own, and a managed path lies in it; leave it out of the selection",
			ErrNested, filepath.Join(w.t.o.Dir, path))
	}
	if err != nil {
		return w.t.fault("open", path, err)
	}
	return nil
}

// forbid finds out what may not be switched. A whole tree would leave it behind, and what
// was to keep it as it is with it.
func (w *work) forbid(c *cursor) {
	for i, s := range w.steps {
		if !s.acts() {
			continue
		}
		why := forbidden(c, s)
		drift := s.Old == s.New && s.found.kind != diff.None
		switch {
		case why == "", drift && w.exchange:
		case drift:
			w.steps[i].act, w.steps[i].keep = nothing, false // No generation waits for it.
		default:
			w.conflict.add(s.Path, why)
		}
	}
}

// access finds out before the first write where the agent may not write. As an
// ordinary user, it opens up own directories that are managed and read-only for
// the time of the apply: that makes them steps, so that they are restored even
// after a crash.
func (w *work) access(c *cursor) error {
	seen := map[string]bool{}
	for _, s := range slices.Clone(w.steps) {
		if err := w.accessTo(c, s); err != nil {
			return err
		}
		parent := diff.Parent(s.Path)
		if !s.acts() || s.act == attributes || seen[parent] {
			continue
		}
		seen[parent] = true
		dir, _, err := c.at(s.Path)
		if absent(err) {
			continue
		}
		if err == nil {
			err = unix.Faccessat(dir, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS)
		}
		if errors.Is(err, unix.EACCES) && w.openable(dir, parent) {
			continue
		}
		if err != nil {
			return w.t.fault("write in", parent, err)
		}
	}
	return nil
}

// accessTo finds out whether an ordinary user may do to a directory itself what the
// step wants: only its owner sets its mode, and who moves it must be able to write in
// it.
func (w *work) accessTo(c *cursor, s step) error {
	if s.found.kind != diff.Directory || os.Geteuid() == 0 {
		return nil
	}
	if s.act == attributes && s.found.uid != os.Geteuid() {
		return w.t.fault("set mode and owner of", s.Path, unix.EPERM)
	}
	if s.act != swap || ownReadOnly(s.found) {
		return nil
	}
	dir, name, err := c.at(s.Path)
	if err == nil {
		err = unix.Faccessat(dir, name, unix.W_OK, unix.AT_EACCESS)
	}
	if err != nil && !absent(err) {
		return w.t.fault("move", s.Path, err)
	}
	return nil
}

// openable reports whether a directory may be opened up, and adds the step that
// restores it.
func (w *work) openable(dir int, path string) bool {
	n, err := lstat(dir, ".")
	if err != nil || !ownReadOnly(n) {
		return false
	}
	for i := range w.steps {
		if s := &w.steps[i]; s.Path == path {
			if s.act == nothing {
				s.act, s.opened = attributes, true
			}
			return true
		}
	}
	e, ok := w.want.Get(path)
	if ok {
		c := diff.Change{Path: path, Old: strip(e), New: strip(e)}
		w.steps = append(w.steps, step{Change: c, act: attributes, found: n, opened: true})
	}
	return ok
}

// settle drops the steps that nothing comes of, and hands the rest to the journal.
func (w *work) settle() {
	w.steps = slices.DeleteFunc(w.steps, func(s step) bool { return s.act == nothing && s.Old == s.New })
	slices.SortFunc(w.steps, func(a, b step) int { return diff.ComparePaths(a.Path, b.Path) })
	for _, s := range w.steps {
		if !s.pruned() {
			w.pending.Changes = append(w.pending.Changes, s.Change)
		}
	}
}

// acts reports whether anything on the disk must change.
func (w *work) acts() bool {
	return slices.ContainsFunc(w.steps, step.acts)
}

// moving returns how many paths change with the plan. What is only put right changes
// path by path: it is of one generation before and after.
func (w *work) moving() int {
	n := 0
	for _, s := range w.steps {
		if s.acts() && s.Old != s.New {
			n++
		}
	}
	return n
}
