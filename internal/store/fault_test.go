//go:build !lean

package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"

	"github.com/hashicorp/go-hclog"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/confsyncd/confsyncd/internal/devetcd"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// heals is how long a fault may go on being felt after it healed.
const heals = 20 * time.Second

// rawClient speaks to etcd without the store's knowledge.
func rawClient(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

const (
	pubKey   = "/confsyncd/prod/pub/"
	headKey  = pubKey + "head"
	packsKey = pubKey + "packs/"
)

func logKey(generation uint64) string { return fmt.Sprintf("%slog/%016x", pubKey, generation) }

// generations counts the records that lie in etcd.
func generations(t *testing.T, raw *clientv3.Client) int64 {
	t.Helper()
	resp, err := raw.Get(t.Context(), pubKey+"log/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return resp.Count
}

// within waits until ok, and fails the test if that takes longer than d.
func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, d)
		}
	}
}

// faulty is a tenant whose store reaches etcd through a proxy, and which other hands
// reach directly.
type faulty struct {
	*fixture
	proxy  *lab.Proxy
	direct *fixture
	raw    *clientv3.Client
}

func newFaulty(t *testing.T) *faulty {
	endpoint := devetcdtest.Start(t)
	p := lab.NewProxy(t, endpoint)
	f, _ := newFixtureAt(t, p.Endpoint())
	direct, _ := newFixtureAt(t, endpoint)
	return &faulty{fixture: f, proxy: p, direct: direct, raw: rawClient(t, endpoint)}
}

type outcome struct {
	head *store.Head
	err  error
}

// commitLater commits in the background.
func (f *faulty) commitLater(ctx context.Context, base *store.Head, files map[string]string, packed bool) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		h, err := f.commitWith(ctx, base, files, packed)
		done <- outcome{h, err}
	}()
	return done
}

func (f *faulty) takes(done <-chan outcome, d time.Duration) outcome {
	f.Helper()
	select {
	case o := <-done:
		return o
	case <-time.After(d):
		f.Fatalf("the commit has not ended after %v", d)
		return outcome{}
	}
}

// outOfSpace raises etcd's alarm, or disarms it.
func (f *faulty) outOfSpace(action pb.AlarmRequest_AlarmAction) {
	f.Helper()
	_, err := pb.NewMaintenanceClient(f.raw.ActiveConnection()).Alarm(f.Context(), &pb.AlarmRequest{Action: action, Alarm: pb.AlarmType_NOSPACE})
	if err != nil {
		f.Fatal(err)
	}
}

// applied waits until a generation's head is in etcd, whatever the committer knows.
func (f *faulty) applied(generation uint64) *store.Head {
	f.Helper()
	var head *store.Head
	within(f.T, heals, "the commit is applied", func() bool {
		head = f.direct.view().Head
		return head != nil && head.Position.Generation == generation
	})
	return head
}

