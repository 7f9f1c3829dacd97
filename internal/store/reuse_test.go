//go:build !lean

package store_test

import (
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// again is a record that brings back generation 4's content of "a" after another one, from
// the pack in which it lies.
func (d *damagedEtcd) again() (*store.Draft, *codec.Record, codec.Content) {
	d.Helper()
	d.next(map[string]string{"a": "other"}, false)
	head := d.heads[len(d.heads)-1]
	then, err := d.store.At(d.Context(), d.view(), 4)
	if err != nil {
		d.Fatal(err)
	}
	e, _ := then.Tree.Get("a")
	lies, err := then.Where(d.Context(), e)
	if err != nil || len(lies.Packs) == 0 {
		d.Fatalf("it lies at %+v: %v", lies, err)
	}
	return d.store.NewDraft(d.Context(), head), &codec.Record{
		Tenant: d.tenant, Generation: head.Position.Generation + 1, Parent: head.Position.Commit, Time: time.Unix(0, 1), Publisher: "p", Instance: "i",
		Digest: then.Tree.Digest(), List: codec.List{Changes: []codec.Change{{Path: "a", New: e, Content: lies}}},
	}, lies
}

func TestDraftReusesPacks(t *testing.T) {
	t.Run("that are there", func(t *testing.T) {
		d := newDamagedEtcd(t)
		draft, record, lies := d.again()
		if err := draft.ReusePacks(t.Context(), lies.Packs); err != nil {
			t.Fatal(err)
		}
		if _, err := draft.Commit(t.Context(), record); err != nil {
			t.Fatal(err)
		}
		v, err := d.store.Resolve(t.Context(), store.Have{}, d.view())
		if err != nil {
			t.Fatal(err)
		}
		if err := d.fetch(v); err != nil {
			t.Error(err)
		}
	})
	t.Run("but not when one is gone", func(t *testing.T) {
		d := newDamagedEtcd(t)
		draft, _, lies := d.again()
		defer draft.Discard()
		d.remove(packsKey, clientv3.WithPrefix())
		if err := draft.ReusePacks(t.Context(), lies.Packs); !errors.Is(err, store.ErrGone) {
			t.Error(err)
		}
	})
	t.Run("but not when any went since", func(t *testing.T) {
		d := newDamagedEtcd(t)
		draft, record, lies := d.again()
		if err := draft.ReusePacks(t.Context(), append(lies.Packs, codec.PackRef{Hash: lies.Packs[0].Hash})); err != nil {
			t.Fatal(err)
		}
		d.put("/confsyncd/prod/ctl/fence", []byte("moved"))
		if _, err := draft.Commit(t.Context(), record); !errors.Is(err, store.ErrLostRace) {
			t.Error(err)
		}
		if now := d.view().Head.Position.Generation; now != 5 {
			t.Errorf("the head is at %d", now)
		}
	})
	t.Run("and finds no content that no record tells of", func(t *testing.T) {
		d := newDamagedEtcd(t)
		v, err := d.store.At(t.Context(), d.view(), 4)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Where(t.Context(), diff.Entry{Kind: diff.File, Size: 1, Hash: diff.Hash{1}}); !errors.Is(err, store.ErrDamaged) {
			t.Error(err)
		}
	})
}
