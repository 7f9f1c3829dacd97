package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/election"
	"github.com/confsyncd/confsyncd/internal/scan"
	"github.com/confsyncd/confsyncd/internal/store"
	"github.com/confsyncd/confsyncd/internal/watcher"
)

// Publisher publishes one directory as one tenant. It is for one call of Run or Push.
type Publisher struct {
	options Options
	scanner *scan.Scanner
	memory  *memory
	push    *PushOptions // nil for a daemon

	allow Allow        // what is still to be lifted
	asked bool         // stand was asked before
	first *store.Head  // the head then, nil if there was none
	root  *scan.RootID // of the last commit, or of the first scan
	// stood is the position of the head that it became live under, or committed, in
	// this process.
	stood    diff.Position
	election *election.Election // nil if there is none
	seat     store.Seat         // by which it leads; zero while it does not
	// registered is the tenant's registration, nil until it was read; it is read again after
	// registeredUntil.
	registered      *store.Registration
	registeredUntil time.Time
	counted         counted
	near            error   // what of the quotas is nearly used up, nil if nothing is
	lineage         lineage // of the directory; in an election alone
	// equalled is since when the directory has equalled a head that is not its base; zero if
	// it does not.
	equalled time.Time
	// unsure is set while the outcome of the last commit is unknown.
	unsure bool
	// scanned is the directory as it was found last, and polled what of that has still
	// to settle.
	scanned diff.Tree
	polled  settling
	// traces are those from before the scan, and disturbed counts how often in a row they
	// had changed before the commit.
	traces    []scan.Trace
	disturbed int
	// reading is the path whose content was read last for a commit, and changing counts the
	// steps in a row in which what was read had changed since the scan.
	reading  string
	changing int
	left     []scan.Held // what the last commit left to the next

	lockPatience time.Duration

	// view is what is known of etcd. After a commit of our own it is newer than what
	// the feed has brought.
	view store.View

	coder *codec.Coder
	bases *bases // of patches
	// stamped is the digest of the tree whose stamps the state directory has; zero if none.
	stamped diff.Hash
	// known is the version that bases were last read from etcd with, nil if there is none.
	known  *store.Version
	asking int64 // how many bytes of bases may still be read from etcd for the commit in hand

	rescan chan struct{} // capacity 1; holds a token while a full scan is asked for
}

