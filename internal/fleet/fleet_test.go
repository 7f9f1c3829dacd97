//go:build !lean

package fleet_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/fleet"
	"github.com/confsyncd/confsyncd/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const head = "/confsyncd/prod/pub/head"

// place is an etcd in which hosts report.
type place struct {
	*testing.T
	store *store.Store
	etcd  *clientv3.Client
}

func newPlace(t *testing.T) *place {
	endpoint := devetcdtest.Start(t)
	c := store.NewClient(store.Config{Endpoints: []string{endpoint}, Prefix: "/confsyncd", Log: hclog.NewNullLogger()})
	t.Cleanup(func() { c.Close() })
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { etcd.Close() })
	if _, err := etcd.Put(t.Context(), head, "any"); err != nil { // Beside none nothing is told.
		t.Fatal(err)
	}
	return &place{t, c.Tenant("prod"), etcd}
}

func (p *place) reporter(id, stateDir string) *fleet.Reporter {
	r := fleet.NewReporter(fleet.Options{
		Tenant: "prod", Store: p.store, ID: id, Labels: map[string]string{"role": "web"}, Name: "machine", TTL: time.Minute,
		Version: "v1", StateDir: stateDir, Log: hclog.NewNullLogger(),
	})
	r.Hasten(50*time.Millisecond, 200*time.Millisecond)
	return r
}

// attend has a reporter look after a target until the returned function is called.
func (p *place) attend(r *fleet.Reporter, dir string) (stop func()) {
	ctx, cancel := context.WithCancel(p.Context())
	done := make(chan error, 1)
	go func() { done <- r.Attend(ctx, dir) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.Error(err)
		}
	})
	p.Cleanup(stop)
	return stop
}

// await waits until the fleet is as wanted.
func (p *place) await(what string, ok func(fleet.Fleet) bool) {
	p.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		f, err := fleet.Read(p.Context(), p.store)
		if err != nil {
			p.Fatal(err)
		}
		if ok(f) {
			return
		}
		if time.Now().After(end) {
			p.Fatalf("never: %s; but %+v", what, f)
		}
	}
}

// is tells that a host lives so, and has so many targets, all of which have a generation.
func is(id string, life fleet.Life, targets int, generation uint64) func(fleet.Fleet) bool {
	return func(f fleet.Fleet) bool {
		h, ok := f.Find(id)
		if !ok || h.Life != life || len(h.Report.Targets) != targets {
			return false
		}
		for _, t := range h.Report.Targets {
			if t.Applied != generation {
				return false
			}
		}
		return h.Labeled("role=web") && !h.Labeled("role=db")
	}
}

func at(dir string, generation uint64) codec.HostTarget {
	return codec.HostTarget{Dir: dir, Channel: "main", State: "in_sync", Seen: generation, Applied: generation, Reloaded: generation}
}

