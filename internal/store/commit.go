package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

const (
	// txnBytes is how many bytes of packs go into one Txn: two packs. etcd takes
	// 1.5 MiB.
	txnBytes = 1 << 20
	// txnPacks is how many packs go into one Txn. etcd takes 128 operations.
	txnPacks = 64
	// txnChecks is for how many Txns of packs the commit asks whether they are still in
	// effect. etcd takes 128 comparisons.
	txnChecks = 120
	// txnsInFlight is how many Txns of packs are under way at a time.
	txnsInFlight = 3
	// commitPatience is how long a commit is sent again and read back.
	commitPatience = 30 * time.Second
)

// Draft is a commit in the making, on top of the head that was read: first its packs
// are staged, then Commit makes it visible.
type Draft struct {
	store *Store
	base  *Head
	group *errgroup.Group
	ctx   context.Context // of the group
	pace  *pace
	stop  context.CancelFunc
	marks marks

	batch      []codec.Pack // not sent yet
	batchBytes int
	staged     map[diff.Hash]bool
	begin      func() error  // reads the fence, once, before the first pack is put
	relies     *clientv3.Cmp // that nothing was removed, if the commit is to name what it does not put

	mu    sync.Mutex     // guards what follows
	fence fence          // as it was before the first pack was put
	put   []clientv3.Cmp // for each Txn of packs, that what it put is still there
}

// marks are what the head says of a commit and its record does not.
type marks struct {
	// channels go to the commit; a founding takes all that there are besides.
	channels []string
	// rollback is as in codec.Head.
	rollback uint64
	// ahead has the hosts that a rollout lets go ahead come to the commit.
	ahead bool
}

// Rollback says that the commit brings back the tree of a generation, or lies on top of such
// a one with edits alone.
func (d *Draft) Rollback(generation uint64) { d.marks.rollback = generation }

// NewDraft begins a commit on top of base, which is nil if there is no head. Commit
// or Discard must be called to end what Stage starts.
func (s *Store) NewDraft(ctx context.Context, base *Head) *Draft {
	d := &Draft{store: s, base: base, staged: make(map[diff.Hash]bool), pace: newPace(), marks: marks{channels: []string{codec.MainChannel}}}
	ctx, d.stop = context.WithCancel(ctx)
	d.group, d.ctx = errgroup.WithContext(ctx)
	d.group.SetLimit(txnsInFlight)
	d.begin = sync.OnceValue(func() error {
		f, err := s.patientFence(d.ctx)
		d.mu.Lock()
		d.fence = f
		d.mu.Unlock()
		return err
	})
	return d
}

// Reuse tells that the commit will name packs, or rest on records, that it does not put
// itself: it is then made only if no sweep removes anything from now on. So whether they are
// there is looked at after it. It returns what became of the call.
func (d *Draft) Reuse(ctx context.Context) error {
	f, err := d.store.readFence(ctx)
	if err != nil {
		return err
	}
	unmoved := f.unmoved()
	d.relies = &unmoved
	return nil
}

// Stage puts a pack into etcd, or keeps it for the Txn of the commit itself if it
// turns out to fit there. It blocks while enough are under way.
func (d *Draft) Stage(p codec.Pack) error {
	if d.staged[p.Ref.Hash] {
		return context.Cause(d.ctx)
	}
	d.staged[p.Ref.Hash] = true
	if d.batchBytes+len(p.Data) > d.most() || len(d.batch) == txnPacks {
		d.flush()
	}
	d.batch, d.batchBytes = append(d.batch, p), d.batchBytes+len(p.Data)
	return context.Cause(d.ctx)
}

// most is how many bytes go into one Txn.
func (d *Draft) most() int {
	if d.pace.shared() {
		return codec.MaxPack
	}
	return txnBytes
}