func TestCommitWhoseReplyWasLost(t *testing.T) {
	t.Run("is found", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		f.view() // so that it is connected
		f.proxy.Do(lab.Harm{DropAnswers: true})
		done := f.commitLater(t.Context(), nil, map[string]string{"a": "one"}, false)
		f.applied(1)
		f.proxy.Heal()
		o := f.takes(done, heals)
		if o.err != nil || o.head.Position.Generation != 1 {
			t.Fatalf("%+v: %v", o.head, o.err)
		}
		if n := generations(t, f.raw); n != 1 {
			t.Errorf("%d generations", n)
		}
		// The head that it returns can be built upon.
		f.mustCommit(o.head, map[string]string{"a": "two"}, false)
		f.check(store.Have{}, f.view())
	})
	t.Run("is found however long etcd is away", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		f.view()
		f.proxy.Do(lab.Harm{DropAnswers: true})
		done := f.commitLater(t.Context(), nil, map[string]string{"a": "one"}, false)
		f.applied(1)
		f.proxy.Cut()
		select { // longer than one call may take
		case o := <-done:
			t.Fatalf("gave up: %v", o.err)
		case <-time.After(6 * time.Second):
		}
		f.proxy.Heal()
		if o := f.takes(done, heals); o.err != nil || o.head.Position.Generation != 1 {
			t.Fatalf("%+v: %v", o.head, o.err)
		}
		if n := generations(t, f.raw); n != 1 {
			t.Errorf("%d generations", n)
		}
	})
	t.Run("is found below another's commit", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		h1 := f.mustCommit(nil, map[string]string{"a": "one"}, false)
		f.proxy.Do(lab.Harm{DropAnswers: true})
		done := f.commitLater(t.Context(), h1, map[string]string{"b": "two"}, false)
		h2 := f.applied(2)
		f.direct.tree = entries(t, "a", "one", "b", "two")
		f.direct.mustCommit(h2, map[string]string{"c": "three"}, false)
		f.proxy.Heal()
		o := f.takes(done, heals)
		// Its own head, not the newest: the committer knows the tree of no other.
		if o.err != nil || o.head.Position != h2.Position {
			t.Fatalf("%+v: %v", o.head, o.err)
		}
		if n := generations(t, f.raw); n != 3 {
			t.Errorf("%d generations", n)
		}
	})
	t.Run("loses the race if another's came first", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		h1 := f.mustCommit(nil, map[string]string{"a": "one"}, false)
		f.proxy.Do(lab.Harm{HoldRequests: true, HoldAnswers: true})
		f.direct.tree = f.tree
		done := f.commitLater(t.Context(), h1, map[string]string{"b": "two"}, false)
		f.direct.mustCommit(h1, map[string]string{"c": "three"}, false)
		f.proxy.Heal()
		if o := f.takes(done, heals); !errors.Is(o.err, store.ErrLostRace) {
			t.Fatalf("%+v: %v", o.head, o.err)
		}
	})
	t.Run("is ambiguous while it may still arrive", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		store.Impatient(f.store)
		f.view()
		f.proxy.Delay()
		done := f.commitLater(t.Context(), nil, map[string]string{"a": "one"}, false)
		within(t, heals, "the commit is on its way", func() bool { return f.proxy.Delayed(logKey(1)) })
		f.proxy.Abandon()
		if o := f.takes(done, heals); !errors.Is(o.err, store.ErrAmbiguous) || errors.Is(o.err, store.ErrNotApplied) {
			t.Errorf("%+v: %v", o.head, o.err)
		}
		if f.direct.view().Head != nil {
			t.Fatal("it has arrived already")
		}
		f.proxy.Release()
		f.applied(1)
	})
	t.Run("is ambiguous while it may still arrive, although it is refused when sent again", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		f.view()
		f.proxy.Delay()
		done := f.commitLater(t.Context(), nil, map[string]string{"a": "one"}, false)
		within(t, heals, "the commit is on its way", func() bool { return f.proxy.Delayed(logKey(1)) })
		f.outOfSpace(pb.AlarmRequest_ACTIVATE)
		f.proxy.Abandon()
		if o := f.takes(done, heals); !errors.Is(o.err, store.ErrAmbiguous) || !errors.Is(o.err, store.ErrRefused) {
			t.Errorf("%+v: %v", o.head, o.err)
		}
		f.outOfSpace(pb.AlarmRequest_DEACTIVATE)
		f.proxy.Release()
		f.applied(1)
	})
	t.Run("is ambiguous if the context ends", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		f.view()
		f.proxy.Do(lab.Harm{DropAnswers: true})
		ctx, cancel := context.WithCancel(t.Context())
		done := f.commitLater(ctx, nil, map[string]string{"a": "one"}, false)
		f.applied(1)
		cancel()
		if o := f.takes(done, 10*time.Second); !errors.Is(o.err, store.ErrAmbiguous) {
			t.Fatalf("%+v: %v", o.head, o.err)
		}
	})
	t.Run("stays ambiguous if etcd is away until the context ends", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		f.view()
		f.proxy.Do(lab.Harm{DropAnswers: true})
		ctx, cancel := context.WithCancel(t.Context())
		done := f.commitLater(ctx, nil, map[string]string{"a": "one"}, false)
		f.applied(1)
		f.proxy.Cut()
		select { // several tries to read it back
		case o := <-done:
			t.Fatalf("gave up: %v", o.err)
		case <-time.After(time.Second):
		}
		cancel()
		if o := f.takes(done, 10*time.Second); !errors.Is(o.err, store.ErrAmbiguous) {
			t.Fatalf("%+v: %v", o.head, o.err)
		}
	})
}