func TestHostReports(t *testing.T) {
	p := newPlace(t)
	r := p.reporter("web-1", t.TempDir())
	r.Set(at("/etc/a", 1))
	r.Set(at("/etc/b", 1))
	first := p.attend(r, "/etc/a")
	second := p.attend(r, "/etc/b")
	p.await("it is up", is("web-1", fleet.Up, 2, 1))
	for g := uint64(2); g < 1000; g++ {
		r.Set(at("/etc/a", g))
		r.Set(at("/etc/b", g))
	}
	p.await("it has the last", is("web-1", fleet.Up, 2, 999))
	kvs, err := p.etcd.Get(t.Context(), "/confsyncd/prod/hosts/web-1")
	if err != nil || len(kvs.Kvs) != 1 || kvs.Kvs[0].Version > 4 {
		t.Errorf("it was written %d times (%v)", kvs.Kvs[0].Version, err)
	}
	// One that is looked after no more; the other goes on for both.
	first()
	p.await("one target is left", is("web-1", fleet.Up, 1, 999))
	if err := fleet.Forget(t.Context(), p.store, "web-1"); !errors.Is(err, store.ErrAlive) {
		t.Errorf("forgot a host that lives: %v", err)
	}
	// What etcd loses comes back.
	if _, err := p.etcd.Delete(t.Context(), "/confsyncd/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // Nothing comes back to a tenant that is gone.
	if left, err := p.etcd.Get(t.Context(), "/confsyncd/", clientv3.WithPrefix(), clientv3.WithCountOnly()); err != nil || left.Count > 0 {
		t.Errorf("%d keys (%v)", left.Count, err)
	}
	if _, err := p.etcd.Put(t.Context(), head, "any"); err != nil {
		t.Fatal(err)
	}
	p.await("it is back", is("web-1", fleet.Up, 1, 999))
	second()
	p.await("it is down, and its report stays", is("web-1", fleet.Down, 1, 999))
	if err := fleet.Forget(t.Context(), p.store, "web-1"); err != nil {
		t.Error(err)
	}
	if err := fleet.Forget(t.Context(), p.store, "web-1"); !errors.Is(err, store.ErrGone) {
		t.Errorf("forgot it twice: %v", err)
	}
	p.await("it is gone", func(f fleet.Fleet) bool { return len(f.Hosts) == 0 })
}

func TestTwoOfOneIDAreSeen(t *testing.T) {
	p := newPlace(t)
	one, other := p.reporter("web-1", t.TempDir()), p.reporter("web-1", t.TempDir())
	one.Set(at("/etc/a", 7))
	other.Set(at("/etc/a", 7))
	p.attend(one, "/etc/a")
	stop := p.attend(other, "/etc/a")
	p.await("they are two", is("web-1", fleet.Duplicate, 1, 7))
	f, err := fleet.Read(t.Context(), p.store)
	if err != nil {
		t.Fatal(err)
	}
	if v, why := f.Hosts[0].Judge(fleet.At("main", 7)); v != fleet.Pending || why != "2 processes go by its id: give them different ones" {
		t.Errorf("it is %v: %s", v, why)
	}
	stop()
	p.await("it is one", is("web-1", fleet.Up, 1, 7))
}

func TestProcessThatWasKilledIsNoneBesideTheNext(t *testing.T) {
	p := newPlace(t)
	state := t.TempDir()
	first := p.reporter("web-1", state)
	first.Set(at("/etc/a", 1))
	stop := p.attend(first, "/etc/a")
	p.await("it is up", is("web-1", fleet.Up, 1, 1))
	f, err := fleet.Read(t.Context(), p.store)
	if err != nil {
		t.Fatal(err)
	}
	// As it is after a kill: the key is there, with a lease that nobody renews.
	killed := f.Hosts[0].Lives[0]
	stop()
	lease, err := p.etcd.Grant(t.Context(), 600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.etcd.Put(t.Context(), "/confsyncd/prod/alive/web-1/"+killed.Instance, `{"instance":"`+killed.Instance+`"}`, clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	next := p.reporter("web-1", state)
	next.Set(at("/etc/a", 2))
	p.attend(next, "/etc/a")
	p.await("the next is alone", is("web-1", fleet.Up, 1, 2))

	// A clone that has a copy of the state directory is another all the same.
	clone := t.TempDir()
	if err := os.CopyFS(filepath.Join(clone, "hosts"), os.DirFS(filepath.Join(state, "hosts"))); err != nil {
		t.Fatal(err)
	}
	twin := p.reporter("web-1", clone)
	twin.Set(at("/etc/a", 2))
	p.attend(twin, "/etc/a")
	p.await("they are two", is("web-1", fleet.Duplicate, 1, 2))
}

func TestFollowSeesTheFleetChange(t *testing.T) {
	p := newPlace(t)
	feed := fleet.NewFeed()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- fleet.Follow(ctx, p.store, feed) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	until := func(what string, ok func(fleet.Fleet) bool) {
		t.Helper()
		for end := time.After(60 * time.Second); ; {
			if f, seen := feed.Take(); seen && ok(f) {
				return
			}
			select {
			case <-feed.HostsChanged():
			case <-feed.HeadChanged():
			case <-end:
				t.Fatalf("never: %s", what)
			}
		}
	}
	until("nobody is there", func(f fleet.Fleet) bool { return len(f.Hosts) == 0 })
	r := p.reporter("web-1", t.TempDir())
	r.Set(at("/etc/a", 1))
	stop := p.attend(r, "/etc/a")
	until("it is up", is("web-1", fleet.Up, 1, 1))
	r.Set(at("/etc/a", 2))
	until("it has applied", is("web-1", fleet.Up, 1, 2))
	stop()
	until("it is down", is("web-1", fleet.Down, 1, 2))

	sign := fleet.NewSign(fleet.Options{Tenant: "prod", Store: p.store, Name: "machine", TTL: time.Minute, Log: hclog.NewNullLogger()})
	sign.Set("")
	sign.Set("5f2c")
	sign.Set("5f2c")
	living, end := context.WithCancel(ctx)
	over := make(chan error, 1)
	go func() { over <- sign.Run(living) }()
	until("a publisher lives", func(f fleet.Fleet) bool { return len(f.Publishers) == 1 && f.Publishers[0].Instance == "5f2c" })
	end()
	if err := <-over; err != nil {
		t.Error(err)
	}
	until("it does not", func(f fleet.Fleet) bool { return len(f.Publishers) == 0 })
}

func TestJudge(t *testing.T) {
	target := func(change func(*codec.HostTarget)) []codec.HostTarget {
		one := at("/etc/a", 5)
		change(&one)
		other := at("/etc/b", 5)
		other.Channel = "stable"
		return []codec.HostTarget{one, other}
	}
	for name, tt := range map[string]struct {
		targets []codec.HostTarget
		want    fleet.Verdict
		why     string
	}{
		"it has it":           {target(func(*codec.HostTarget) {}), fleet.Done, ""},
		"it has a newer one":  {target(func(t *codec.HostTarget) { t.Applied, t.Reloaded = 9, 9 }), fleet.Done, ""},
		"it is behind":        {target(func(t *codec.HostTarget) { t.Applied, t.State = 4, "waiting" }), fleet.Pending, "at generation 4, waiting"},
		"it is held":          {target(func(t *codec.HostTarget) { t.Applied, t.State, t.Reason = 4, "holding", "files differ" }), fleet.Pending, "at generation 4, holding: files differ"},
		"it has not reloaded": {target(func(t *codec.HostTarget) { t.Reloaded = 4 }), fleet.Pending, "has not reloaded generation 5 yet"},
		"it has refused":      {target(func(t *codec.HostTarget) { t.Applied, t.Reloaded, t.Quarantined = 4, 4, 5 }), fleet.Failed, "it refused generation 5"},
		"it has it and refused a newer one": {target(func(t *codec.HostTarget) {
			t.Quarantined, t.Hook = 6, &codec.HookOutcome{Name: "check", Generation: 6}
		}), fleet.Done, ""},
		"it has refused a newer one and is behind": {target(func(t *codec.HostTarget) { t.Applied, t.Reloaded, t.Quarantined = 4, 4, 6 }), fleet.Failed, "it refused generation 6"},
		"it has it and is not well with it":        {target(func(t *codec.HostTarget) { t.Quarantined = 5 }), fleet.Failed, "it refused generation 5"},
		"it refused an older one":                  {target(func(t *codec.HostTarget) { t.Quarantined = 4 }), fleet.Done, ""},
		"its health failed":                        {target(func(t *codec.HostTarget) { t.Hook = &codec.HookOutcome{Name: "health", Generation: 5} }), fleet.Failed, "its health failed"},
		"an older health failed":                   {target(func(t *codec.HostTarget) { t.Hook = &codec.HookOutcome{Name: "health", Generation: 4} }), fleet.Done, ""},
		"it has none":                              {nil, fleet.Done, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := fleet.Host{ID: "a", Life: fleet.Up, Report: codec.Host{Targets: tt.targets}}
			if refuses := h.Refuses(fleet.At("main", 5)); refuses != strings.HasPrefix(tt.why, "it refused") {
				t.Errorf("refuses: %v", refuses)
			}
			if got, why := h.Judge(fleet.At("main", 5)); got != tt.want || why != tt.why {
				t.Errorf("got %v: %q", got, why)
			}
			if got, why := h.Judge(fleet.At("stable", 5)); got != fleet.Done {
				t.Errorf("the other target: %v: %q", got, why)
			}
			h.Life = fleet.Down
			if got, _ := h.Judge(fleet.At("main", 5)); got == fleet.Done {
				t.Error("done although it is down")
			}
		})
	}
}