// flush sends the batch on its way.
func (d *Draft) flush() {
	batch := d.batch
	d.batch, d.batchBytes = nil, 0
	if len(batch) == 0 {
		return
	}
	d.group.Go(func() error {
		if err := d.begin(); err != nil {
			return err
		}
		revision, err := d.pace.do(d.ctx, func() (int64, error) { return d.store.putPacks(d.ctx, batch) })
		d.mu.Lock()
		defer d.mu.Unlock()
		d.put = append(d.put, clientv3.Compare(clientv3.ModRevision(d.store.keys.pack(batch[0].Ref.Hash)), ">", revision-1))
		return err
	})
}

// stillThere returns the comparisons that fail if what the commit names and does not put in
// its own Txn may no longer be there: a sweep has removed it, or etcd was taken back to
// before the draft's packs were put, and may have the same head then. The group has ended.
//
// RACE: of packs that were put before the last txnChecks MiB, only sweeps are asked for. An
// etcd that is taken back while more than that is staged, to the very head, is left with a
// commit that lacks packs: agents keep their files and say what is missing.
func (d *Draft) stillThere() []clientv3.Cmp {
	there := slices.Clone(d.put[max(0, len(d.put)-txnChecks):])
	if len(there) > 0 {
		there = append(there, d.fence.spares())
	}
	if d.relies != nil {
		there = append(there, *d.relies)
	}
	return there
}

// putPacks puts packs until it is done or etcd refuses, and returns the revision. Packs
// are named by their content, so that putting one twice does no harm.
func (s *Store) putPacks(ctx context.Context, packs []codec.Pack) (int64, error) {
	ops := s.putOps(packs)
	registered := s.LedBy(Seat{}) // what is staged is garbage at worst, whoever leads
	compare, evidence := registered.conditions()
	var pace Backoff
	for tries := 1; ; tries++ {
		var revision int64
		var failed error
		err := s.carry(ctx, "stage packs", true, func(ctx context.Context, etcd *clientv3.Client) (int, error) {
			resp, err := etcd.Txn(ctx).If(compare...).Then(ops...).Else(evidence...).Commit()
			if err != nil {
				return 0, err
			}
			if revision = resp.Header.Revision; !resp.Succeeded {
				failed = fmt.Errorf("stage packs: %w", registered.failed(resp))
			}
			return carries(ops), nil
		})
		// Nothing refers to the packs yet: given up, they are only garbage.
		if err == nil {
			return revision, failed
		}
		if !Temporary(err) || tries == breakAfter || errors.Is(err, rpctypes.ErrNoSpace) {
			if errors.Is(err, rpctypes.ErrNoSpace) {
				return 0, errNoSpace
			}
			if errors.Is(err, ErrAmbiguous) {
				err = fmt.Errorf("%w: %w", ErrUnreachable, err)
			}
			return revision, err
		}
		if err := pace.Wait(ctx); err != nil {
			return 0, err
		}
	}
}

func (s *Store) putOps(packs []codec.Pack) []clientv3.Op {
	ops := make([]clientv3.Op, 0, len(packs)+2)
	for _, p := range packs {
		ops = append(ops, clientv3.OpPut(s.keys.pack(p.Ref.Hash), string(p.Data)))
	}
	return ops
}

// Discard ends a draft that is not to be committed.
func (d *Draft) Discard() {
	d.batch = nil
	d.stop()
	_ = d.group.Wait() // the draft failed already, or nobody wants to know
}

// Commit makes the record the tenant's head, in one Txn with it and with the packs
// that are still at hand. record.Commit and the list's parts are filled in. It
// returns the record's head, whatever is on top of it by now, once the outcome is
// known, or gives up after commitPatience.
//
// It returns an error that wraps ErrLostRace if the head is another position by now or
// etcd was taken back to before the packs were staged, ErrNotLeader if the store is a
// leader's whose seat is gone, ErrRegistration if it is of a registration that is another one by now,
// ErrRefused or ErrNotApplied if etcd does not take it, ErrUnreachable if etcd was
// away before anything was sent, and ErrAmbiguous if ctx or the patience ended, or the
// head could no longer be understood, with the outcome unknown. Then the head tells,
// once it can be read again: a commit of one's own instance is one's own.
func (d *Draft) Commit(ctx context.Context, record *codec.Record) (*Head, error) {
	data, err := d.store.coder.EncodeRecord(record, d.Stage)
	if err != nil {
		d.Discard()
		return nil, err
	}
	if d.batchBytes+len(data) > txnBytes {
		d.flush()
	}
	batch := d.batch
	d.batch = nil
	err = d.group.Wait()
	d.stop()
	if err != nil {
		return nil, err
	}
	return d.store.commit(ctx, d.base, record, d.marks, data, batch, d.stillThere())
}

