//go:build !lean

package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// entries returns a tree of files from pairs of path and content.
func entries(t *testing.T, pairs ...string) diff.Tree {
	t.Helper()
	var changes []diff.Change
	for pair := range slices.Chunk(pairs, 2) {
		changes = append(changes, diff.Change{Path: pair[0], New: file(pair[1])})
	}
	tree, err := diff.Tree{}.With(changes)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// damaged is a tenant with four generations of small records, the last of which has
// a content in a pack, and hands that reach etcd without the store.
type damagedEtcd struct {
	*fixture
	raw   *clientv3.Client
	heads []*store.Head // by generation, from 1
	haves []store.Have
}

func newDamagedEtcd(t *testing.T) *damagedEtcd {
	endpoint := devetcdtest.Start(t)
	f, _ := newFixtureAt(t, endpoint)
	d := &damagedEtcd{fixture: f, raw: rawClient(t, endpoint), heads: []*store.Head{nil}, haves: []store.Have{{}}}
	for i := range 4 {
		d.next(map[string]string{"a": fmt.Sprint("content ", i)}, i == 3)
	}
	return d
}

func (d *damagedEtcd) next(files map[string]string, packed bool) {
	d.Helper()
	h := d.mustCommit(d.heads[len(d.heads)-1], files, packed)
	d.heads = append(d.heads, h)
	d.haves = append(d.haves, store.Have{Position: h.Position, Tree: d.tree})
}

func (d *damagedEtcd) get(key string) []byte {
	d.Helper()
	resp, err := d.raw.Get(d.Context(), key)
	if err != nil || len(resp.Kvs) != 1 {
		d.Fatalf("%s: %v", key, err)
	}
	return resp.Kvs[0].Value
}

func (d *damagedEtcd) put(key string, value []byte) {
	d.Helper()
	if _, err := d.raw.Put(d.Context(), key, string(value)); err != nil {
		d.Fatal(err)
	}
}

func (d *damagedEtcd) remove(key string, opts ...clientv3.OpOption) int64 {
	d.Helper()
	resp, err := d.raw.Delete(d.Context(), key, opts...)
	if err != nil || resp.Deleted == 0 {
		d.Fatalf("%s: %v", key, err)
	}
	return resp.Header.Revision
}

// forge replaces the last record by another, and the head by one that names it.
func (d *damagedEtcd) forge(change func(*codec.Record)) {
	d.Helper()
	h := d.heads[4].Head
	h.Position.Commit = d.alter(4, change).Commit
	d.putHead(h)
}

// alter replaces one generation's record by another that decodes.
func (d *damagedEtcd) alter(generation uint64, change func(*codec.Record)) *codec.Record {
	d.Helper()
	c := codec.NewCoder()
	r, err := c.DecodeRecord(d.get(logKey(generation)))
	if err != nil {
		d.Fatal(err)
	}
	change(r)
	b, err := c.EncodeRecord(r, nil)
	if err != nil {
		d.Fatal(err)
	}
	d.put(logKey(generation), b)
	return r
}

func (d *damagedEtcd) resolve(have store.Have) error {
	d.Helper()
	_, err := d.store.Resolve(d.Context(), have, d.view())
	return err
}

func TestDamageInEtcd(t *testing.T) {
	fromNothing := uint64(0)
	tests := []struct {
		name   string
		damage func(d *damagedEtcd)
		from   uint64 // the generation that is resolved from
		want   error
	}{
		{"a record of garbage", func(d *damagedEtcd) { d.put(logKey(2), []byte("garbage")) }, fromNothing, store.ErrDamaged},
		{"an empty record", func(d *damagedEtcd) { d.put(logKey(2), nil) }, 1, store.ErrDamaged},
		{"a record that is cut", func(d *damagedEtcd) { b := d.get(logKey(2)); d.put(logKey(2), b[:len(b)-1]) }, 1, store.ErrDamaged},
		{"a record with another message", func(d *damagedEtcd) { d.alter(2, func(r *codec.Record) { r.Message = "x" }) }, 1, store.ErrDamaged},
		{"the last record with another message", func(d *damagedEtcd) { d.alter(4, func(r *codec.Record) { r.Message = "x" }) }, fromNothing, store.ErrDamaged},
		{"the last record with another message, from the one before", func(d *damagedEtcd) { d.alter(4, func(r *codec.Record) { r.Message = "x" }) }, 3, store.ErrDamaged},
		{"a forged record with another message", func(d *damagedEtcd) { d.forge(func(r *codec.Record) { r.Message = "x" }) }, 3, nil},
		{"a forged record of a foreign tenant", func(d *damagedEtcd) { d.forge(func(r *codec.Record) { r.Tenant[0]++ }) }, 3, store.ErrDamaged},
		{"a forged record with another tree", func(d *damagedEtcd) { d.forge(func(r *codec.Record) { r.Digest[0]++ }) }, 3, store.ErrDamaged},
		{"a forged record with another parent", func(d *damagedEtcd) { d.forge(func(r *codec.Record) { r.Parent[0]++ }) }, 3, store.ErrDamaged},
		{"a record of another generation", func(d *damagedEtcd) { d.put(logKey(2), d.get(logKey(3))) }, 1, store.ErrGone},
		{"a record of a foreign tenant", func(d *damagedEtcd) { d.alter(2, func(r *codec.Record) { r.Tenant[0]++ }) }, 1, store.ErrDamaged},
		{"a record with another tree", func(d *damagedEtcd) { d.alter(4, func(r *codec.Record) { r.Digest[0]++ }) }, fromNothing, store.ErrDamaged},
		{"a record that deletes what is not there", func(d *damagedEtcd) {
			d.alter(2, func(r *codec.Record) { r.List.Changes = []codec.Change{{Path: "nowhere"}} })
		}, 1, store.ErrDamaged},
		{"a record of a newer format", func(d *damagedEtcd) { b := d.get(logKey(2)); b[4]++; d.put(logKey(2), b) }, 1, codec.ErrNewer},
		{"a head of garbage", func(d *damagedEtcd) { d.put(headKey, []byte("garbage")) }, 1, store.ErrDamaged},
		{"a head of a newer format", func(d *damagedEtcd) { b := d.get(headKey); b[4]++; d.put(headKey, b) }, 1, codec.ErrNewer},
		{"a head with another digest", func(d *damagedEtcd) {
			h := d.heads[4].Head
			h.Digest[0]++
			d.putHead(h)
		}, 3, store.ErrDamaged},
		{"a head with another commit id", func(d *damagedEtcd) {
			h := d.heads[4].Head
			h.Position.Commit[0]++
			d.putHead(h)
		}, fromNothing, store.ErrDamaged},
		{"a head of another tenant", func(d *damagedEtcd) {
			h := d.heads[4].Head
			h.Position.Tenant[0]++
			d.putHead(h)
		}, 3, store.ErrForeignTenant},
		{"no head", func(d *damagedEtcd) { d.remove(headKey) }, 3, store.ErrNoHead},
		{"a head below", func(d *damagedEtcd) { d.putHead(d.heads[2].Head) }, 3, store.ErrRewound},
		{"a gap in the log", func(d *damagedEtcd) { d.remove(logKey(3)) }, 1, store.ErrGone},
		{"a gap in the log, from nothing", func(d *damagedEtcd) { d.remove(logKey(3)) }, fromNothing, store.ErrGone},
		{"no founding", func(d *damagedEtcd) { d.remove(logKey(1)) }, fromNothing, store.ErrGone},
		{"no founding, but all after it", func(d *damagedEtcd) { d.remove(logKey(1)) }, 2, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDamagedEtcd(t)
			tt.damage(d)
			err := d.resolve(d.haves[tt.from])
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			for _, other := range []error{store.ErrDamaged, codec.ErrNewer} {
				if errors.Is(err, other) && !errors.Is(tt.want, other) {
					t.Errorf("%v is %v too", err, other)
				}
			}
			if err != nil && bytes.Contains([]byte(err.Error()), []byte("content 0")) {
				t.Errorf("a content stands in %q", err)
			}
		})
	}
}

