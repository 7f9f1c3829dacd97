package store

import (
	"context"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// reuseLooks is how many packs are looked for in one Txn. etcd takes 128 operations.
const reuseLooks = 100

// Where tells where a content of the version's tree lies. It returns an error that wraps
// ErrDamaged if nothing in etcd says so.
func (v *Version) Where(ctx context.Context, e diff.Entry) (codec.Content, error) {
	if err := v.locate(ctx, []diff.Entry{e}); err != nil {
		return codec.Content{}, err
	}
	p, ok := v.places[e.Hash]
	if !ok && e.Size > 0 {
		return codec.Content{}, fmt.Errorf("%w: no record tells where the content %v lies", ErrDamaged, e.Hash)
	}
	return p.Content, nil
}

// ReusePacks is Reuse for packs alone, and looks for them. The error wraps ErrGone if one is
// not there.
func (d *Draft) ReusePacks(ctx context.Context, packs []codec.PackRef) error {
	if len(packs) == 0 {
		return nil
	}
	if err := d.Reuse(ctx); err != nil {
		return err
	}
	for some := range slices.Chunk(packs, reuseLooks) {
		if err := d.store.lookFor(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// lookFor returns an error that wraps ErrGone unless all the packs are there.
func (s *Store) lookFor(ctx context.Context, packs []codec.PackRef) error {
	ops := make([]clientv3.Op, len(packs))
	for i, ref := range packs {
		ops[i] = clientv3.OpGet(s.keys.pack(ref.Hash), clientv3.WithCountOnly())
	}
	missing := -1
	err := s.call(ctx, "look for packs", false, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return err
		}
		missing = slices.IndexFunc(resp.Responses, func(r *etcdserverpb.ResponseOp) bool { return r.GetResponseRange().Count == 0 })
		return nil
	})
	if err == nil && missing >= 0 {
		err = fmt.Errorf("pack %v: %w", packs[missing].Hash, ErrGone)
	}
	return err
}
