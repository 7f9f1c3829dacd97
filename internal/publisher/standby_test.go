//go:build !lean

package publisher_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/report"
	"github.com/confsyncd/confsyncd/internal/store"
)

// member returns the options of another publisher of the place's election, with a
// directory of its own or the place's. No lease runs out within a test: whatever changes
// hands was given up.
func (p *place) member(endpoint, name, dir string) publisher.Options {
	c := store.NewClient(store.Config{Endpoints: []string{endpoint}, Prefix: "/confsyncd", Log: hclog.NewNullLogger()})
	p.Cleanup(func() { c.Close() })
	o := p.options
	o.Name, o.Host, o.Dir, o.StateDir, o.Store, o.Standby = name, "host-of-"+name, dir, p.TempDir(), c.Tenant("prod"), time.Minute
	o.Copies = dir != p.options.Dir
	return o
}

// awaitReason waits until the one source in stateDir is in a state for a reason.
func awaitReason(t *testing.T, stateDir, state string, words ...string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		got, err := report.Read(stateDir)
		ok := err == nil && len(got) == 1 && got[0].State == state
		for _, w := range words {
			ok = ok && strings.Contains(got[0].Reason, w)
		}
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("report %+v, %v; want %s for %q", got, err, state, words)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestStandbyTakesOverAtOnceWhenTheLeaderEnds(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	p := newPlaceAt(t, endpoint)
	p.write("a", "one")
	one, two := p.member(endpoint, "one", p.options.Dir), p.member(endpoint, "two", p.options.Dir)
	stop := p.run(one)
	p.await(map[string]string{"a": "one"})
	p.run(two)
	awaitReason(t, two.StateDir, "standby", `"one" leads`, `"host-of-one"`)
	stop()
	begin := time.Now()
	p.write("a", "two")
	v := p.await(map[string]string{"a": "two"})
	t.Logf("an edit after the leader's end was committed after %v", time.Since(begin))
	if time.Since(begin) > one.Standby/2 {
		t.Error("that is not at once")
	}
	if v.Head.Publisher != "two" || v.Position().Generation != 2 {
		t.Errorf("generation %d by %q", v.Position().Generation, v.Head.Publisher)
	}
	awaitReason(t, two.StateDir, "live")

	t.Run("and the one that ended stands by when it is back", func(t *testing.T) {
		p.run(one)
		awaitReason(t, one.StateDir, "standby", `"two" leads`)
		p.write("a", "three")
		if v := p.await(map[string]string{"a": "three"}); v.Head.Publisher != "two" {
			t.Errorf("by %q", v.Head.Publisher)
		}
	})
}

func TestOldCopyNeverLeads(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	p := newPlaceAt(t, endpoint)
	p.write("a", "one")
	p.write("b", "one")
	one, old := p.member(endpoint, "one", p.options.Dir), p.member(endpoint, "old", t.TempDir())
	copyOf(t, old.Dir, map[string]string{"a": "zero", "b": "one"})
	stop := p.run(one)
	p.await(map[string]string{"a": "one", "b": "one"})
	p.run(old)
	awaitReason(t, old.StateDir, "holding", "must not lead", `"a" differs`, "--take-over")
	stop()
	never(t, func() bool { _, files := p.head(); return files["a"] != "one" })

	copyOf(t, old.Dir, map[string]string{"a": "one"})
	awaitReason(t, old.StateDir, "live")
	copyOf(t, old.Dir, map[string]string{"a": "two"})
	p.await(map[string]string{"a": "two", "b": "one"})
}

func TestCopyThatLagsBehindTheLastCommitDoesNotTakeItBack(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	p := newPlaceAt(t, endpoint)
	p.write("a", "one")
	one, lag := p.member(endpoint, "one", p.options.Dir), p.member(endpoint, "lag", t.TempDir())
	copyOf(t, lag.Dir, map[string]string{"a": "one"})
	stop := p.run(one)
	p.await(map[string]string{"a": "one"})
	p.run(lag)
	awaitReason(t, lag.StateDir, "standby", `"one" leads`)
	p.write("a", "two")
	p.write("new", "two")
	p.await(map[string]string{"a": "two", "new": "two"})
	stop()
	awaitReason(t, lag.StateDir, "holding", `"a" differs, the first of 2`, "lags behind")
	never(t, func() bool { _, files := p.head(); return files["a"] != "two" })

	// What is only in the copy is an edit; it travels when the copy has caught up.
	copyOf(t, lag.Dir, map[string]string{"a": "two", "c": "edit"})
	never(t, func() bool { _, files := p.head(); return files["c"] != "" })
	copyOf(t, lag.Dir, map[string]string{"new": "two"})
	if v := p.await(map[string]string{"a": "two", "c": "edit", "new": "two"}); v.Head.Publisher != "lag" {
		t.Errorf("by %q", v.Head.Publisher)
	}
}

func TestCopyThatMustNotLeadDoesNotKeepAnotherFromLeading(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	p := newPlaceAt(t, endpoint)
	p.write("a", "one")
	one, old, two := p.member(endpoint, "one", p.options.Dir), p.member(endpoint, "old", t.TempDir()), p.member(endpoint, "two", p.options.Dir)
	copyOf(t, old.Dir, map[string]string{"a": "zero"})
	stop := p.run(one)
	p.await(map[string]string{"a": "one"})
	p.run(old)
	awaitReason(t, old.StateDir, "holding")
	p.run(two)
	awaitReason(t, two.StateDir, "standby")
	stop()
	awaitReason(t, two.StateDir, "live")
	awaitReason(t, old.StateDir, "holding")
}

func TestSecondProcessWithTheSameStateWaitsForTheFirst(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	p := newPlaceAt(t, endpoint)
	p.write("a", "one")
	one := p.member(endpoint, "one", p.options.Dir)
	second := one
	waits := make(chan publisher.Status, 1000)
	second.Status = func(s publisher.Status) {
		select {
		case waits <- s:
		default:
		}
	}
	stop := p.run(one)
	p.await(map[string]string{"a": "one"})
	p.run(second)
	if s := <-waits; s.State != "standby" || !strings.Contains(s.Reason, "state directory") {
		t.Fatalf("%+v", s)
	}
	stop()
	p.write("a", "two")
	if v := p.await(map[string]string{"a": "two"}); v.Position().Generation != 2 {
		t.Errorf("generation %d", v.Position().Generation)
	}
}

func TestPushOfSomebodyElseIsNotUndoneByAStandby(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	p := newPlaceAt(t, endpoint)
	p.write("a", "one")
	one, two := p.member(endpoint, "one", p.options.Dir), p.member(endpoint, "two", p.options.Dir)
	stop := p.run(one)
	p.await(map[string]string{"a": "one"})
	p.run(two)
	awaitReason(t, two.StateDir, "standby")
	other := p.options
	other.Dir, other.StateDir, other.TakeOver = t.TempDir(), t.TempDir(), true
	copyOf(t, other.Dir, map[string]string{"a": "pushed"})
	if _, err := p.push(other, publisher.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitReason(t, two.StateDir, "holding", `"config-1"`)
	stop()
	never(t, func() bool { _, files := p.head(); return files["a"] != "pushed" })
	p.write("a", "pushed")
	awaitReason(t, two.StateDir, "live")
}

// copyOf writes files into a directory.
func copyOf(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		tmp := filepath.Join(dir, name+".new")
		if err := os.WriteFile(tmp, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// never gives something time to happen that must not: longer than taking over a seat that was
// given up.
func never(t *testing.T, happened func() bool) {
	t.Helper()
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if happened() {
			t.Fatal("it happened")
		}
	}
}
