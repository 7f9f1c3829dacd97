package store

import (
	"context"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// fence is what a sweep moves in each Txn in which it removes something. Its value is the
// highest revision at which anything was put that a sweep has removed, as 16 hexadecimal
// digits, so that etcd compares values as numbers.
type fence struct {
	key         string
	modRevision int64 // 0 if there is none
	removed     int64 // its value
	revision    int64 // of etcd, when it was read
}

// readFence reads the fence. Who is about to rely on what lies in etcd reads it before
// looking at that.
func (s *Store) readFence(ctx context.Context) (fence, error) {
	f := fence{key: s.keys.fence()}
	err := s.call(ctx, "read fence", false, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Get(ctx, f.key)
		if err != nil {
			return err
		}
		f.modRevision, f.removed, f.revision = 0, 0, resp.Header.Revision
		if len(resp.Kvs) > 0 {
			f.modRevision = resp.Kvs[0].ModRevision
			// What does not decode is as the oldest: it was removed long ago.
			f.removed, _ = strconv.ParseInt(string(resp.Kvs[0].Value), 16, 64)
		}
		return nil
	})
	return f, err
}

// patientFence is readFence for who has much to do, and tries again for a while.
func (s *Store) patientFence(ctx context.Context) (f fence, err error) {
	err = insist(ctx, func() error {
		f, err = s.readFence(ctx)
		return err
	})
	return f, err
}

// unmoved is the comparison that fails if anything was removed since the fence was read.
func (f fence) unmoved() clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(f.key), "=", f.modRevision)
}

// spares is the comparison that fails if anything was removed that was put after the fence
// was read: what a sweep leaves alone for being young does not make it fail.
func (f fence) spares() clientv3.Cmp {
	if f.modRevision == 0 || f.removed > f.revision {
		return f.unmoved() // there is nothing to compare, or it is of another etcd
	}
	return clientv3.Compare(clientv3.Value(f.key), "<", fenceValue(f.revision+1))
}

// moved is the put that moves the fence, with which things are removed that were put up to
// that revision.
func (f fence) moved(put int64) clientv3.Op {
	return clientv3.OpPut(f.key, fenceValue(max(f.removed, put)))
}

func fenceValue(revision int64) string { return fmt.Sprintf("%016x", revision) }