func TestCommitWhileEtcdIsAway(t *testing.T) {
	for _, connected := range []bool{false, true} {
		t.Run(fmt.Sprintf("ends when it is back, connected before: %v", connected), func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			if connected {
				f.view()
			}
			f.proxy.Cut()
			done := f.commitLater(t.Context(), nil, map[string]string{"a": "one"}, false)
			select {
			case o := <-done:
				t.Fatalf("%+v: %v", o.head, o.err)
			case <-time.After(1500 * time.Millisecond):
			}
			f.proxy.Heal()
			if o := f.takes(done, heals); o.err != nil || o.head.Position.Generation != 1 {
				t.Fatalf("%+v: %v", o.head, o.err)
			}
			if n := generations(t, f.raw); n != 1 {
				t.Errorf("%d generations", n)
			}
			f.check(store.Have{}, f.view())
		})
	}
	t.Run("ends with its context", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		f.view()
		f.proxy.Cut()
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		defer cancel()
		o := f.takes(f.commitLater(ctx, nil, map[string]string{"a": "one"}, false), 10*time.Second)
		if !errors.Is(o.err, store.ErrAmbiguous) && !errors.Is(o.err, context.DeadlineExceeded) {
			t.Fatalf("%+v: %v", o.head, o.err)
		}
	})
	t.Run("ends with its context although connections hang", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		f.view()
		f.proxy.Do(lab.Harm{HoldRequests: true, HoldAnswers: true})
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		o := f.takes(f.commitLater(ctx, nil, map[string]string{"a": "one"}, false), 10*time.Second)
		if !errors.Is(o.err, store.ErrAmbiguous) {
			t.Fatalf("%+v: %v", o.head, o.err)
		}
	})
	t.Run("stages its packs when it is back", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		f.view()
		f.proxy.Cut()
		done := f.commitLater(t.Context(), nil, manyFiles(20, 300_000, 1), true)
		select {
		case o := <-done:
			t.Fatalf("%+v: %v", o.head, o.err)
		case <-time.After(time.Second):
		}
		f.proxy.Heal()
		if o := f.takes(done, heals); o.err != nil {
			t.Fatal(o.err)
		}
		f.check(store.Have{}, f.view())
	})
	t.Run("leaves no head if its packs were not staged", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		f.view()
		f.proxy.Do(lab.Harm{HoldRequests: true, HoldAnswers: true})
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if o := f.takes(f.commitLater(ctx, nil, manyFiles(20, 300_000, 1), true), 10*time.Second); o.err == nil {
			t.Fatalf("%+v", o.head)
		}
		f.proxy.Heal()
		if f.direct.view().Head != nil {
			t.Error("a head without its packs")
		}
	})
}

// follower follows in the background until the test ends.
func (f *faulty) follower() *store.Feed {
	ctx, cancel := context.WithCancel(context.Background())
	feed := store.NewFeed()
	done := make(chan error, 1)
	go func() { done <- f.store.Follow(ctx, feed) }()
	f.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.Error(err)
		}
	})
	return feed
}

// sees waits until the feed's newest view is ok.
func sees(t *testing.T, feed *store.Feed, what string, ok func(store.View) bool) store.View {
	t.Helper()
	timeout := time.After(heals)
	for {
		select {
		case <-feed.Changed():
			if v, seen := feed.Take(); seen && ok(v) && feed.Err() == nil {
				return v
			}
		case <-timeout:
			t.Fatalf("%s: not seen within %v; %v", what, heals, feed.Err())
		}
	}
}

func atGeneration(n uint64) func(store.View) bool {
	return func(v store.View) bool {
		if v.Head == nil {
			return n == 0
		}
		return v.Head.Position.Generation == n
	}
}

