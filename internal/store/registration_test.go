//go:build !lean

package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

func (f *fixture) standing() store.Standing {
	f.Helper()
	now, err := f.store.Standing(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	return now
}

// bury deletes the tenant's head under a tombstone.
func (f *fixture) bury() store.Registration {
	f.Helper()
	on := f.standing()
	next := on.Registration.Registration
	next.ID, next.Tombstones = diff.TenantID{}, append(next.Tombstones, codec.Tombstone{ID: f.tenant, Time: time.Unix(1, 0).UTC(), By: "test"})
	r, err := f.store.Register(f.Context(), on, next, true)
	if err != nil {
		f.Fatal(err)
	}
	return r
}

// clear deletes what is left of the tenant, and returns how many keys that were.
func (f *fixture) clear(r store.Registration) (gone int) {
	f.Helper()
	for {
		n, err := f.store.Clear(f.Context(), r)
		if err != nil {
			f.Fatal(err)
		}
		if n == 0 {
			return gone
		}
		gone += n
	}
}

func TestNothingIsCommittedAfterTheDeletion(t *testing.T) {
	f := newFixture(t)
	h1 := f.mustCommit(nil, map[string]string{"a": "one"}, false)
	before, err := f.store.Registration(t.Context())
	if err != nil || before.Exists() {
		t.Fatalf("%+v, %v", before, err)
	}
	registered := f.store.RegisteredAs(before)
	plain := f.store
	f.store = registered
	h2 := f.mustCommit(h1, map[string]string{"a": "two"}, true)
	k, err := f.store.StageKeyframe(t.Context(), f.view(), nil)
	if err != nil {
		t.Fatal(err)
	}
	f.store = plain
	buried := f.bury()
	f.clear(buried)
	f.store = registered
	for name, base := range map[string]*store.Head{"on the head": h2, "as the first": nil} {
		for _, packed := range []bool{false, true} {
			// Beyond a megabyte packs are staged before the commit.
			content := strings.Repeat(name, 1+100000*len(name))
			if !packed {
				content = name
			}
			if _, err := f.commit(base, map[string]string{"a": content}, packed); !errors.Is(err, store.ErrRegistration) {
				t.Errorf("%s, packed %v: %v", name, packed, err)
			}
		}
	}
	if _, err := f.store.PublishKeyframe(t.Context(), h2, k); !errors.Is(err, store.ErrRegistration) {
		t.Errorf("a keyframe: %v", err)
	}
	if now := f.standing(); now.Keys != 0 || now.Registration.Buried(f.tenant) == nil {
		t.Errorf("left: %+v", now)
	}
}

func TestStagedPackOfADeletedTenantIsNotPut(t *testing.T) {
	f := newFixture(t)
	r, err := f.store.Registration(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h1 := f.mustCommit(nil, map[string]string{"a": "one"}, false)
	d := f.store.RegisteredAs(r).NewDraft(t.Context(), h1)
	f.clear(f.bury())
	var stageErr error
	for i := 0; i < 100 && stageErr == nil; i++ {
		data := []byte(strings.Repeat(fmt.Sprint(i), 500<<10))
		stageErr = d.Stage(codec.Pack{Ref: codec.PackRef{Hash: diff.Sum(data), Size: 1}, Data: data[:500<<10]})
	}
	if !errors.Is(stageErr, store.ErrRegistration) {
		t.Errorf("staging: %v", stageErr)
	}
	d.Discard()
	if now := f.standing(); now.Keys != 0 {
		t.Errorf("left: %d keys", now.Keys)
	}
}

func TestRegistrationIsReplacedOnlyAsItWasRead(t *testing.T) {
	f := newFixture(t)
	on := f.standing()
	first := codec.Registration{ID: diff.TenantID{1}, Labels: map[string]string{"a": "1"}}
	r, err := f.store.Register(t.Context(), on, first, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Register(t.Context(), on, codec.Registration{ID: diff.TenantID{2}}, false); !errors.Is(err, store.ErrRegistration) {
		t.Errorf("over another one: %v", err)
	}
	on = f.standing()
	f.mustCommit(nil, map[string]string{"a": "one"}, false)
	if _, err := f.store.Register(t.Context(), on, codec.Registration{ID: diff.TenantID{2}}, false); !errors.Is(err, store.ErrLostRace) {
		t.Errorf("beside a commit: %v", err)
	}
	if _, err := f.store.Clear(t.Context(), store.Registration{Registration: r.Registration}); err == nil {
		t.Error("keys of a tenant that lives were deleted")
	}
	if now := f.standing(); now.Registration.ID != first.ID || now.Keys != 2 || now.View.Head == nil {
		t.Errorf("now %+v", now)
	}
}

func TestDeletionTouchesNoOtherTenant(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	f, client := newFixtureAt(t, endpoint)
	admin, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	names := []string{"a", "ab", "a.b", "a-b", "a_", "a0", "9", "b"}
	for _, name := range names {
		for i := range 250 {
			if _, err := admin.Put(t.Context(), fmt.Sprintf("/confsyncd/%s/pub/packs/%04d", name, i), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What lies beside the tenants, and below a prefix that begins like ours.
	for _, key := range []string{"/confsyncd/a", "/confsyncd/a!", "/confsyncd2/a/pub/head", "/confsyncd/@tenants/ab"} {
		if _, err := admin.Put(t.Context(), key, `{"id":"01010101010101010101010101010101"}`); err != nil {
			t.Fatal(err)
		}
	}
	all := func() map[string]int64 {
		resp, err := admin.Get(t.Context(), "\x00", clientv3.WithFromKey(), clientv3.WithKeysOnly())
		if err != nil {
			t.Fatal(err)
		}
		keys := make(map[string]int64)
		for _, kv := range resp.Kvs {
			keys[string(kv.Key)] = kv.ModRevision
		}
		return keys
	}
	if got, err := client.Tenants(t.Context()); err != nil || !slices.Equal(got, slices.Sorted(slices.Values(names))) {
		t.Errorf("tenants %q, %v", got, err)
	}
	before := all()
	f.store = client.Tenant("a")
	if gone := f.clear(f.bury()); gone != 250 {
		t.Errorf("%d keys are gone", gone)
	}
	after := all()
	for key, revision := range before {
		if mine := strings.HasPrefix(key, "/confsyncd/a/"); mine == (after[key] == revision) {
			t.Errorf("%s was at revision %d, is at %d", key, revision, after[key])
		}
	}
	delete(after, "/confsyncd/@tenants/a")
	if len(after) != len(before)-250 {
		t.Errorf("%d keys of %d are there", len(after), len(before))
	}
}

func TestHostOfADeletedTenantSaysNothing(t *testing.T) {
	f := newFixture(t)
	f.mustCommit(nil, map[string]string{"a": "one"}, false)
	report := func() error {
		return f.store.Report(t.Context(), "h", codec.Host{Name: "h", Instance: "i"})
	}
	life, err := f.store.HostLives(t.Context(), "h", codec.Alive{Instance: "i"}, time.Minute)
	if err := errors.Join(err, report()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := life.End(context.Background()); err != nil {
			t.Log(err)
		}
	})
	if now := f.standing(); now.Hosts != 1 || now.Keys != 4 {
		t.Errorf("%d hosts, %d keys", now.Hosts, now.Keys)
	}
	f.clear(f.bury())
	for what, err := range map[string]error{"report": report(), "sign of life": life.Show(t.Context())} {
		if !errors.Is(err, store.ErrNoHead) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if now := f.standing(); now.Keys != 0 {
		t.Errorf("%d keys came back", now.Keys)
	}
}

func TestRegistrationThatIsDamagedIsSaid(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	f, _ := newFixtureAt(t, endpoint)
	admin, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.Put(context.Background(), "/confsyncd/@tenants/prod", "{}"); err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func() error{
		"alone":         func() error { _, err := f.store.Registration(t.Context()); return err },
		"with the head": func() error { _, err := f.store.Standing(t.Context()); return err },
	} {
		if err := read(); !errors.Is(err, codec.ErrDamaged) || !strings.Contains(err.Error(), "/confsyncd/@tenants/prod") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
