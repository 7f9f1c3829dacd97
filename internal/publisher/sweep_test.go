//go:build !lean

package publisher_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
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
	content := ""
	for i := range 300 {
		content = fmt.Sprint("content ", i)
		p.write(fmt.Sprint("file-", i%5), content)
		<-committed
	}
	for until := time.Now().Add(time.Minute); ; {
		_, records := p.oldest()
		if records <= 100 && swept.Load() >= 200 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("%d records are left, %d were swept", records, swept.Load())
		}
		time.Sleep(50 * time.Millisecond)
	}
	if _, files := p.head(); files["file-4"] != content || len(files) != 5 {
		t.Errorf("the head: %v", files)
	}
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