func TestFollowAfterTheConnectionWasCut(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	h := f.mustCommit(nil, map[string]string{"a": "one"}, false)
	feed := f.follower()
	sees(t, feed, "the first head", atGeneration(1))
	f.proxy.Cut()
	within(t, heals, "the feed says that etcd is away", func() bool { return feed.Err() != nil })
	f.direct.tree = f.tree
	for i := range 3 {
		h = f.direct.mustCommit(h, map[string]string{"a": fmt.Sprint(i)}, false)
	}
	f.proxy.Heal()
	v := sees(t, feed, "the newest head", atGeneration(4))
	f.direct.check(store.Have{}, v)
}

// member is an etcd that can be stopped, and started on other data.
type member struct {
	*testing.T
	dir    string
	server *devetcd.Server
}

func startMember(t *testing.T, dir string) *member {
	t.Helper()
	s, err := devetcd.Start(t.Context(), devetcd.Options{Dir: dir, NoFsync: true, Log: hclog.NewNullLogger()})
	if err != nil {
		t.Fatal(err)
	}
	m := &member{T: t, dir: dir, server: s}
	t.Cleanup(m.stop)
	return m
}

func (m *member) stop() {
	if m.server != nil {
		m.server.Close()
		m.server = nil
	}
}

// replace leads the proxy to an etcd with the data in dir, in place of m.
func (f *faulty) replace(m *member, dir string) *member {
	f.Helper()
	f.proxy.Cut()
	m.stop()
	next := startMember(f.T, dir)
	f.proxy.Lead(next.server.Endpoint())
	f.proxy.Heal()
	return next
}

func newFaultyAt(t *testing.T, m *member) *faulty {
	p := lab.NewProxy(t, m.server.Endpoint())
	f, _ := newFixtureAt(t, p.Endpoint())
	return &faulty{fixture: f, proxy: p}
}

// A new etcd has the same cluster id as the old one, and its revisions begin anew: a
// watch that were only resumed would stay open and deaf.
func TestFollowAfterEtcdWasWiped(t *testing.T) {
	t.Parallel()
	m := startMember(t, t.TempDir())
	f := newFaultyAt(t, m)
	h := f.mustCommit(nil, map[string]string{"a": "one"}, false)
	f.mustCommit(h, map[string]string{"a": "two"}, false)
	old := f.view()
	feed := f.follower()
	sees(t, feed, "the head", atGeneration(2))
	f.replace(m, t.TempDir())
	sees(t, feed, "that there is no head", atGeneration(0))
	if _, err := f.store.Resolve(t.Context(), store.Have{}, old); !errors.Is(err, store.ErrGone) {
		t.Errorf("a view of the old etcd resolves with %v", err)
	}
	h = f.mustCommit(nil, map[string]string{"a": "again"}, false)
	sees(t, feed, "the first head of the new etcd", func(v store.View) bool {
		return v.Head != nil && v.Head.Position == h.Position
	})
}

func TestFollowAfterEtcdWasRestored(t *testing.T) {
	t.Parallel()
	dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	m := startMember(t, dir)
	f := newFaultyAt(t, m)
	h1 := f.mustCommit(nil, map[string]string{"a": "one"}, false)
	f.proxy.Cut()
	m.stop()
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	m = f.replace(m, dir)
	h2 := f.mustCommit(h1, map[string]string{"a": "two"}, false)
	h3 := f.mustCommit(h2, map[string]string{"a": "three"}, false)
	have := store.Have{Position: h3.Position, Tree: f.tree}
	feed := f.follower()
	sees(t, feed, "the head", atGeneration(3))
	f.replace(m, backup)
	v := sees(t, feed, "the head of the backup", atGeneration(1))
	if v.Head.Position != h1.Position {
		t.Errorf("the head is %+v", v.Head)
	}
	if _, err := f.store.Resolve(t.Context(), have, v); !errors.Is(err, store.ErrRewound) {
		t.Errorf("who is ahead resolves with %v", err)
	}
	if held, err := f.store.Holds(t.Context(), v, h3.Position); held || err != nil {
		t.Errorf("the history holds what was rewound: %v, %v", held, err)
	}
	// What is watched on the restored etcd is seen too.
	f.tree = entries(t, "a", "one")
	other := f.mustCommit(v.Head, map[string]string{"a": "other two"}, false)
	sees(t, feed, "the next head", atGeneration(2))
	have.Position, have.Tree = h2.Position, entries(t, "a", "two")
	h := f.mustCommit(other, map[string]string{"a": "other three"}, false)
	v = sees(t, feed, "the head after it", atGeneration(3))
	if v.Head.Position != h.Position {
		t.Errorf("the head is %+v", v.Head)
	}
	if _, err := f.store.Resolve(t.Context(), have, v); !errors.Is(err, store.ErrRewound) {
		t.Errorf("who is at a commit that was rewound resolves with %v", err)
	}
}

