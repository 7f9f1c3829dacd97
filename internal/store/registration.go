package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
)

// Registration is a tenant's registration as it was read; the zero one inside if there was
// none.
type Registration struct {
	codec.Registration
	key         string
	modRevision int64 // 0 if there was none
	raw         []byte
}

// Exists reports whether there was one.
func (r Registration) Exists() bool { return r.modRevision > 0 }

// same is the comparison that fails once the registration is another one.
func (r Registration) same() clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(r.key), "=", r.modRevision)
}

// RegisteredAs returns the store for a publisher that goes by a registration: what it
// stages and commits is put only while that is the tenant's, so that nothing comes after
// its deletion. Else they return ErrRegistration.
func (s *Store) RegisteredAs(r Registration) *Store {
	registered := *s
	registered.registration = &r
	return &registered
}

// Registration reads the tenant's registration, some times again if need be. It returns an
// error that wraps codec.ErrDamaged, or what became of the call.
func (s *Store) Registration(ctx context.Context) (r Registration, err error) {
	var kvs []*mvccpb.KeyValue
	err = insist(ctx, func() error {
		return s.call(ctx, "read the registration of "+s.tenant, false, func(ctx context.Context, etcd *clientv3.Client) error {
			resp, err := etcd.Get(ctx, s.keys.registration())
			if err == nil {
				kvs = resp.Kvs
			}
			return err
		})
	})
	if err != nil {
		return r, err
	}
	return s.registrationOf(kvs)
}

func (s *Store) registrationOf(kvs []*mvccpb.KeyValue) (Registration, error) {
	r := Registration{key: s.keys.registration()}
	if len(kvs) == 0 {
		return r, nil
	}
	r.modRevision, r.raw = kvs[0].ModRevision, kvs[0].Value
	var err error
	if r.Registration, err = codec.DecodeRegistration(r.raw); err != nil {
		err = fmt.Errorf("%s: %w", r.key, err)
	}
	return r, err
}

// Standing is all that tells what a tenant is, at one revision.
type Standing struct {
	Registration Registration
	View         View
	Keys         int64 // under its name, the registration not among them
	Hosts        int64 // that report
}

// Standing reads what the tenant is, again while etcd is away and until ctx ends. It asks
// for more than publishers and agents may read. See Registration for the errors; a head that
// cannot be understood is none.
func (s *Store) Standing(ctx context.Context) (now Standing, err error) {
	err = s.patiently(ctx, func() (err error) {
		now, err = s.standing(ctx)
		return err
	})
	return now, err
}

func (s *Store) standing(ctx context.Context) (now Standing, err error) {
	var registered []*mvccpb.KeyValue
	err = s.call(ctx, "read what there is of "+s.tenant, false, func(ctx context.Context, etcd *clientv3.Client) error {
		first, end := s.keys.all()
		resp, err := etcd.Txn(ctx).Then(clientv3.OpGet(s.keys.registration()), clientv3.OpGet(s.keys.head()),
			clientv3.OpGet(first, clientv3.WithRange(end), clientv3.WithCountOnly()),
			clientv3.OpGet(s.keys.hosts(), clientv3.WithPrefix(), clientv3.WithCountOnly())).Commit()
		if err != nil {
			return err
		}
		got := func(i int) *etcdserverpb.RangeResponse { return resp.Responses[i].GetResponseRange() }
		now = Standing{View: View{revision: resp.Header.Revision, cluster: resp.Header.ClusterId}, Keys: got(2).Count, Hosts: got(3).Count}
		if kvs := got(1).Kvs; len(kvs) > 0 {
			now.View.setHead(kvs[0].Value, kvs[0].ModRevision)
		}
		registered = got(0).Kvs
		return nil
	})
	if err == nil {
		now.Registration, err = s.registrationOf(registered)
	}
	return now, err
}