// New returns a publisher. It touches neither the directory nor etcd.
func New(o Options) (*Publisher, error) {
	if o.Beat == nil {
		o.Beat = func() {}
	}
	limit := o.MaxFileSize
	if o.Allow.Size {
		limit = codec.MaxFileSize
	}
	scanner, err := scan.New(scan.Options{
		Dir: o.Dir, Ignore: o.Ignore, BusyFiles: o.BusyFiles, RefuseSymlinks: o.RefuseSymlinks, GitModes: o.GitModes,
		MaxFileSize: limit, Beat: o.Beat, Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	return &Publisher{
		options: o, scanner: scanner, allow: o.Allow, rescan: make(chan struct{}, 1),
		coder: codec.NewCoder(), bases: newBases(), lockPatience: lockPatience,
	}, nil
}

// Rescan makes a running publisher look at the whole directory now, and read all its
// files again.
func (p *Publisher) Rescan() {
	select {
	case p.rescan <- struct{}{}:
	default:
	}
}

// errBusy says that somebody is at work in the directory and does not want to be
// published half-way.
var errBusy = errors.New("a busy file exists")

// errDisturbed says that somebody may have been at work in the directory while it was
// looked at, and is done by now.
var errDisturbed = errors.New("a busy file may have come and gone")

// mostDisturbed is how often in a row that is taken for a reason to look again: where
// BusyFiles lie other files may come and go all the time.
const mostDisturbed = 2

// outcome is what one step found.
type outcome struct {
	scanned  bool
	scanning time.Duration // what the scan took
	settling time.Duration // for how long what a poll found has still to be quiet; then nothing was decided
	held     []scan.Held
	// judged is set once it is known whether it may publish, and refused tells why not.
	judged  bool
	refused error
	commit  *Commit // nil if there was nothing to commit
}

// step compares the directory with the head once, and commits the difference. where
// tells what there is to look at.
func (p *Publisher) step(ctx context.Context, where watcher.Dirty) (outcome, error) {
	begin := time.Now()
	p.traces = p.scanner.Traces()
	if err := p.busy(); err != nil {
		return outcome{}, err
	}
	if err := p.follow(ctx); err != nil {
		return outcome{}, err
	}
	if err := p.noteChannels(); err != nil {
		return outcome{}, err
	}
	known := p.memory.base()
	var dirs []string // nil: all
	if !where.All {
		dirs = append([]string{}, where.Dirs...)
	}
	found, err := p.scanner.Scan(ctx, known, dirs, where.Paths...)
	if err != nil {
		return outcome{}, err
	}
	defer p.scanner.Forget()
	news := found.Tree.Digest() != p.scanned.Digest()
	p.scanned = found.Tree
	out := outcome{scanned: true, scanning: time.Since(begin), held: found.Held}
	if where.Poll {
		if out.settling = p.polled.wait(news, p.options.Settle, p.options.MaxDelay); out.settling > 0 {
			return out, nil
		}
	}
	if p.root == nil {
		p.root = &found.Root
	}
	if err := p.together(found.Tree); err != nil {
		return out, err
	}
	if err := p.register(ctx); err != nil {
		return out, err
	}
	does, err := p.judge(p.view, found.Tree)
	if out.judged, out.refused = p.view.Err == nil, err; p.view.Err != nil {
		return out, err
	}
	if p.election != nil && p.seat.IsZero() {
		return out, errStandingBy
	}
	if err != nil {
		return out, err
	}
	on, err := p.stand(ctx, p.view, does, found.Tree)
	if err != nil {
		return out, err
	}
	if len(found.Held) > 0 && known.Digest() != on.dir.Digest() {
		// Held paths keep what is committed, and that is known only now.
		if found, err = p.scanner.Scan(ctx, on.dir, []string{}); err != nil {
			return outcome{}, err
		}
	}
	out.held = found.Held
	if out.commit, err = p.commit(ctx, on, found); out.commit != nil {
		out.commit.Duration = time.Since(begin)
	}
	return out, err
}

// busy returns errBusy while a busy file exists.
func (p *Publisher) busy() error {
	if path, _, busy := p.scanner.Busy(); busy {
		return fmt.Errorf("%w: %q; delete it if nobody is at work in %s", errBusy, path, p.options.Dir)
	}
	return nil
}

// undisturbed returns errBusy if somebody has begun to work in the directory since it was
// scanned, errDisturbed if somebody has perhaps been at work and is done.
func (p *Publisher) undisturbed() error {
	if err := p.busy(); err != nil {
		return err
	}
	if slices.Equal(p.traces, p.scanner.Traces()) || p.disturbed == mostDisturbed {
		p.disturbed = 0
		return nil
	}
	p.disturbed++
	return fmt.Errorf("%w in %s", errDisturbed, p.options.Dir)
}

// commit commits what was found on top of where the publisher stands. It returns nil
// if there is nothing to do.
func (p *Publisher) commit(ctx context.Context, on standing, found *scan.Result) (*Commit, error) {
	if p.push != nil {
		if err := refuseHeld(found.Held); err != nil {
			return nil, err
		}
	}
	if on.beside() {
		// What is deleted here may be little of the head.
		if err := p.guard(on.dir, diff.Compare(on.dir, found.Tree), found); err != nil {
			return nil, err
		}
	}
	dir := found.Tree
	found = on.onto(found)
	changes := diff.Compare(on.base, found.Tree)
	used, err := p.quota(on.base, changes)
	if err != nil {
		return nil, err
	}
	if len(changes) == 0 && !on.founding {
		p.root = &found.Root
		return nil, p.settle(on, dir)
	}
	if err := p.guard(on.base, changes, found); err != nil {
		return nil, err
	}
	if p.push != nil && p.push.DryRun {
		return &Commit{Changes: changes, Founding: on.founding}, nil
	}
	sent := changes
	if on.founding {
		if err := unfounded(on.base, found); err != nil {
			return nil, err
		}
		sent = diff.Compare(diff.Tree{}, found.Tree)
	}
	head, tree, out, err := p.write(ctx, on, sent, found)
	p.unsure = errors.Is(err, store.ErrAmbiguous)
	if errors.Is(err, store.ErrRegistration) {
		p.registered = nil
	}
	if err != nil {
		return nil, err
	}
	p.view = p.view.After(head)
	p.root, p.allow, p.stood = &found.Root, Allow{}, head.Position
	if err := p.memory.rememberOurs(true); err != nil {
		return nil, err
	}
	if err := p.memory.remember(head.Position, tree, on.published(tree, dir, out.left)); err != nil {
		return nil, err
	}
	if len(out.left) > 0 {
		changes = diff.Compare(on.base, tree)
	} else if !p.counted.tree.IsZero() {
		p.counted = counted{tree.Digest(), used}
	}
	return &Commit{Position: head.Position, Changes: changes, Bytes: out.bytes, Founding: on.founding, Left: out.left}, nil
}

// unfounded returns ErrRefused if a founding would lose a path that is held: its
// committed content cannot be read from the directory, and etcd no longer has it.
func unfounded(base diff.Tree, found *scan.Result) error {
	var lost []scan.Held
	for _, h := range found.Held {
		if _, ok := base.Get(h.Path); ok {
			lost = append(lost, h)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return refuse(lost[0].Reason.Remedy(),
		"etcd was rewound and the whole tree must be published anew, but %d paths cannot be read: %s", len(lost), some(describe(lost)))
}

// write makes the record and commits it. It returns the tree that was committed: what was
// found, but for changes that are left to a later commit.
func (p *Publisher) write(ctx context.Context, on standing, sent []diff.Change, found *scan.Result) (*store.Head, diff.Tree, contents, error) {
	draft := p.commits().NewDraft(ctx, on.head)
	draft.Channels(p.channels(on)...)
	if on.beside() {
		draft.Rollback(on.head.Rollback)
	}
	tree := found.Tree
	out, err := p.contents(ctx, sent, on, p.telling(sent, draft.Stage))
	if err == nil && len(out.left) > 0 {
		tree, err = p.without(out.left, on, found)
	}
	if err == nil {
		// Once more: a checkout may have begun while we were reading.
		err = p.undisturbed()
	}
	if err != nil {
		draft.Discard()
		return nil, diff.Tree{}, contents{}, err
	}
	record := &codec.Record{
		Tenant: on.last.Tenant, Generation: on.last.Generation + 1, Parent: on.last.Commit, Founding: on.founding,
		Time: time.Now(), Publisher: p.options.Name, Instance: p.memory.instance(),
		Digest: tree.Digest(), List: codec.List{Changes: out.changes},
	}
	if p.push != nil {
		record.Message = p.push.Message
	}
	if !on.founding {
		record.Keyframe = on.head.Keyframe
	}
	head, err := draft.Commit(ctx, record)
	return head, tree, out, err
}
