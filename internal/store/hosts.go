package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/logging"
)

// ErrAlive says that a process goes by the id of the host.
var ErrAlive = errors.New("the host is alive")

// Hosts is what the hosts of a tenant say of themselves, and who lives, as they were at
// one revision. Its maps are not to be changed.
type Hosts struct {
	Reports map[string]HostReport    // by the hosts' ids
	Lives   map[string][]codec.Alive // by the hosts' ids, of those that have reported or not
	// Publishers are those that live; their Instance is that of heads.
	Publishers []codec.Alive
}

// HostReport is what a host said last.
type HostReport struct {
	Host codec.Host
	Err  error // set if that could not be understood
}

// hostKeys are the keys that tell of hosts and publishers, with their values and leases.
type hostKeys map[string]*mvccpb.KeyValue

// Hosts reads what all hosts of the tenant say of themselves.
func (s *Store) Hosts(ctx context.Context) (Hosts, error) {
	kvs, _, err := s.readHosts(ctx)
	return s.hosts(kvs), err
}

func (s *Store) readHosts(ctx context.Context) (hostKeys, int64, error) {
	var all hostKeys
	var revision int64
	err := s.carry(ctx, "read hosts of "+s.tenant, false, func(ctx context.Context, etcd *clientv3.Client) (bytes int, err error) {
		var gets []clientv3.Op
		for _, prefix := range s.keys.fleet() {
			gets = append(gets, clientv3.OpGet(prefix, clientv3.WithPrefix()))
		}
		resp, err := etcd.Txn(ctx).Then(gets...).Commit()
		if err != nil {
			return 0, err
		}
		all, revision = make(hostKeys), resp.Header.Revision
		for _, r := range resp.Responses {
			for _, kv := range r.GetResponseRange().Kvs {
				all[string(kv.Key)] = kv
				bytes += len(kv.Value)
			}
		}
		return bytes, nil
	})
	return all, revision, err
}

// hosts decodes keys.
func (s *Store) hosts(kvs hostKeys) Hosts {
	h := Hosts{Reports: make(map[string]HostReport), Lives: make(map[string][]codec.Alive)}
	for key, kv := range kvs {
		if id, ok := strings.CutPrefix(key, s.keys.hosts()); ok {
			var r HostReport
			r.Host, r.Err = codec.DecodeHost(kv.Value)
			h.Reports[id] = r
			continue
		}
		if kv.Lease == 0 {
			continue // It would live for ever.
		}
		life, _ := codec.DecodeAlive(kv.Value) // It counts, whatever it says.
		if rest, ok := strings.CutPrefix(key, s.keys.alive()); ok {
			id, _, _ := strings.Cut(rest, "/")
			h.Lives[id] = append(h.Lives[id], life)
		} else {
			h.Publishers = append(h.Publishers, life)
		}
	}
	return h
}

// HostFeed holds what FollowHosts saw last.
type HostFeed struct {
	changed chan struct{} // capacity 1; never closed

	mu   sync.Mutex // guards what follows
	keys hostKeys   // nil until they were read once
	of   *Store
	err  error
}

// NewHostFeed returns an empty HostFeed.
func NewHostFeed() *HostFeed { return &HostFeed{changed: make(chan struct{}, 1)} }

// Changed holds a token while there is something new to take.
func (f *HostFeed) Changed() <-chan struct{} { return f.changed }

// Take returns what was seen last; ok is false until all was read once.
func (f *HostFeed) Take() (h Hosts, ok bool) {
	f.mu.Lock()
	kvs, of := maps.Clone(f.keys), f.of
	f.mu.Unlock()
	if kvs == nil {
		return h, false
	}
	return of.hosts(kvs), true
}

// Err returns why hosts are not being followed at the moment; nil if they are.
func (f *HostFeed) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// change changes what is seen, under the lock.
func (f *HostFeed) change(do func()) {
	f.mu.Lock()
	do()
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// FollowHosts keeps f filled until ctx ends, then returns nil. It never gives up: while
// etcd is away or refuses, f.Err tells why.
func (s *Store) FollowHosts(ctx context.Context, f *HostFeed) error {
	failing := logging.NewEpisode(s.client.cfg.Log.With("tenant", s.tenant), "following hosts")
	var pace Backoff
	for ctx.Err() == nil {
		err := s.followHosts(ctx, f, func() {
			pace.Reset()
			failing.Ended()
		})
		if ctx.Err() != nil {
			break
		}
		f.change(func() { f.err = err })
		failing.Failed(err)
		if sleep(ctx, min(pace.Next(), followLast)) != nil {
			break
		}
	}
	return nil
}

// followHosts reads all and watches from there, until something makes it begin again.
func (s *Store) followHosts(ctx context.Context, f *HostFeed, began func()) error {
	kvs, revision, err := s.readHosts(ctx)
	if err != nil {
		return err
	}
	etcd, err := s.client.connect(ctx)
	if err != nil {
		return err
	}
	f.change(func() { f.keys, f.of, f.err = kvs, s, nil })
	began()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return untilDisconnected(ctx, etcd.ActiveConnection()) })
	for _, prefix := range s.keys.fleet() {
		g.Go(func() error {
			for resp := range etcd.Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(), clientv3.WithRev(revision+1)) {
				if resp.Err() != nil {
					return s.explain(classify("watch hosts of "+s.tenant, false, resp.Err()))
				}
				if len(resp.Events) > 0 {
					f.change(func() { f.keys.take(resp.Events) })
				}
			}
			return errReconnect
		})
	}
	return g.Wait()
}

func (k hostKeys) take(events []*clientv3.Event) {
	for _, ev := range events {
		if ev.Type == clientv3.EventTypeDelete {
			delete(k, string(ev.Kv.Key))
		} else {
			k[string(ev.Kv.Key)] = ev.Kv
		}
	}
}

// Report writes what a host says of itself. It returns ErrNoHead where there is no head:
// then nothing is written, so that nothing comes back to a tenant that was deleted.
func (s *Store) Report(ctx context.Context, id string, h codec.Host) error {
	value, err := codec.EncodeHost(h)
	if err != nil {
		return err
	}
	return s.putBesideHead(ctx, "report host "+id, clientv3.OpPut(s.keys.host(id), string(value)))
}

// putBesideHead puts a key if there is a head, and else returns ErrNoHead.
func (s *Store) putBesideHead(ctx context.Context, op string, put clientv3.Op) error {
	there := false
	err := s.call(ctx, op, true, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(s.keys.head()), ">", 0)).Then(put).Commit()
		if err == nil {
			there = resp.Succeeded
		}
		return err
	})
	if err == nil && !there {
		err = fmt.Errorf("%s: %w", op, ErrNoHead)
	}
	return err
}

// ForgetHost takes away what a host has said of itself. It returns ErrAlive while a process
// goes by its id, ErrGone if there is no such host, or what became of the call.
func (s *Store) ForgetHost(ctx context.Context, id string) error {
	if strings.Contains(id, "/") {
		return fmt.Errorf("host %q: %w", id, ErrGone)
	}
	return s.call(ctx, "forget host "+id, true, func(ctx context.Context, etcd *clientv3.Client) error {
		lives := s.keys.life(id, "")
		resp, err := etcd.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(lives), "=", 0).WithPrefix()).
			Then(clientv3.OpDelete(s.keys.host(id))).Commit()
		switch {
		case err != nil:
			return err
		case !resp.Succeeded:
			return fmt.Errorf("%w: %s", ErrAlive, id)
		case resp.Responses[0].GetResponseDeleteRange().Deleted == 0:
			return fmt.Errorf("host %s: %w", id, ErrGone)
		}
		return nil
	})
}
