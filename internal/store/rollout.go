package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
)

// Rollout is the state of a tenant's rollout as it was read.
type Rollout struct {
	codec.Rollout
	// Known is false if there never was a rollout.
	Known bool
	// Err is set if the state could not be understood.
	Err error

	modRevision int64
}

// Rollout reads the head and the state of the rollout at one revision.
func (s *Store) Rollout(ctx context.Context) (View, Rollout, error) {
	var v View
	var r Rollout
	err := s.call(ctx, "read rollout of "+s.tenant, false, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Txn(ctx).Then(clientv3.OpGet(s.keys.head()), clientv3.OpGet(s.keys.rollout())).Commit()
		if err != nil {
			return err
		}
		v, r = View{revision: resp.Header.Revision, cluster: resp.Header.ClusterId}, Rollout{}
		if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
			v.setHead(kvs[0].Value, kvs[0].ModRevision)
		}
		if kvs := resp.Responses[1].GetResponseRange().Kvs; len(kvs) > 0 {
			r.Known, r.modRevision = true, kvs[0].ModRevision
			r.Rollout, r.Err = codec.DecodeRollout(kvs[0].Value)
		}
		return nil
	})
	return v, r, err
}

// SetRollout replaces the state of the rollout, and the head by one at the same position,
// in one Txn, if both are still what was read. It returns ErrLostRace if not, ErrNoHead, or what
// became of the call: after ErrAmbiguous, reading again tells.
func (s *Store) SetRollout(ctx context.Context, view View, before Rollout, head codec.Head, next codec.Rollout) error {
	switch {
	case view.Err != nil:
		return damagedUnlessNewer(view.Err)
	case view.Head == nil:
		return ErrNoHead
	case head.Position != view.Head.Position:
		return fmt.Errorf("set rollout: the head would come to generation %d", head.Position.Generation)
	}
	state, err := codec.EncodeRollout(next)
	if err != nil {
		return err
	}
	raw, err := codec.EncodeHead(head)
	if err != nil {
		return err
	}
	puts := []clientv3.Op{clientv3.OpPut(s.keys.rollout(), string(state))}
	if string(raw) != string(view.Head.raw) {
		puts = append(puts, clientv3.OpPut(s.keys.head(), string(raw)))
	}
	_, err = s.swap(ctx, "set rollout", s.headIs(view.Head), puts,
		clientv3.Compare(clientv3.ModRevision(s.keys.rollout()), "=", before.modRevision))
	return err
}