// commit sends the Txn, and after an ambiguous outcome reads back until it is known.
func (s *Store) commit(ctx context.Context, base *Head, record *codec.Record, marks marks, data []byte, packs []codec.Pack, staged []clientv3.Cmp) (_ *Head, err error) {
	var pace Backoff
	until := time.Now().Add(s.client.patience)
	// What was sent without an answer may still be on its way, whatever is read back: as
	// long as the head is what it compares with, nothing less than another head says that
	// it was not applied.
	onItsWay := false
	defer func() {
		if err != nil && onItsWay && !errors.Is(err, ErrLostRace) && !final(err) && !errors.Is(err, ErrAmbiguous) {
			err = fmt.Errorf("%w: %w", ErrAmbiguous, err)
		}
	}()
	for {
		head, err := s.nextHead(base, record, marks)
		if err != nil {
			return nil, err
		}
		if len(data) <= littleBytes {
			head.record = data
		}
		err = s.sendCommit(ctx, base, head, data, packs, staged)
		if err == nil || !errors.Is(err, ErrAmbiguous) && !errors.Is(err, ErrLostRace) && !final(err) {
			return head, err
		}
		onItsWay = onItsWay || errors.Is(err, ErrAmbiguous) && !errors.Is(err, rpctypes.ErrNoSpace)
		// A lost race may be our own commit's second arrival; so may a lost leadership, or
		// another registration.
		now, mine, readErr := s.settle(ctx, record.Position(), until)
		switch {
		case readErr != nil:
			return nil, fmt.Errorf("%w: %w: %w", ErrAmbiguous, err, readErr)
		case mine && now.Position == head.Position:
			return now, nil
		case mine:
			return head, nil // another's commit is on top of it
		case final(err):
			return nil, err
		case !samePosition(now, base):
			return nil, fmt.Errorf("%w: generation %d", ErrLostRace, generationOf(now))
		case errors.Is(err, ErrLostRace) && len(staged) > 0 && now.Same(base):
			return nil, fmt.Errorf("%w: what was staged is no longer there, or may not be", ErrLostRace)
		case errors.Is(err, rpctypes.ErrNoSpace):
			return nil, errNoSpace
		case time.Now().After(until) && onItsWay:
			return nil, err
		case time.Now().After(until):
			return nil, fmt.Errorf("%w: %w", ErrNotApplied, err)
		}
		// Only other fields of the head changed, or nothing was applied.
		base = now
		if waitErr := pace.Wait(ctx); waitErr != nil {
			return nil, fmt.Errorf("%w: %w", err, waitErr)
		}
	}
}

func samePosition(a, b *Head) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Position == b.Position
}

func generationOf(h *Head) uint64 {
	if h == nil {
		return 0
	}
	return h.Position.Generation
}

// nextHead returns the head that a record makes on top of base, with its marks. Its
// modRevision is that of the commit, once it was sent.
func (s *Store) nextHead(base *Head, r *codec.Record, marks marks) (*Head, error) {
	next := codec.Head{Position: r.Position(), Digest: r.Digest, Publisher: r.Publisher, Instance: r.Instance}
	if r.Founding {
		next.Founding = r.Generation
	} else {
		next.Founding, next.Keyframe = base.Founding, base.Keyframe
	}
	next.Rollback = marks.rollback
	next = led(next, base, marks)
	raw, err := codec.EncodeHead(next)
	if err != nil {
		return nil, err
	}
	return &Head{Head: next, raw: raw}, nil
}

