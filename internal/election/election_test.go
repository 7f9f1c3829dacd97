//go:build !lean

package election_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/devetcd"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/election"
	"github.com/confsyncd/confsyncd/internal/store"
)

const (
	// ttl is that of leases that are to run out; the embedded etcd allows 1 s.
	ttl = time.Second
	// long is that of leases that do not within a test: whatever changes hands was given up.
	long = time.Minute
)

// member is one process's part in an election.
type member struct {
	*election.Election
	name   string
	client *store.Client
	stop   func() // ends it as TERM does
}

func join(t *testing.T, endpoint, name string, ttl time.Duration) *member {
	t.Helper()
	c := store.NewClient(store.Config{Endpoints: []string{endpoint}, Prefix: "/confsyncd", Log: hclog.NewNullLogger()})
	m := &member{name: name, client: c, Election: election.New(election.Options{
		Store: c.Tenant("prod"), TTL: ttl, Log: hclog.NewNullLogger(),
		Who: codec.Candidate{Publisher: name, Instance: "instance-" + name, Host: "h"},
	})}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		c.Close()
	})
	t.Cleanup(m.stop)
	return m
}

// awaits waits until a member's state is as wanted, and returns how long that took.
func (m *member) awaits(t *testing.T, within time.Duration, what string, ok func(election.State) bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !ok(m.State()) {
		if time.Since(begin) > within {
			t.Fatalf("%s: not within %v: %s: %+v", m.name, within, what, m.State())
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(begin)
}

func (m *member) leads(t *testing.T, within time.Duration) time.Duration {
	t.Helper()
	return m.awaits(t, within, "leads", election.State.Leads)
}

func (m *member) follows(t *testing.T, leader string) {
	t.Helper()
	m.awaits(t, 30*time.Second, "follows "+leader, func(s election.State) bool { return !s.Leads() && s.Leader.Publisher == leader })
}

func raw(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

const electionKeys = "/confsyncd/prod/ctl/election/"

func seats(t *testing.T, c *clientv3.Client) int64 {
	t.Helper()
	resp, err := c.Get(t.Context(), electionKeys, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return resp.Count
}

func TestNobodyStandsUntilTold(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	a := join(t, endpoint, "a", long)
	<-a.Changed()
	if s := a.State(); s.Leads() || s.Leader != (codec.Candidate{}) || seats(t, raw(t, endpoint)) != 0 {
		t.Fatalf("%+v", s)
	}
}

func TestOneLeadsAndTheNextTakesOverAtOnce(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	a, b, c := join(t, endpoint, "a", long), join(t, endpoint, "b", long), join(t, endpoint, "c", long)
	a.Stand(true)
	a.leads(t, 30*time.Second)
	b.Stand(true)
	b.follows(t, "a")
	b.awaits(t, 30*time.Second, "sees itself", func(election.State) bool { return b.Peer("instance-b") && b.Peer("instance-a") })
	c.Stand(true)
	c.follows(t, "a")
	a.stop()
	t.Logf("b leads %v after a has left", b.leads(t, long/2))
	c.follows(t, "b")
	// Who no longer wants to, leaves too; and comes back behind the others.
	b.Stand(false)
	c.leads(t, long/2)
	b.follows(t, "c")
	b.Stand(true)
	b.follows(t, "c")
	c.stop()
	b.leads(t, long/2)
	b.stop()
	if n := seats(t, raw(t, endpoint)); n != 0 {
		t.Errorf("%d seats are left", n)
	}
}

func TestSeatThatIsTakenAwayIsTakenAnew(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	a := join(t, endpoint, "a", long)
	a.Stand(true)
	a.leads(t, 30*time.Second)
	seat := a.State().Seat
	etcd := raw(t, endpoint)
	for what, take := range map[string]func() error{
		"its key": func() error {
			_, err := etcd.Delete(t.Context(), electionKeys, clientv3.WithPrefix())
			return err
		},
		"its lease": func() error {
			leases, err := etcd.Leases(t.Context())
			for _, l := range leases.Leases {
				if err == nil {
					_, err = etcd.Revoke(t.Context(), l.ID)
				}
			}
			return err
		},
		"what a commit has found": func() error { a.Deposed(seat); return nil },
	} {
		t.Run(what, func(t *testing.T) {
			seat = a.State().Seat
			if err := take(); err != nil {
				t.Fatal(err)
			}
			a.awaits(t, 30*time.Second, "leads by another seat", func(s election.State) bool { return s.Leads() && s.Seat != seat })
			seat = a.State().Seat
		})
	}
	if n := seats(t, etcd); n != 1 {
		t.Errorf("%d seats", n)
	}
}

func TestSeatThatAKilledProcessLeftIsNotWaitedFor(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	c := store.NewClient(store.Config{Endpoints: []string{endpoint}, Prefix: "/confsyncd", Log: hclog.NewNullLogger()})
	defer c.Close()
	// Nobody renews it, as after kill -9, for a minute.
	left, err := c.Tenant("prod").Stand(t.Context(), codec.Candidate{Publisher: "a", Instance: "instance-a"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer left.Leave(t.Context()) //nolint:errcheck // Only tidying up.
	a := join(t, endpoint, "a", long)
	a.Stand(true)
	a.leads(t, 30*time.Second)
}

func TestTwoWithACopiedStateDoNotTakeTurns(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	a, b := join(t, endpoint, "a", long), join(t, endpoint, "a", long)
	a.Stand(true)
	a.leads(t, 30*time.Second)
	b.Stand(true)
	b.leads(t, 30*time.Second)
	a.awaits(t, 30*time.Second, "stands behind", func(s election.State) bool { return !s.Leads() && seats(t, raw(t, endpoint)) == 2 })
	seat := b.State().Seat
	time.Sleep(2 * ttl)
	if s := b.State(); s.Seat != seat || a.State().Leads() {
		t.Errorf("%+v", s)
	}
}

func TestKeyWithoutALeaseLeadsNobody(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	if _, err := raw(t, endpoint).Put(t.Context(), electionKeys+"1", "by hand"); err != nil {
		t.Fatal(err)
	}
	a := join(t, endpoint, "a", long)
	a.Stand(true)
	a.leads(t, 30*time.Second)
}

// server is an etcd that is stopped and started again at the same address.
type server struct {
	t       *testing.T
	dir     string
	address string
	*devetcd.Server
}

func (s *server) start() {
	s.t.Helper()
	var err error
	s.Server, err = devetcd.Start(context.Background(), devetcd.Options{Dir: s.dir, Address: s.address, NoFsync: true, Log: hclog.NewNullLogger()})
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestElectionGoesOnAfterEtcd(t *testing.T) {
	for name, fault := range map[string]func(s *server){
		"was away longer than a lease":  func(*server) { time.Sleep(3 * ttl) },
		"was wiped":                     func(s *server) { s.dir = s.t.TempDir() },
		"was away longer and was wiped": func(s *server) { time.Sleep(3 * ttl); s.dir = s.t.TempDir() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{t: t, dir: t.TempDir(), address: devetcdtest.Address()}
			s.start()
			defer func() { s.Close() }()
			a, b := join(t, "http://"+s.address, "a", ttl), join(t, "http://"+s.address, "b", ttl)
			defer b.stop()
			defer a.stop()
			a.Stand(true)
			a.leads(t, 30*time.Second)
			b.Stand(true)
			b.follows(t, "a")
			s.Close()
			fault(s)
			s.start()
			begin := time.Now()
			one := func() bool {
				return a.State().Leads() != b.State().Leads() && seats(t, raw(t, "http://"+s.address)) == 2
			}
			for !one() {
				if time.Since(begin) > 30*time.Second {
					t.Fatalf("%+v\n%+v", a.State(), b.State())
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Logf("one leads %v after etcd is back", time.Since(begin))
		})
	}
}

func TestManyLeaveAndComeBack(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	var members []*member
	for i := range 5 {
		m := join(t, endpoint, fmt.Sprint(i), long)
		m.Stand(true)
		members = append(members, m)
	}
	for i := range 20 {
		var leader *member
		members[0].awaits(t, 30*time.Second, "one leads", func(election.State) bool {
			for _, m := range members {
				if m.State().Leads() {
					leader = m
				}
			}
			return leader != nil
		})
		leader.Stand(false)
		leader.awaits(t, 30*time.Second, fmt.Sprintf("leaves, round %d", i), func(s election.State) bool { return !s.Leads() })
		leader.Stand(true)
	}
}
