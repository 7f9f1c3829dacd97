//go:build !lean

package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/fleet"
	"github.com/confsyncd/confsyncd/internal/rollout"
	"github.com/confsyncd/confsyncd/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place is a tenant in an etcd of its own, and hosts that follow it.
type place struct {
	*testing.T
	store   *store.Store
	options rollout.Options
	at      time.Time

	mu    sync.Mutex // guards what follows
	hosts map[string]*fleet.Host
	bad   map[string]uint64 // hosts that refuse a generation
	down  map[string]bool
}

const (
	bake    = 5 * time.Minute
	timeout = 30 * time.Minute
)

func newPlace(t *testing.T, stages ...codec.RolloutStage) *place {
	c := store.NewClient(store.Config{Endpoints: []string{devetcdtest.Start(t)}, Prefix: "/confsyncd", Log: hclog.NewNullLogger()})
	t.Cleanup(func() { c.Close() })
	f := &place{
		T: t, store: c.Tenant("prod"), at: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
		hosts: map[string]*fleet.Host{}, bad: map[string]uint64{}, down: map[string]bool{},
	}
	for i := range 12 {
		role := []string{"web", "db", "cache"}[i%3]
		id := fmt.Sprintf("%s-%d", role, i)
		f.hosts[id] = host(id, map[string]string{"role": role}, "main")
	}
	f.hosts["canary-1"] = host("canary-1", nil, "canary")
	f.options = rollout.Options{
		Tenant: "prod", Store: f.store, By: "config-1", Hosts: f.list, Leads: func() bool { return true }, Log: hclog.NewNullLogger(),
		Plan: rollout.Plan{Channel: "main", Stages: stages, Policy: codec.RolloutPolicy{Bake: bake, StageTimeout: timeout}},
	}
	return f
}

func host(id string, labels map[string]string, channel string) *fleet.Host {
	return &fleet.Host{ID: id, Report: codec.Host{Labels: labels, Targets: []codec.HostTarget{{Dir: "/etc/app", Channel: channel, State: "in_sync"}}}}
}