// sendCommit sends the Txn once.
func (s *Store) sendCommit(ctx context.Context, base, next *Head, data []byte, packs []codec.Pack, staged []clientv3.Cmp) (err error) {
	ops := append(s.putOps(packs), clientv3.OpPut(s.keys.log(next.Position.Generation), string(data)),
		clientv3.OpPut(s.keys.head(), string(next.raw)))
	next.modRevision, err = s.swap(ctx, "commit", s.headIs(base), ops, staged...)
	return err
}

// headIs compares the head with the bytes that were read.
func (s *Store) headIs(base *Head) clientv3.Cmp {
	if base == nil {
		return clientv3.Compare(clientv3.CreateRevision(s.keys.head()), "=", 0)
	}
	return clientv3.Compare(clientv3.Value(s.keys.head()), "=", string(base.raw))
}

// conditions are what all that the store commits compares, and the reading of what tells
// failed which of them did not hold.
func (s *Store) conditions() (compare []clientv3.Cmp, evidence []clientv3.Op) {
	if s.registration != nil {
		compare = append(compare, s.registration.same())
		evidence = append(evidence, clientv3.OpGet(s.registration.key, clientv3.WithKeysOnly()))
	}
	if !s.seat.IsZero() {
		compare = append(compare, s.seat.held())
		evidence = append(evidence, clientv3.OpGet(s.seat.key, clientv3.WithKeysOnly()))
	}
	return compare, evidence
}

// failed tells why a Txn's comparisons did not hold: ErrLostRace if it was none of the
// conditions.
func (s *Store) failed(resp *clientv3.TxnResponse) error {
	read := resp.Responses
	if s.registration != nil {
		kvs := read[0].GetResponseRange().Kvs
		if read = read[1:]; len(kvs) > 0 != s.registration.Exists() || len(kvs) > 0 && kvs[0].ModRevision != s.registration.modRevision {
			return ErrRegistration
		}
	}
	if !s.seat.IsZero() && !s.seat.in(read[0].GetResponseRange().Kvs) {
		return ErrNotLeader
	}
	return ErrLostRace
}

// final reports whether what was sent without an answer cannot arrive any more after such
// an error: it compares the same.
func final(err error) bool { return errors.Is(err, ErrNotLeader) || errors.Is(err, ErrRegistration) }

// swap runs one Txn that changes the head. It returns ErrRegistration if the store is of a
// registration that is the tenant's no longer, ErrNotLeader if it is a
// leader's whose seat is gone, and ErrLostRace if another comparison fails.
func (s *Store) swap(ctx context.Context, op string, is clientv3.Cmp, then []clientv3.Op, and ...clientv3.Cmp) (int64, error) {
	resp, err := s.txn(ctx, op, is, then, and...)
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}

// txn is swap for who wants to know what etcd answers.
func (s *Store) txn(ctx context.Context, op string, is clientv3.Cmp, then []clientv3.Op, and ...clientv3.Cmp) (*clientv3.TxnResponse, error) {
	always, evidence := s.conditions()
	compare := append(append(slices.Clone(and), is), always...)
	var resp *clientv3.TxnResponse
	var failed error
	bytes := carries(then)
	send := func(ctx context.Context, etcd *clientv3.Client) (_ int, err error) {
		resp, err = etcd.Txn(ctx).If(compare...).Then(then...).Else(evidence...).Commit()
		if err != nil {
			return 0, err
		}
		failed = nil
		if !resp.Succeeded {
			failed = s.failed(resp)
		}
		return bytes, nil
	}
	var err error
	if bytes > littleBytes {
		err = s.carry(ctx, op, true, send)
	} else {
		err = s.call(ctx, op, true, func(ctx context.Context, etcd *clientv3.Client) error {
			_, err := send(ctx, etcd)
			return err
		})
	}
	if err == nil && failed != nil {
		err = fmt.Errorf("%s: %w", op, failed)
	}
	return resp, err
}

