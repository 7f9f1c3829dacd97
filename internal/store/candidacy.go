package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/codec"
)

// leavePatience is how long the end of a candidacy may take. What etcd is not told by
// then, it finds out when the lease ends.
const leavePatience = 2 * time.Second

// Seat is a candidate's key in an election. Seats are told apart by the revision at which
// they were taken, which no other key has or will have: so a Txn that compares it cannot
// succeed once the seat was given up or its lease has ended.
type Seat struct {
	key     string
	created int64 // revision
}

// IsZero reports whether s is no seat.
func (s Seat) IsZero() bool { return s == Seat{} }

// held is the comparison that fails once the seat is no longer there.
func (s Seat) held() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(s.key), "=", s.created)
}

// in reports whether the seat is among keys.
func (s Seat) in(keys []*mvccpb.KeyValue) bool {
	return slices.ContainsFunc(keys, func(kv *mvccpb.KeyValue) bool { return s == Seat{string(kv.Key), kv.CreateRevision} })
}

// LedBy returns the store for a leader. Its commits and keyframes are made only while the
// leader's seat is there: else they return ErrNotLeader.
func (s *Store) LedBy(seat Seat) *Store {
	led := *s
	led.seat = seat
	return &led
}

// Candidates are those who stand for election, as they were at one revision.
type Candidates struct {
	List     []Candidate // in the order in which they came: the first one leads
	revision int64
}

// Candidate is one who stands for election.
type Candidate struct {
	codec.Candidate // zero if it could not be understood
	Seat            Seat
}

// Covers reports whether the list was read after the seat was taken: then a seat that is
// not in it is gone.
func (c Candidates) Covers(seat Seat) bool { return c.revision >= seat.created }

// Has reports whether the seat is in the list.
func (c Candidates) Has(seat Seat) bool {
	return slices.ContainsFunc(c.List, func(x Candidate) bool { return x.Seat == seat })
}

// Candidacy is a seat that is kept for as long as its lease lives: etcd's
// concurrency.Session renews it.
type Candidacy struct {
	store   *Store
	lease   clientv3.LeaseID
	session *concurrency.Session
	stop    context.CancelFunc // of what renews the lease
	seat    Seat
}

// Stand takes a seat, behind those that are taken already, under a lease of ttl, in
// whole seconds, rounded up; etcd may make it longer. Leave must be called to end what
// Stand starts, which outlives ctx. It returns what became of the call; then nothing is
// left but, at worst, a lease or seat that ends by itself after ttl.
func (s *Store) Stand(ctx context.Context, who codec.Candidate, ttl time.Duration) (*Candidacy, error) {
	value, err := codec.EncodeCandidate(who)
	if err != nil {
		return nil, err
	}
	c := &Candidacy{store: s}
	err = s.call(ctx, "grant a lease", true, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Grant(clientv3.WithRequireLeader(ctx), int64((ttl+time.Second-1)/time.Second))
		if err == nil {
			c.lease = resp.ID
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err = c.renew(ctx); err == nil {
		err = c.sit(ctx, value)
	}
	if err != nil {
		return nil, errors.Join(err, c.Leave(ctx))
	}
	return c, nil
}

// renew starts to renew the lease.
func (c *Candidacy) renew(ctx context.Context) error {
	etcd, err := c.store.client.connect(ctx)
	if err != nil {
		return err
	}
	var living context.Context
	living, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.session, err = concurrency.NewSession(etcd, concurrency.WithLease(c.lease), concurrency.WithContext(living))
	if err != nil {
		return classify("renew a lease", false, err)
	}
	if c.session == nil {
		return fmt.Errorf("renew a lease: %w", ErrUnreachable) // its connection was closed
	}
	return nil
}

// sit takes the seat.
func (c *Candidacy) sit(ctx context.Context, value []byte) error {
	key := c.store.keys.candidate(int64(c.lease))
	return c.store.call(ctx, "stand for election", true, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Txn(clientv3.WithRequireLeader(ctx)).
			If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
			Then(clientv3.OpPut(key, string(value), clientv3.WithLease(c.lease))).
			Else(clientv3.OpGet(key)).Commit()
		if err != nil {
			return err
		}
		c.seat = Seat{key: key, created: resp.Header.Revision}
		if !resp.Succeeded {
			// It is our own: the client has sent the Txn again.
			c.seat.created = resp.Responses[0].GetResponseRange().Kvs[0].CreateRevision
		}
		return nil
	})
}

// Seat returns the seat.
func (c *Candidacy) Seat() Seat { return c.seat }

// Lost is closed when the lease has ended, or may have, because etcd did not answer for
// as long.
func (c *Candidacy) Lost() <-chan struct{} { return c.session.Done() }

// Leave gives the seat up: whoever stands behind it sees that at once. If etcd cannot be
// reached within two seconds the seat ends with its lease. ctx may have ended.
func (c *Candidacy) Leave(ctx context.Context) error {
	if c.session != nil {
		c.session.Orphan()
	}
	if c.stop != nil {
		c.stop()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leavePatience)
	defer cancel()
	return c.store.call(ctx, "give up a lease", true, func(ctx context.Context, etcd *clientv3.Client) error {
		_, err := etcd.Revoke(ctx, c.lease)
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return nil // it has ended
		}
		return err
	})
}

// Vacate takes a seat away, of somebody who is known to be gone.
func (s *Store) Vacate(ctx context.Context, seat Seat) error {
	return s.call(ctx, "take a seat away", true, func(ctx context.Context, etcd *clientv3.Client) error {
		_, err := etcd.Txn(ctx).If(seat.held()).Then(clientv3.OpDelete(seat.key)).Commit()
		return err
	})
}

// Candidates reads who stands for election. Keys without a lease are nobody's: they
// would lead for ever.
func (s *Store) Candidates(ctx context.Context) (Candidates, error) {
	var c Candidates
	err := s.call(ctx, "read candidates of "+s.tenant, false, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Get(clientv3.WithRequireLeader(ctx), s.keys.candidates(), clientv3.WithPrefix(),
			clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
		if err != nil {
			return err
		}
		c = Candidates{revision: resp.Header.Revision}
		for _, kv := range resp.Kvs {
			if kv.Lease != 0 {
				who, _ := codec.DecodeCandidate(kv.Value) // its seat counts, whatever it says
				c.List = append(c.List, Candidate{who, Seat{string(kv.Key), kv.CreateRevision}})
			}
		}
		return nil
	})
	return c, err
}

// errChanged ends the wait for other candidates.
var errChanged = errors.New("candidates changed")

// CandidatesChange waits until the candidates are, or may be, others than those that were
// read, or until ctx ends. It returns an error if that can no longer be told: the
// connection was lost, or etcd has no leader.
func (s *Store) CandidatesChange(ctx context.Context, c Candidates) error {
	etcd, err := s.client.connect(ctx)
	if err != nil {
		return err
	}
	g, watching := errgroup.WithContext(ctx)
	g.Go(func() error { return untilDisconnected(watching, etcd.ActiveConnection()) })
	g.Go(func() error {
		events := etcd.Watch(clientv3.WithRequireLeader(watching), s.keys.candidates(), clientv3.WithPrefix(), clientv3.WithRev(c.revision+1))
		for resp := range events {
			if resp.Err() != nil {
				return classify("watch candidates of "+s.tenant, false, resp.Err())
			}
			if len(resp.Events) > 0 {
				return errChanged
			}
		}
		return errReconnect
	})
	err = g.Wait()
	if ctx.Err() != nil || errors.Is(err, errChanged) {
		return nil
	}
	return err
}
