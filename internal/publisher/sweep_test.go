//go:build !lean

package publisher_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/store"
)

// oldest returns the oldest generation that is there, and how many records are.
func (p *place) oldest() (oldest uint64, records int) {
	p.Helper()
	view, err := p.store.View(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	checked, err := p.store.Verify(p.Context(), view, store.VerifyOptions{
		Wrong:    func(err error) { p.Error(err) },
		Progress: func(string, int, int) {},
	})
	if err != nil {
		p.Fatal(err)
	}
	return view.Head.Position.Generation + 1 - uint64(checked.Records), checked.Records
}

func TestDaemonSweepsWhileItPublishes(t *testing.T) {
	p := newPlace(t)
	o := p.options
	o.Settle, o.Sweep, o.Retain = 0, 20*time.Millisecond, store.Retention{Generations: 20}
	committed := make(chan publisher.Commit, 1)
	o.Committed = func(c publisher.Commit) { committed <- c }
	var swept atomic.Int64
	o.Swept = func(n store.Count) { swept.Add(int64(n.Records)) }
	p.run(o)
	content, made := "", 0
	write := func() {
		content = fmt.Sprint("content ", made)
		p.write(fmt.Sprint("file-", made%5), content)
		<-committed
		made++
	}
	for made < 300 {
		write()
	}
	// What is retained rests on a keyframe, and those come with commits: where the last of 300
	// that were made at full speed lies is luck.
	records := made
	for until := time.Now().Add(time.Minute); records > 100; {
		if time.Now().After(until) {
			t.Fatalf("%d records of %d are left, %d were swept", records, made, swept.Load())
		}
		write()
		_, records = p.oldest()
	}
	for made%5 != 0 {
		write()
	}
	if _, files := p.head(); files["file-4"] != content || len(files) != 5 {
		t.Errorf("the head: %v", files)
	}
}

func TestDaemonSweepsOnAfterACompaction(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	raw, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	p := newPlaceAt(t, endpoint)
	p.write("a", "1")
	p.mustPush()
	o := p.options
	o.Sweep, o.Retain = 5*time.Millisecond, store.Retention{Generations: 1}
	var failed, live atomic.Bool
	o.Log = hclog.New(&hclog.LoggerOptions{Output: writer(func(line []byte) {
		if bytes.Contains(line, []byte("sweeping failed")) {
			failed.Store(true)
		}
	})})
	var sweeps atomic.Int64
	o.Status = func(s publisher.Status) { // It is told after each mark.
		live.Store(s.State == "live")
		sweeps.Add(1)
	}
	p.run(o)
	await := func(what func() bool) {
		for until := time.Now().Add(time.Minute); !what(); time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatal("a minute went by")
			}
		}
	}
	await(live.Load)
	put, err := raw.Put(t.Context(), "/another", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Compact(t.Context(), put.Header.Revision); err != nil {
		t.Fatal(err)
	}
	from := sweeps.Load()
	await(func() bool { return sweeps.Load() > from+10 })
	if failed.Load() {
		t.Error("a sweep failed, because what it looked at had been compacted")
	}
}

// writer is an io.Writer.
type writer func(line []byte)

func (w writer) Write(line []byte) (int, error) {
	w(line)
	return len(line), nil
}

func TestWhoHoldsDoesNotSweep(t *testing.T) {
	p := newPlace(t)
	p.write("a", "1")
	p.mustPush()
	other := newPlaceOf(p)
	other.write("a", "2")
	o := other.options
	var swept atomic.Bool
	held := make(chan struct{}, 1)
	o.Sweep, o.Retain = 10*time.Millisecond, store.Retention{Generations: 1}
	o.Swept = func(store.Count) { swept.Store(true) }
	o.Status = func(s publisher.Status) {
		if s.State == "holding" {
			select {
			case held <- struct{}{}:
			default:
			}
		}
	}
	other.run(o)
	<-held
	for i := range 40 { // there would be something to sweep
		p.write("a", fmt.Sprint("again ", i))
		p.options.Retain = store.Retention{Generations: 1}
		p.mustPush()
	}
	if swept.Load() {
		t.Error("it swept")
	}
	if oldest, records := p.oldest(); oldest != 1 || records != 41 {
		t.Errorf("%d records are left, from generation %d on", records, oldest)
	}
}

// newPlaceOf returns another directory and publisher at the same etcd.
func newPlaceOf(p *place) *place {
	other := &place{T: p.T, store: p.store, options: p.options}
	other.options.Dir, other.options.StateDir, other.options.Name = p.TempDir(), p.TempDir(), "config-2"
	return other
}

// A registration that was changed since the last commit keeps nothing from being swept.
func TestDaemonSweepsAfterTheRegistrationWasChanged(t *testing.T) {
	p := newPlace(t)
	o := p.options
	o.Sweep, o.Retain = 20*time.Millisecond, store.Retention{Generations: 20}
	var packs atomic.Int64
	o.Swept = func(n store.Count) { packs.Add(int64(n.Packs)) }
	p.write("a", "1")
	p.run(o)
	p.await(map[string]string{"a": "1"})
	p.state("live")
	on, err := p.store.Standing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.store.Register(t.Context(), on, codec.Registration{ID: on.View.Head.Position.Tenant, QuotaFiles: 9}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := p.store.StageKeyframe(t.Context(), on.View, nil); err != nil { // Nothing names its packs.
		t.Fatal(err)
	}
	// The daemon sees another head, which it need not follow by a commit.
	if _, err := p.store.MoveChannel(t.Context(), "stable", on.View.Head.Position); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(time.Minute); packs.Load() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("nothing was swept")
		}
	}
}