// carries returns how many bytes puts carry.
func carries(puts []clientv3.Op) (n int) {
	for _, op := range puts {
		n += len(op.ValueBytes())
	}
	return n
}

// settle reads the outcome of a commit, as often as it takes until then.
func (s *Store) settle(ctx context.Context, want diff.Position, until time.Time) (head *Head, mine bool, err error) {
	var pace Backoff
	for {
		head, mine, err = s.outcome(ctx, want)
		if err == nil || !Temporary(err) || time.Now().After(until) {
			return head, mine, err
		}
		if waitErr := pace.Wait(ctx); waitErr != nil {
			return nil, false, waitErr
		}
	}
}

// outcome reads the head, and whether the commit is part of its history.
func (s *Store) outcome(ctx context.Context, want diff.Position) (head *Head, mine bool, err error) {
	view, err := s.View(ctx)
	if err != nil {
		return nil, false, err
	}
	if view.Err != nil {
		return nil, false, damagedUnlessNewer(view.Err)
	}
	if view.Head == nil || view.Head.Position.Generation < want.Generation {
		return view.Head, false, nil
	}
	if view.Head.Position == want {
		return view.Head, true, nil
	}
	at, ok, err := s.positionAt(ctx, want.Generation, view.revision)
	return view.Head, ok && at == want, err
}

// positionAt returns the position of the record at a generation; ok is false if there
// is none.
func (s *Store) positionAt(ctx context.Context, generation uint64, revision int64) (at diff.Position, ok bool, err error) {
	page, err := s.recordPage(ctx, generation, generation, revision)
	if err != nil || len(page) == 0 {
		return at, false, err
	}
	r, err := s.coder.DecodeRecord(page[0])
	if err != nil {
		return at, false, damagedUnlessNewer(err)
	}
	return r.Position(), true, nil
}

// Holds reports whether the history at the view still holds the position. A record
// that is not there, below the head, counts as held: it may have been removed for its
// age.
func (s *Store) Holds(ctx context.Context, view View, p diff.Position) (bool, error) {
	switch {
	case view.Head == nil || view.Head.Position.Tenant != p.Tenant || view.Head.Position.Generation < p.Generation:
		return false, nil
	case view.Head.Position.Generation == p.Generation:
		return view.Head.Position == p, nil
	}
	at, ok, err := s.positionAt(ctx, p.Generation, view.revision)
	return !ok || at == p, err
}

// Leads returns an error that wraps ErrDamaged unless the head's record is there and is
// the commit that the head names.
func (s *Store) Leads(ctx context.Context, view View) error {
	at, ok, err := s.positionAt(ctx, view.Head.Position.Generation, view.revision)
	switch {
	case err != nil:
		return fmt.Errorf("record of generation %d: %w", view.Head.Position.Generation, err)
	case !ok:
		return fmt.Errorf("%w: there is no record of generation %d, which the head names", ErrDamaged, view.Head.Position.Generation)
	case at != view.Head.Position:
		return fmt.Errorf("%w: the record of generation %d is commit %v of generation %d, the head names %v",
			ErrDamaged, view.Head.Position.Generation, at.Commit, at.Generation, view.Head.Position.Commit)
	}
	return nil
}

// Record reads one generation's record as it was at the view, without the parts of
// its list. It returns an error that wraps ErrGone if there is none.
func (s *Store) Record(ctx context.Context, view View, generation uint64) (*codec.Record, int, error) {
	page, err := s.recordPage(ctx, generation, generation, view.revision)
	if err != nil {
		return nil, 0, err
	}
	if len(page) == 0 {
		return nil, 0, fmt.Errorf("record of generation %d: %w", generation, ErrGone)
	}
	r, err := s.coder.DecodeRecord(page[0])
	if err != nil {
		return nil, 0, damagedUnlessNewer(err)
	}
	return r, len(page[0]), nil
}