// Register puts a registration in place of the one that the standing has, if both that and
// the head are still what they were. With bury set the head is deleted in the same Txn:
// from then on nothing that was made for the tenant before is committed. It returns
// ErrRegistration or ErrLostRace if either has changed, or what became of the call when ctx
// ended.
func (s *Store) Register(ctx context.Context, on Standing, next codec.Registration, bury bool) (Registration, error) {
	raw, err := codec.EncodeRegistration(next)
	if err != nil {
		return Registration{}, err
	}
	then := []clientv3.Op{clientv3.OpPut(s.keys.registration(), string(raw))}
	if bury {
		then = append(then, clientv3.OpDelete(s.keys.head()))
	}
	var and []clientv3.Cmp
	if on.View.Err == nil { // what cannot be understood can be deleted all the same
		and = append(and, s.headIs(on.View.Head))
	}
	var pace Backoff
	for {
		revision, err := s.RegisteredAs(on.Registration).swap(ctx, "register "+s.tenant, on.Registration.same(), then, and...)
		if err == nil {
			return Registration{Registration: next, key: s.keys.registration(), modRevision: revision, raw: raw}, nil
		}
		if !Temporary(err) && !errors.Is(err, ErrRegistration) || pace.Wait(ctx) != nil {
			return Registration{}, err
		}
		// The answer may have been lost: then it is there, or is sent again.
		now, readErr := s.Registration(ctx)
		switch {
		case readErr != nil && !Temporary(readErr):
			return Registration{}, readErr
		case readErr == nil && string(now.raw) == string(raw):
			return now, nil
		case readErr == nil && now.modRevision != on.Registration.modRevision:
			return Registration{}, fmt.Errorf("register %s: %w", s.tenant, ErrRegistration)
		}
	}
}

// clearKeys is how many keys of a deleted tenant go at once.
const clearKeys = 100

// Clear deletes some of a deleted tenant's keys, all but its registration, and returns how
// many those were; 0 if none is left. It returns ErrRegistration if the registration is no
// longer the one that was buried, or what became of the call when ctx ended.
func (s *Store) Clear(ctx context.Context, buried Registration) (int, error) {
	first, end := s.keys.all()
	var keys []string
	err := s.patiently(ctx, func() error {
		return s.call(ctx, "list what is left of "+s.tenant, false, func(ctx context.Context, etcd *clientv3.Client) error {
			resp, err := etcd.Get(ctx, first, clientv3.WithRange(end), clientv3.WithKeysOnly(), clientv3.WithLimit(clearKeys))
			if err != nil {
				return err
			}
			keys = keys[:0]
			for _, kv := range resp.Kvs {
				keys = append(keys, string(kv.Key))
			}
			return nil
		})
	})
	if err != nil || len(keys) == 0 {
		return 0, err
	}
	// The range holds nothing but keys of the tenant, since its ends are.
	remove := clientv3.OpDelete(keys[0], clientv3.WithRange(keys[len(keys)-1]+"\x00"))
	err = s.patiently(ctx, func() error {
		_, err := s.RegisteredAs(buried).swap(ctx, "delete keys of "+s.tenant, buried.same(), []clientv3.Op{remove})
		return err
	})
	return len(keys), err
}

// patiently does something again while it fails for a reason that may pass, until ctx ends.
func (s *Store) patiently(ctx context.Context, do func() error) error {
	var pace Backoff
	for {
		err := do()
		if err == nil || !Temporary(err) || pace.Wait(ctx) != nil {
			return err
		}
	}
}

// Tenants returns the names of all tenants, in order: of those that are registered, deleted
// ones included, and of those that have keys.
func (c *Client) Tenants(ctx context.Context) ([]string, error) {
	s := c.Tenant("") // it says what to do where etcd denies something
	names := make(map[string]bool)
	for from := c.cfg.Prefix + "/"; from != ""; {
		err := s.patiently(ctx, func() error {
			return s.call(ctx, "list tenants", false, func(ctx context.Context, etcd *clientv3.Client) error {
				resp, err := etcd.Get(ctx, from, clientv3.WithRange(c.cfg.Prefix+"0"), clientv3.WithKeysOnly(), clientv3.WithLimit(1))
				if err != nil {
					return err
				}
				if len(resp.Kvs) == 0 {
					from = ""
					return nil
				}
				var name string
				if name, from = tenantOf(c.cfg.Prefix, string(resp.Kvs[0].Key)); name != "" {
					names[name] = true
				}
				return nil
			})
		})
		if err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}