func (d *damagedEtcd) putHead(h codec.Head) {
	d.Helper()
	b, err := codec.EncodeHead(h)
	if err != nil {
		d.Fatal(err)
	}
	d.put(headKey, b)
}

func TestHeadOfANewerFormatIsNamed(t *testing.T) {
	d := newDamagedEtcd(t)
	b := d.get(headKey)
	b[4] = 9
	d.put(headKey, b)
	v := d.view()
	if v.Head != nil || !errors.Is(v.Err, codec.ErrNewer) {
		t.Fatalf("%+v: %v", v.Head, v.Err)
	}
}

func TestKeyframeBridgesAGap(t *testing.T) {
	d := newDamagedEtcd(t)
	h, err := d.store.MakeKeyframe(t.Context(), d.view(), nil)
	if err != nil {
		t.Fatal(err)
	}
	d.heads[4] = h
	d.next(map[string]string{"b": "after the keyframe"}, false)
	d.remove(logKey(1), clientv3.WithRange(logKey(4)))
	for from := range d.haves {
		if _, err := d.store.Resolve(t.Context(), d.haves[from], d.view()); err != nil {
			t.Errorf("from generation %d: %v", from, err)
		}
	}
	d.check(store.Have{}, d.view())
	d.check(d.haves[1], d.view())
	t.Run("but not one after it", func(t *testing.T) {
		d.next(map[string]string{"b": "again"}, false)
		d.remove(logKey(5))
		if err := d.resolve(d.haves[2]); !errors.Is(err, store.ErrGone) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("and is damage if it is another", func(t *testing.T) {
		d.put(packsKey+d.heads[4].Keyframe.Pack.Hash.String(), []byte("garbage"))
		if err := d.resolve(store.Have{}); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("got %v", err)
		}
		d.remove(packsKey + d.heads[4].Keyframe.Pack.Hash.String())
		if err := d.resolve(store.Have{}); !errors.Is(err, store.ErrGone) {
			t.Errorf("got %v", err)
		}
	})
}

func (d *damagedEtcd) fetch(v *store.Version) error {
	d.Helper()
	e, _ := v.Tree.Get("a")
	return v.Fetch(d.Context(), []diff.Entry{e}, nil, func(diff.Entry, []byte) error { return nil })
}

func TestPackThatIsGone(t *testing.T) {
	d := newDamagedEtcd(t)
	before, err := d.store.Resolve(t.Context(), store.Have{}, d.view())
	if err != nil {
		t.Fatal(err)
	}
	revision := d.remove(packsKey, clientv3.WithPrefix())
	if err := d.fetch(before); err != nil {
		t.Errorf("at a revision that still has it: %v", err)
	}
	after, err := d.store.Resolve(t.Context(), store.Have{}, d.view())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.fetch(after); !errors.Is(err, store.ErrGone) {
		t.Errorf("after it was removed: %v", err)
	}
	if _, err := d.raw.Compact(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	if err := d.fetch(before); !errors.Is(err, store.ErrGone) {
		t.Errorf("at a revision that was compacted: %v", err)
	}
}

func TestPackThatIsDamaged(t *testing.T) {
	d := newDamagedEtcd(t)
	resp, err := d.raw.Get(t.Context(), packsKey, clientv3.WithPrefix())
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatal(err)
	}
	value := resp.Kvs[0].Value
	value[len(value)-1] ^= 1
	d.put(string(resp.Kvs[0].Key), value)
	v, err := d.store.Resolve(t.Context(), store.Have{}, d.view())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.fetch(v); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

// A change may name a content by its hash alone.
func TestContentThatCameBefore(t *testing.T) {
	for _, keyframe := range []bool{false, true} {
		t.Run(fmt.Sprintf("with a keyframe between: %v", keyframe), func(t *testing.T) {
			d := newDamagedEtcd(t)
			d.next(map[string]string{"here": "inline", "b": "another"}, false)
			head := d.heads[5]
			if keyframe {
				var err error
				if head, err = d.store.MakeKeyframe(t.Context(), d.view(), nil); err != nil {
					t.Fatal(err)
				}
			}
			// A move, a copy of what lies in a pack, and a change of mode.
			private := file("another")
			private.Mode = 0o600
			head = d.commitChanges(head,
				codec.Change{Path: "b", New: private},
				codec.Change{Path: "copy", New: file("content 3")},
				codec.Change{Path: "here"},
				codec.Change{Path: "there", New: file("inline")})
			d.check(store.Have{}, d.view())
			d.check(d.haves[5], d.view())
			d.check(store.Have{Position: head.Position, Tree: d.tree}, d.view())
			d.check(d.haves[2], d.view())
			if _, err := d.store.MakeKeyframe(t.Context(), d.view(), nil); err != nil {
				t.Fatal(err)
			}
			d.check(store.Have{}, d.view())
		})
	}
	t.Run("is damage if it never came", func(t *testing.T) {
		d := newDamagedEtcd(t)
		d.commitChanges(d.heads[4], codec.Change{Path: "a", New: file("never seen")})
		v, err := d.store.Resolve(t.Context(), d.haves[4], d.view())
		if err != nil {
			t.Fatal(err)
		}
		if err := d.fetch(v); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("got %v", err)
		}
	})
}

// commitChanges commits changes as they are.
func (f *fixture) commitChanges(base *store.Head, changes ...codec.Change) *store.Head {
	f.Helper()
	r := &codec.Record{
		Tenant: f.tenant, Generation: base.Position.Generation + 1, Parent: base.Position.Commit,
		Keyframe: base.Keyframe, List: codec.List{Changes: changes},
	}
	tree, err := f.tree.With(r.List.Diff())
	if err != nil {
		f.Fatal(err)
	}
	r.Digest = tree.Digest()
	head, err := f.store.NewDraft(f.Context(), base).Commit(f.Context(), r)
	if err != nil {
		f.Fatal(err)
	}
	f.tree = tree
	return head
}

func TestAdvised(t *testing.T) {
	d := newDamagedEtcd(t)
	d.put(logKey(2), []byte("garbage"))
	err := d.store.WithHead(t.Context(), func(v store.View) error {
		_, err := d.store.Resolve(t.Context(), store.Have{}, v)
		return err
	})
	if !errors.Is(err, store.ErrDamaged) || !bytes.Contains([]byte(err.Error()), []byte("delete its key "+headKey)) {
		t.Errorf("damage: %v", err)
	}
	if err := d.store.Advised(store.ErrNoHead); !errors.Is(err, store.ErrNoHead) || err.Error() != store.ErrNoHead.Error() {
		t.Errorf("what is none: %v", err)
	}
}
