//go:build !lean

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/lab"
	"github.com/confsyncd/confsyncd/internal/store"
)

// rolloutBake is for how long a stage's hosts must stay well.
const rolloutBake = 300 * time.Millisecond

// reporters are hosts that have whatever they follow at once, and say so.
type reporters struct {
	store *store.Store
	etcd  *clientv3.Client
	base  string
	lease clientv3.LeaseID

	mu    sync.Mutex // guards what follows
	hosts map[string]*codec.Host
	at    map[string]map[uint64]time.Time // when a host first followed a generation
	err   error
}

func newReporters(t *testing.T, l *lab.Lab, tenant string) *reporters {
	t.Helper()
	c := store.NewClient(store.Config{Endpoints: []string{l.Etcd.Endpoint()}, Prefix: "/confsyncd", Log: hclog.NewNullLogger()})
	t.Cleanup(func() { c.Close() })
	r := &reporters{
		store: c.Tenant(tenant), etcd: l.Etcd.Client(t), base: "/confsyncd/" + tenant,
		hosts: make(map[string]*codec.Host), at: make(map[string]map[uint64]time.Time),
	}
	lease, err := r.etcd.Grant(t.Context(), 600)
	if err != nil {
		t.Fatal(err)
	}
	r.lease = lease.ID
	for i := range 10 {
		id, channel := fmt.Sprint("web-", i), "main"
		if i == 0 {
			channel = "canary"
		}
		r.hosts[id] = &codec.Host{Name: id, Labels: map[string]string{"role": "web"}, Targets: []codec.HostTarget{{Dir: "/etc/app", Channel: channel, State: "in_sync"}}}
		r.at[id] = make(map[uint64]time.Time)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := r.report(ctx); err != nil && ctx.Err() == nil {
				r.mu.Lock()
				r.err = err
				r.mu.Unlock()
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return r
}

// report writes what has changed.
func (r *reporters) report(ctx context.Context) error {
	view, err := r.store.View(ctx)
	if err != nil || view.Head == nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, h := range r.hosts {
		target := &h.Targets[0]
		to, ok := view.Head.Follow(target.Channel, id, h.Labels)
		if !ok || to.Generation == target.Applied {
			continue
		}
		if to.Generation < target.Applied {
			return fmt.Errorf("%s is to go from generation %d to %d", id, target.Applied, to.Generation)
		}
		r.at[id][to.Generation] = time.Now()
		target.Seen, target.Applied, target.Reloaded = to.Generation, to.Generation, to.Generation
		value, err := codec.EncodeHost(*h)
		if err != nil {
			return err
		}
		_, err = r.etcd.Txn(ctx).Then(clientv3.OpPut(r.base+"/hosts/"+id, string(value)),
			clientv3.OpPut(r.base+"/alive/"+id+"/1", `{"instance":"1"}`, clientv3.WithLease(r.lease))).Commit()
		if err != nil {
			return err
		}
	}
	return nil
}

// stages returns when the first host and the last of each stage came to a generation.
func (r *reporters) stages(generation uint64) (text string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return "", r.err
	}
	var first, last [3]time.Time
	var count [3]int
	canary := r.at["web-0"][generation]
	early := time.Time{} // when the second stage began
	for id, at := range r.at {
		if t := at[generation]; id != "web-0" && !t.IsZero() && (early.IsZero() || t.Before(early)) {
			early = t
		}
	}
	for id, at := range r.at {
		t, ok := at[generation]
		if !ok {
			return "", fmt.Errorf("%s does not have generation %d", id, generation)
		}
		stage := 2
		switch {
		case id == "web-0":
			stage = 0
		case t.Sub(early) < rolloutBake:
			stage = 1
		}
		count[stage]++
		if first[stage].IsZero() || t.Before(first[stage]) {
			first[stage] = t
		}
		if t.After(last[stage]) {
			last[stage] = t
		}
	}
	for i := 1; i < 3; i++ {
		if d := first[i].Sub(last[i-1]); count[i] == 0 || d < rolloutBake {
			return "", fmt.Errorf("stage %d of %d hosts came %v after the one before, which was to stay well for %v", i, count[i], d, rolloutBake)
		}
	}
	if count[1] < 5 { // More, where more of their numbers lie below the half.
		return "", fmt.Errorf("%d of 9 hosts are half of them", count[1])
	}
	return fmt.Sprintf("canary %v, half of the others after %v, the rest after %v", canary.Format("05.000"), first[1].Sub(canary).Round(time.Millisecond), first[2].Sub(canary).Round(time.Millisecond)), nil
}

const rolloutConfig = `
[[source]]
tenant = "fleet"
dir = %q
standby = "shared"
standby_ttl = "2s"
[source.rollout]
bake = "300ms"
[[source.rollout.stage]]
channel = "canary"
[[source.rollout.stage]]
label = "role=web"
percent = "50%%"
`

// The publisher is killed again and again while what it publishes comes to the hosts, and
// another takes over: the stages come one after the other all the same.
func TestRolloutOutlivesItsPublishers(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for leases")
	}
	l := newLab(t)
	random := rand.New(rand.NewPCG(seed(t), 0))
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	shared := filepath.Join(l.Dir, "shared")
	do(os.Mkdir(shared, 0o755))
	do(os.WriteFile(filepath.Join(shared, "f"), []byte("1"), 0o644))
	var publishers []*lab.Host
	for i := range 2 {
		h := l.Host(t, "fleet", fmt.Sprint("publisher-", i))
		h.Dir, h.Config = shared, filepath.Join(l.Dir, fmt.Sprint(i, ".toml"))
		do(os.WriteFile(h.Config, fmt.Appendf(nil, rolloutConfig, shared), 0o600))
		publishers = append(publishers, h)
		do(h.Start("publish", "--publisher", fmt.Sprint("publisher-", i)))
	}
	hosts := newReporters(t, l, "fleet")
	any := publishers[0]
	eventually := func(what func() error) {
		t.Helper()
		if _, err := lab.Eventually(60*time.Second, what); err != nil {
			t.Fatalf("%v\n%s\n%s", err, lab.Tail(publishers[0].Log), lab.Tail(publishers[1].Log))
		}
	}
	promote := func() error {
		if r := any.Command(t, "channel", "promote", "main", "canary", "--tenant", "fleet"); r.Code != 0 {
			return fmt.Errorf("promote: %v", r)
		}
		return nil
	}
	eventually(promote)
	status := func() (state string, generation uint64) {
		var f struct {
			State      string
			Generation uint64
		}
		r := any.Command(t, "rollout", "status", "--tenant", "fleet", "-o", "json")
		if r.Code == 0 {
			do(json.Unmarshal([]byte(r.Out), &f))
		}
		return f.State, f.Generation
	}
	for round := range uint64(3) {
		generation := round + 2
		do(os.WriteFile(filepath.Join(shared, "f"), fmt.Append(nil, generation), 0o644))
		for kills := 0; ; kills++ {
			time.Sleep(time.Duration(random.IntN(1200)) * time.Millisecond)
			if state, g := status(); state == codec.RolloutDone && g == generation {
				t.Logf("generation %d is everywhere after %d kills", generation, kills)
				break
			}
			if kills < 4 {
				i := random.IntN(2)
				do(publishers[i].Daemon.Kill())
				do(publishers[i].Start("publish", "--publisher", fmt.Sprint("publisher-", i)))
				continue
			}
			eventually(func() error {
				if state, g := status(); state != codec.RolloutDone || g != generation {
					return fmt.Errorf("the rollout of %d is %s, not that of %d done", g, state, generation)
				}
				return nil
			})
		}
		eventually(func() error {
			_, err := hosts.stages(generation)
			if err != nil && strings.Contains(err.Error(), "does not have") {
				return err
			}
			return nil
		})
		text, err := hosts.stages(generation)
		do(err)
		t.Log(text)
	}
}