// On a link that needs longer for one Txn of packs than a small call may take, a large
// commit arrives nevertheless, and so do its contents.
func TestLargeCommitOverASlowLink(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	f := newFaulty(t)
	f.view()
	noise := make([]byte, 1<<20)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	f.proxy.Do(lab.Harm{Delay: 6 * time.Millisecond, Piece: 1 << 10}) // 6 s for a MiB
	done := f.commitLater(t.Context(), nil, map[string]string{"a": string(noise)}, true)
	if o := f.takes(done, time.Minute); o.err != nil {
		t.Fatal(o.err)
	}
	v, err := f.store.Resolve(t.Context(), store.Have{}, f.view())
	if err != nil {
		t.Fatal(err)
	}
	e, _ := v.Tree.Get("a")
	within(t, time.Minute, "the contents are read", func() bool {
		err := v.Fetch(t.Context(), []diff.Entry{e}, nil, func(diff.Entry, []byte) error { return nil })
		if err != nil && !store.Temporary(err) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// A pack that could not be read is read again, so that those before it are not.
func TestFetchWhoseReadsFailNowAndThen(t *testing.T) {
	t.Parallel()
	endpoint := devetcdtest.Start(t)
	relay := lab.NewRelay(t, endpoint)
	f, _ := newFixtureAt(t, relay.Endpoint())
	files := make(map[string]string)
	for i := range 12 {
		noise := make([]byte, 512<<10)
		if _, err := rand.Read(noise); err != nil {
			t.Fatal(err)
		}
		files[fmt.Sprint(i)] = string(noise)
	}
	f.mustCommit(nil, files, true)
	var reads, failed atomic.Int64
	relay.Judge(func(c lab.RPC) lab.Verdict {
		if c.Method == "KV/Range" && bytes.Contains(c.Request, []byte(packsKey)) && reads.Add(1)%3 == 0 {
			failed.Add(1)
			return lab.Verdict{Code: codes.Canceled}
		}
		return lab.Verdict{}
	})
	f.check(store.Have{}, f.view())
	if failed.Load() < 4 {
		t.Errorf("only %d reads failed", failed.Load())
	}
}

func TestClientThatIsClosed(t *testing.T) {
	// With a user's name, making the connection waits for etcd's answer.
	newClient := func(t *testing.T, p *lab.Proxy) *store.Client {
		password := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c := store.NewClient(store.Config{
			Endpoints: []string{p.Endpoint()}, Prefix: "/confsyncd", Username: "root", PasswordFile: password, Log: hclog.NewNullLogger(),
		})
		t.Cleanup(func() { c.Close() })
		return c
	}
	t.Run("stays closed", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, lab.NewProxy(t, devetcdtest.Start(t)))
		if _, err := c.Tenant("prod").View(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if _, err := c.Tenant("prod").View(t.Context()); !errors.Is(err, store.ErrUnreachable) {
			t.Errorf("%v", err)
		}
	})
	t.Run("while it connects", func(t *testing.T) {
		t.Parallel()
		p := lab.NewProxy(t, devetcdtest.Start(t))
		p.Do(lab.Harm{HoldRequests: true})
		c := newClient(t, p)
		done := make(chan error, 1)
		go func() {
			_, err := c.Tenant("prod").View(t.Context())
			done <- err
		}()
		within(t, heals, "it connects", func() bool { return p.Connected() })
		c.Close()
		p.Heal()
		select {
		case err := <-done:
			if !errors.Is(err, store.ErrUnreachable) {
				t.Errorf("%v", err)
			}
		case <-time.After(heals):
			t.Fatal("the call has not ended")
		}
	})
}
