package store

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/confsyncd/confsyncd/internal/codec"
)

// Life is a sign of life: a key that goes with its lease, which is renewed for as long as
// the process lives.
type Life struct {
	store   *Store
	key     string
	value   string
	lease   clientv3.LeaseID
	session *concurrency.Session
	stop    context.CancelFunc // of what renews the lease
}

// HostLives makes a process be seen as alive under a host's id, with a lease of ttl, in
// whole seconds, rounded up. End must be called to end what it starts, which outlives ctx.
// It returns what became of the call; then nothing is left but, at worst, a key that ends by itself.
func (s *Store) HostLives(ctx context.Context, id string, who codec.Alive, ttl time.Duration) (*Life, error) {
	return s.live(ctx, s.keys.life(id, who.Instance), who, ttl)
}

// PublisherLives is HostLives for the publisher of an instance.
func (s *Store) PublisherLives(ctx context.Context, who codec.Alive, ttl time.Duration) (*Life, error) {
	return s.live(ctx, s.keys.publisher(who.Instance), who, ttl)
}

func (s *Store) live(ctx context.Context, key string, who codec.Alive, ttl time.Duration) (*Life, error) {
	value, err := codec.EncodeAlive(who)
	if err != nil {
		return nil, err
	}
	l := &Life{store: s, key: key, value: string(value)}
	err = s.call(ctx, "grant a lease", true, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
		if err == nil {
			l.lease = resp.ID
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err = l.renew(ctx); err == nil {
		err = l.Show(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, l.End(ctx))
	}
	return l, nil
}

func (l *Life) renew(ctx context.Context) error {
	etcd, err := l.store.client.connect(ctx)
	if err != nil {
		return err
	}
	var living context.Context
	living, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.session, err = concurrency.NewSession(etcd, concurrency.WithLease(l.lease), concurrency.WithContext(living))
	if err == nil && l.session == nil {
		err = errReconnect // its connection was closed
	}
	if err != nil {
		return classify("renew a lease", false, err)
	}
	return nil
}

// Show puts the key, whoever took it away. It returns ErrNoHead as Report does.
func (l *Life) Show(ctx context.Context) error {
	return l.store.putBesideHead(ctx, "give a sign of life", clientv3.OpPut(l.key, l.value, clientv3.WithLease(l.lease)))
}

// Lost is closed when the lease has ended, or may have.
func (l *Life) Lost() <-chan struct{} { return l.session.Done() }

// End takes the key away. If etcd cannot be reached within two seconds it ends with its
// lease. ctx may have ended.
func (l *Life) End(ctx context.Context) error {
	if l.session != nil {
		l.session.Orphan()
	}
	if l.stop != nil {
		l.stop()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leavePatience)
	defer cancel()
	return l.store.call(ctx, "give up a lease", true, func(ctx context.Context, etcd *clientv3.Client) error {
		_, err := etcd.Revoke(ctx, l.lease)
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return nil // it has ended
		}
		return err
	})
}

// Bury takes away the sign of life of a process that is known to have ended.
func (s *Store) Bury(ctx context.Context, id, instance string) error {
	return s.call(ctx, "take a sign of life away", true, func(ctx context.Context, etcd *clientv3.Client) error {
		_, err := etcd.Delete(ctx, s.keys.life(id, instance))
		return err
	})
}

// Reported reports whether a host's report, and the sign of life of an instance of it, are in
// etcd as they were written.
func (s *Store) Reported(ctx context.Context, id, instance string) (report, life bool, err error) {
	err = s.call(ctx, "read host "+id, false, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Txn(ctx).Then(clientv3.OpGet(s.keys.host(id)), clientv3.OpGet(s.keys.life(id, instance), clientv3.WithKeysOnly())).Commit()
		if err != nil {
			return err
		}
		report, life = false, resp.Responses[1].GetResponseRange().Count > 0
		for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
			h, err := codec.DecodeHost(kv.Value)
			report = err == nil && h.Instance == instance
		}
		return nil
	})
	return report, life, err
}