// list returns the hosts, after each has applied what it follows.
func (f *place) list(ctx context.Context) ([]fleet.Host, error) {
	view, err := f.store.View(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []fleet.Host
	for _, h := range f.hosts {
		target := &h.Report.Targets[0]
		to, ok := view.Head.Follow(target.Channel, h.ID, h.Report.Labels)
		h.Life = fleet.Up
		switch {
		case f.down[h.ID]:
			h.Life = fleet.Down
		case !ok || to.Generation < target.Applied:
		case f.bad[h.ID] == to.Generation:
			target.Quarantined = to.Generation
		default:
			target.Applied, target.Reloaded = to.Generation, to.Generation
		}
		c := *h
		c.Report.Targets = slices.Clone(h.Report.Targets)
		list = append(list, c)
	}
	return list, nil
}

// have tells which hosts have applied a generation.
func (f *place) have(generation uint64) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ids []string
	for _, h := range f.hosts {
		if h.Report.Targets[0].Applied == generation {
			ids = append(ids, h.ID)
		}
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

// publish commits a generation without moving the rollout's channels.
func (f *place) publish() uint64 { return f.commit() }

func (f *place) commit(channels ...string) uint64 {
	f.Helper()
	view, err := f.store.View(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	r := &codec.Record{Tenant: diff.TenantID{1}, Generation: 1, Founding: true, Time: time.Unix(0, 1), Publisher: "p", Instance: "i", Digest: diff.Tree{}.Digest()}
	if head := view.Head; head != nil {
		r.Generation, r.Parent, r.Founding, r.Keyframe = head.Position.Generation+1, head.Position.Commit, false, head.Keyframe
	}
	d := f.store.NewDraft(f.Context(), view.Head)
	d.Channels(channels...)
	head, err := d.Commit(f.Context(), r)
	if err != nil {
		f.Fatal(err)
	}
	return head.Position.Generation
}

// steps makes steps at the fleet's time until nothing changes, as whoever leads then.
func (f *place) steps() codec.Rollout {
	f.Helper()
	for range 5 {
		// A process of its own each time: all that is known is in etcd.
		if err := rollout.New(f.options).At(f.Context(), f.at); err != nil {
			f.Fatal(err)
		}
	}
	return f.state()
}

func (f *place) state() codec.Rollout {
	f.Helper()
	_, r, err := f.store.Rollout(f.Context())
	if err != nil || r.Err != nil {
		f.Fatal(err, r.Err)
	}
	return r.Rollout
}

// later lets time pass, and makes steps.
func (f *place) later(d time.Duration) codec.Rollout {
	f.Helper()
	f.at = f.at.Add(d)
	return f.steps()
}

func (f *place) want(r codec.Rollout, state string, stage int, reason string) {
	f.Helper()
	if r.State != state || r.Stage != stage || !strings.Contains(r.Reason, reason) {
		f.Fatalf("the rollout is %s in stage %d (%s), want %s in stage %d (%s)", r.State, r.Stage, r.Reason, state, stage, reason)
	}
}

func (f *place) channel(name string) uint64 {
	f.Helper()
	view, err := f.store.View(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	at, _ := view.Head.On(name)
	return at.Generation
}

func TestStagesComeOneAfterTheOther(t *testing.T) {
	f := newPlace(t, codec.RolloutStage{Channel: "canary"}, codec.RolloutStage{Label: "role=web", Percent: 1}, codec.RolloutStage{Label: "role=web", Percent: 100})
	f.publish()
	if f.steps(); f.channel("main") != 1 {
		t.Fatal("the first commit is not for all")
	}
	if _, err := f.store.MoveChannel(t.Context(), "canary", f.head()); err != nil {
		t.Fatal(err)
	}
	f.steps()
	f.publish()
	f.want(f.steps(), codec.RolloutRunning, 0, "all 1 hosts are well")
	if got := f.have(2); got != "canary-1" {
		t.Errorf("in the first stage %q have it", got)
	}
	f.want(f.later(bake-time.Second), codec.RolloutRunning, 0, "")
	f.want(f.later(time.Second), codec.RolloutRunning, 1, "all 2 hosts are well")
	one := strings.Fields(f.have(2))
	if len(one) != 2 || !strings.HasPrefix(one[1], "web-") {
		t.Errorf("in the second stage %q have it", one)
	}
	f.want(f.later(bake), codec.RolloutRunning, 2, "all 5 hosts are well")
	if got := strings.Fields(f.have(2)); len(got) != 5 || !slices.Contains(got, one[1]) {
		t.Errorf("in the third stage %q have it", got)
	}
	if f.channel("main") != 1 {
		t.Error("main has come along before its stage")
	}
	f.want(f.later(bake), codec.RolloutRunning, 3, "all 13 hosts are well")
	f.want(f.later(bake), codec.RolloutDone, 3, "")
	if f.channel("main") != 2 || len(strings.Fields(f.have(2))) != 13 {
		t.Errorf("main is at %d, and %q have it", f.channel("main"), f.have(2))
	}
	f.want(f.later(time.Hour), codec.RolloutDone, 3, "")
}

func (f *place) head() diff.Position {
	f.Helper()
	view, err := f.store.View(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	return view.Head.Position
}

// started is a fleet in the first stage of a rollout of generation 2, to all of role=web.
func started(t *testing.T, prepare func(*place)) *place {
	f := newPlace(t, codec.RolloutStage{Label: "role=web", Percent: 100})
	f.publish()
	f.steps()
	if prepare != nil {
		prepare(f)
	}
	f.publish()
	return f
}

func TestFailureHalts(t *testing.T) {
	f := started(t, func(f *place) { f.bad["web-3"] = 2 })
	f.want(f.steps(), codec.RolloutHalted, 0, "failed on web-3 (it refused generation 2)")
	f.want(f.later(24*time.Hour), codec.RolloutHalted, 0, "failed on web-3")
	if got := f.have(2); got != "web-0 web-6 web-9" {
		t.Errorf("%q have it", got)
	}
	// What is newer is a new rollout: the hosts that have the bad one get it first.
	f.publish()
	f.want(f.steps(), codec.RolloutRunning, 0, "all 4 hosts are well")
	if got := f.have(3); got != "web-0 web-3 web-6 web-9" {
		t.Errorf("%q have it", got)
	}
	f.later(bake)
	f.want(f.later(bake), codec.RolloutDone, 1, "")
}

func TestSoManyFailuresAreBorne(t *testing.T) {
	f := started(t, func(f *place) {
		f.options.Plan.Policy.MaxFailures = 1
		f.bad["web-3"] = 2
	})
	f.want(f.steps(), codec.RolloutRunning, 0, "all 3 hosts are well")
	f.later(bake)
	f.want(f.later(bake), codec.RolloutDone, 1, "")

	f.bad["web-0"], f.bad["web-9"] = 3, 3
	f.publish()
	f.want(f.steps(), codec.RolloutHalted, 0, "failed on web-0 (it refused generation 3), web-9 (it refused generation 3)")
}

func TestFailureWhileItBakesHalts(t *testing.T) {
	f := started(t, nil)
	f.want(f.steps(), codec.RolloutRunning, 0, "all 4 hosts are well")
	f.mu.Lock()
	f.hosts["web-0"].Report.Targets[0].Hook = &codec.HookOutcome{Name: "health", Generation: 2}
	f.mu.Unlock()
	f.want(f.later(bake-time.Second), codec.RolloutHalted, 0, "failed on web-0 (its health failed)")
}

func TestHostThatIsDownCountsUntilItIsBack(t *testing.T) {
	f := started(t, func(f *place) { f.down["web-0"] = true })
	f.want(f.steps(), codec.RolloutRunning, 0, "waits for web-0 (down)")
	delete(f.down, "web-0")
	f.want(f.later(time.Minute), codec.RolloutRunning, 0, "all 4 hosts are well")
	f.down["web-0"] = true // All must be well for as long, at once.
	f.want(f.later(time.Minute), codec.RolloutRunning, 0, "waits for web-0 (down)")
	f.want(f.later(timeout), codec.RolloutHalted, 0, "not done within 30m0s on web-0 (down)")
	delete(f.down, "web-0")
	if _, err := rollout.Resume(t.Context(), f.store, "me"); err != nil {
		t.Fatal(err)
	}
	f.at = time.Now() // by which it was resumed
	f.want(f.steps(), codec.RolloutRunning, 0, "all 4 hosts are well")
	f.later(bake)
	f.want(f.later(bake), codec.RolloutDone, 1, "")
}

// A word that no host has would let everything through.
func TestStageWithoutHostsHalts(t *testing.T) {
	f := newPlace(t, codec.RolloutStage{Label: "role=wbe", Percent: 10})
	f.publish()
	f.steps()
	f.publish()
	f.want(f.steps(), codec.RolloutRunning, 0, "a host of stage 10% of role=wbe (none has reported)")
	f.want(f.later(timeout), codec.RolloutHalted, 0, "none has reported")
	if got := f.have(2); got != "" {
		t.Errorf("%q have it", got)
	}
}

func TestOperatorPausesResumesAndAborts(t *testing.T) {
	f := newPlace(t, codec.RolloutStage{Label: "role=web", Percent: 100})
	if _, err := rollout.Pause(t.Context(), f.store, "me"); !errors.Is(err, rollout.ErrNone) {
		t.Errorf("without a rollout: %v", err)
	}
	f.publish()
	f.steps()
	f.publish()
	f.steps()
	must := func(r codec.Rollout, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(rollout.Pause(t.Context(), f.store, "me"))
	f.publish()
	f.want(f.later(24*time.Hour), codec.RolloutPaused, 0, "by me")
	if r := f.state(); r.Generation != 2 {
		t.Errorf("the rollout is of generation %d", r.Generation)
	}
	if _, err := rollout.Pause(t.Context(), f.store, "me"); !errors.Is(err, rollout.ErrOver) {
		t.Errorf("paused twice: %v", err)
	}
	must(rollout.Resume(t.Context(), f.store, "me"))
	f.want(f.steps(), codec.RolloutRunning, 0, "all 4 hosts are well")
	if r := f.state(); r.Generation != 3 {
		t.Errorf("the rollout is of generation %d", r.Generation)
	}
	must(rollout.Abort(t.Context(), f.store, "me"))
	f.want(f.later(24*time.Hour), codec.RolloutAborted, 0, "by me")
	if _, err := rollout.Resume(t.Context(), f.store, "me"); !errors.Is(err, rollout.ErrOver) {
		t.Errorf("resumed after the end: %v", err)
	}
	if f.have(3) != "web-0 web-3 web-6 web-9" || f.channel("main") != 1 {
		t.Errorf("%q have it, main is at %d", f.have(3), f.channel("main"))
	}
	f.publish()
	f.want(f.steps(), codec.RolloutRunning, 0, "all 4 hosts are well")
	if _, err := f.store.MoveChannel(t.Context(), "main", f.head()); err != nil {
		t.Fatal(err)
	}
	f.want(f.steps(), codec.RolloutSuperseded, 0, "channel main has come to generation 4")
}

func TestHaltBringsTheOldContentBack(t *testing.T) {
	f := newPlace(t, codec.RolloutStage{Channel: "canary"}, codec.RolloutStage{Label: "role=web", Percent: 100})
	f.publish()
	f.steps()
	if _, err := f.store.MoveChannel(t.Context(), "canary", f.head()); err != nil {
		t.Fatal(err)
	}
	f.options.Plan.Policy.Rollback = true
	var asked []string
	f.options.Rollback = func(_ context.Context, generation, parent uint64, message string) (uint64, error) {
		asked = append(asked, fmt.Sprintf("%d on %d: %s", generation, parent, message))
		if len(asked) == 1 {
			return 0, store.ErrUnreachable // It is tried again.
		}
		return f.commit("main", "canary"), nil
	}
	f.publish()
	f.steps()
	f.bad["web-3"] = 2
	f.at = f.at.Add(bake)
	one := rollout.New(f.options)
	for range 8 {
		if err := one.At(t.Context(), f.at); err != nil && !errors.Is(err, store.ErrUnreachable) {
			t.Fatal(err)
		}
	}
	f.want(f.state(), codec.RolloutRolledBack, 1, "failed on web-3 (it refused generation 2); channel main has come to generation 3")
	if len(asked) != 2 || asked[1] != "1 on 2: back to generation 1: the rollout of 2 was halted: failed on web-3 (it refused generation 2)" {
		t.Errorf("asked for %q", asked)
	}
	if _, err := f.list(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(f.have(3)); len(got) != 13 {
		t.Errorf("%q have the old content", got)
	}
	if got := f.state().RolledBack; got != 3 {
		t.Errorf("rolled back to %d", got)
	}
}

// Processes that come and go, two at a time, make the same of it as one.
func TestRolloutGoesOnWhereItWas(t *testing.T) {
	f := newPlace(t, codec.RolloutStage{Label: "role=web", Percent: 10}, codec.RolloutStage{Label: "role=web", Percent: 50}, codec.RolloutStage{Percent: 60})
	f.publish()
	f.steps()
	f.options.Plan.Policy.Bake = 0
	f.publish()
	run := func(d time.Duration) {
		t.Helper()
		ctx, stop := context.WithTimeout(t.Context(), d)
		defer stop()
		r := rollout.New(f.options)
		r.Hasten(time.Millisecond)
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	}
	for end := time.Now().Add(60 * time.Second); f.state().State != codec.RolloutDone; {
		if time.Now().After(end) {
			t.Fatalf("it is not done: %+v", f.state())
		}
		var both sync.WaitGroup
		both.Go(func() { run(7 * time.Millisecond) })
		both.Go(func() { run(11 * time.Millisecond) })
		both.Wait()
	}
	if r := f.state(); r.Generation != 2 || r.Stage != 3 || f.channel("main") != 2 {
		t.Errorf("main is at %d after %+v", f.channel("main"), r)
	}
}
