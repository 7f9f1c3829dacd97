//go:build !lean

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// standbys are publishers that share one directory, each on a host of its own, and a host
// that gets the files.
type standbys struct {
	*lab.Lab
	t       *testing.T
	seed    uint64
	w       *lab.Writer
	ttl     time.Duration
	flags   []string // besides those of the election
	members []*lab.Host
	target  *lab.Host
}

// newStandbys starts that many publishers, the first of which leads, and an agent.
func newStandbys(t *testing.T, n int, ttl time.Duration, flags ...string) *standbys {
	t.Helper()
	s := &standbys{Lab: newLab(t), t: t, seed: seed(t), ttl: ttl, flags: flags}
	shared := filepath.Join(s.Dir, "shared")
	s.do(os.Mkdir(shared, 0o755))
	var err error
	s.w, err = lab.NewWriter(shared, s.seed)
	s.do(err)
	s.do(s.w.Fill(40))
	for i := range n {
		h := s.Host(t, "fleet", fmt.Sprint("publisher-", i))
		h.Dir = shared
		s.members = append(s.members, h)
		s.do(s.start(i))
		if i == 0 {
			s.state(0, "live")
		} else {
			s.state(i, "standby")
		}
	}
	s.target = s.Host(t, "fleet", "target")
	s.do(s.target.Start("agent"))
	s.arrives("from the start")
	return s
}

func (s *standbys) do(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *standbys) start(i int) error {
	flags := append([]string{"--standby", "shared", "--standby-ttl", s.ttl.String(), "--publisher", fmt.Sprint("publisher-", i)}, s.flags...)
	return s.members[i].Start("publish", flags...)
}

// state waits until a member is in a state, and returns the reason that its status gives.
func (s *standbys) state(i int, state string) string {
	s.t.Helper()
	var reason string
	_, err := lab.Eventually(within, func() error {
		got := s.members[i].Status(s.t)
		if len(got.Sources) != 1 || got.Sources[0].State != state {
			return fmt.Errorf("publisher %d: %+v, want %s", i, got.Sources, state)
		}
		reason = got.Sources[0].Reason
		return nil
	})
	if err != nil {
		s.t.Fatalf("%v\n%s", err, lab.Tail(s.members[i].Log))
	}
	return reason
}

// one waits until one leads and all others stand by.
func (s *standbys) one() {
	s.t.Helper()
	_, err := lab.Eventually(within, func() error {
		states := make(map[string]int)
		for _, m := range s.members {
			states[m.Status(s.t).Sources[0].State]++
		}
		if states["live"] != 1 || states["standby"] != len(s.members)-1 {
			return fmt.Errorf("%v", states)
		}
		return nil
	})
	s.do(err)
}

// edit replaces a few files.
func (s *standbys) edit() {
	s.t.Helper()
	files := s.w.Paths(func(n lab.Node) bool { return n.Mode.IsRegular() })
	for range 3 {
		s.do(s.w.Put(s.w.Pick(files)))
	}
}

// arrives waits until the target has what the shared directory has, and returns how long
// that took.
func (s *standbys) arrives(when string) time.Duration {
	s.t.Helper()
	took, err := lab.Equal(s.w.Model, s.target.Dir, within)
	if err != nil {
		logs := ""
		for _, m := range s.members {
			logs += "\n" + lab.Tail(m.Log)
		}
		s.t.Fatalf("%s: %v%s", when, err, logs)
	}
	return took
}

// linear returns an error unless the history is whole, with no generation twice and none
// left out, and all that is logged as committed is in it.
func (s *standbys) linear() error {
	r := s.target.Command(s.t, "verify", "--tenant", "fleet")
	if r.Code != 0 {
		return fmt.Errorf("verify: %v", r)
	}
	r = s.target.Command(s.t, "log", "--tenant", "fleet", "-n", "0", "-o", "json")
	type commit struct {
		Message    string `json:"@message"`
		Generation uint64
		Commit     string
		Publisher  string
	}
	by := make(map[uint64]commit)
	for line := range strings.Lines(r.Out) {
		var c commit
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			return fmt.Errorf("log: %w: %v", err, r)
		}
		if _, ok := by[c.Generation]; ok {
			return fmt.Errorf("generation %d twice", c.Generation)
		}
		by[c.Generation] = c
	}
	for i, m := range s.members {
		b, err := os.ReadFile(m.Log)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			var c commit
			if json.Unmarshal([]byte(line), &c) != nil || c.Message != "committed" {
				continue
			}
			if got := by[c.Generation]; got.Commit != c.Commit || got.Publisher != fmt.Sprint("publisher-", i) {
				return fmt.Errorf("generation %d, committed by publisher-%d as %s, is %q's %s in etcd", c.Generation, i, c.Commit, got.Publisher, got.Commit)
			}
		}
	}
	if n := uint64(len(by)); by[n].Generation != n {
		return fmt.Errorf("%d generations with gaps", n)
	}
	s.t.Logf("%d generations, all as logged", len(by))
	return nil
}

func TestStandbyTakesOver(t *testing.T) {
	for _, ttl := range []time.Duration{2 * time.Second, 4 * time.Second, 6 * time.Second} {
		t.Run("from a leader that is killed, ttl "+ttl.String(), func(t *testing.T) {
			if ttl > 2*time.Second {
				skipLong(t)
			}
			t.Parallel()
			took := afterAKill(t, ttl)
			for try := 1; try < 3 && took > 2*ttl; try++ { // The machine may have stood still.
				took = afterAKill(t, ttl)
			}
			if took > 2*ttl {
				t.Errorf("that is more than 2 × %v", ttl)
			}
		})
	}
	const long = 30 * time.Second // Nobody waits for the end of such a lease.
	t.Run("from a leader that is told to end", func(t *testing.T) {
		t.Parallel()
		s := newStandbys(t, 2, long)
		for i := range 3 {
			from, to := i%2, (i+1)%2
			begin := time.Now()
			s.do(s.members[from].Stop())
			stopped := time.Since(begin)
			s.edit()
			s.arrives("by the standby")
			t.Logf("TERM: the leader has ended after %v, an edit made then is on the target after %v", stopped, time.Since(begin)-stopped)
			if time.Since(begin)-stopped > long/2 {
				t.Error("that is not at once")
			}
			s.state(to, "live")
			s.do(s.start(from))
			s.state(from, "standby")
		}
		s.do(s.linear())
	})
	t.Run("from nobody: a lone one that was killed goes on at once", func(t *testing.T) {
		t.Parallel()
		s := newStandbys(t, 1, long)
		s.do(s.members[0].Daemon.Kill())
		s.edit()
		begin := time.Now()
		s.do(s.start(0))
		s.arrives("after the restart")
		t.Logf("an edit is on the target %v after the restart", time.Since(begin))
		if time.Since(begin) > long/2 {
			t.Error("it waited for its own lease")
		}
	})
}

// afterAKill kills a leader, and returns how long it takes until what it had not committed is
// on the target.
func afterAKill(t *testing.T, ttl time.Duration) time.Duration {
	s := newStandbys(t, 2, ttl)
	s.edit()
	s.arrives("by the leader")
	// An edit that the leader has not committed when it is killed.
	hold := filepath.Join(s.w.Dir, ".confsyncd-hold")
	s.do(os.WriteFile(hold, nil, 0o600))
	s.edit()
	s.do(s.members[0].Daemon.Kill())
	begin := time.Now()
	s.do(os.Remove(hold))
	s.arrives("by the standby")
	took := time.Since(begin)
	t.Logf("ttl %v: an edit that the killed leader had not committed is on the target after %v", ttl, took)
	s.state(1, "live")
	// The killed one is back: it stands by, and takes nothing back.
	s.do(s.start(0))
	if reason := s.state(0, "standby"); !strings.Contains(reason, `"publisher-1" leads`) {
		t.Errorf("reason %q", reason)
	}
	s.edit()
	s.arrives("afterwards")
	s.do(s.linear())
	return took
}

func TestPausedLeaderThatWakesChangesNothing(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	s := newStandbys(t, 2, ttl)
	etcd := s.Etcd.Client(t)
	for i := range 3 {
		from, to := i%2, (i+1)%2
		leader := s.members[from].Daemon.Cmd.Process
		s.do(leader.Signal(syscall.SIGSTOP))
		s.edit()
		s.arrives("by the standby")
		s.state(to, "live")
		// The paused one finds an edit in its directory as it wakes.
		s.do(s.members[to].Daemon.Cmd.Process.Signal(syscall.SIGSTOP))
		before, leads := s.headAndSeat(etcd)
		s.edit()
		s.do(leader.Signal(syscall.SIGCONT))
		lab.Logged(t, s.members[from].Log, within, "no longer leads")
		// Once the other's lease has run out too, it may lead again.
		if now, led := s.headAndSeat(etcd); led == leads && now != before {
			t.Errorf("it has committed")
		}
		s.do(s.members[to].Daemon.Cmd.Process.Signal(syscall.SIGCONT))
		s.arrives("when both are awake")
		s.one() // whoever it is; the next round wants it to be the other
		if s.members[from].Status(t).Sources[0].State == "live" {
			s.do(s.members[from].Stop())
			s.state(to, "live")
			s.do(s.start(from))
			s.state(from, "standby")
		}
	}
	s.do(s.linear())
}

// headAndSeat returns the head as etcd has it, and the key of the seat that leads.
func (s *standbys) headAndSeat(etcd *clientv3.Client) (head, seat string) {
	s.t.Helper()
	resp, err := etcd.Txn(s.t.Context()).Then(
		clientv3.OpGet("/confsyncd/fleet/pub/head"),
		clientv3.OpGet("/confsyncd/fleet/ctl/election/", clientv3.WithFirstCreate()...),
	).Commit()
	s.do(err)
	heads, seats := resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs
	if len(heads) != 1 {
		s.t.Fatal("there is no head")
	}
	if len(seats) == 1 {
		seat = string(seats[0].Key)
	}
	return string(heads[0].Value), seat
}

func TestStandbyFoundsAsTheKilledLeaderWouldHave(t *testing.T) {
	skipLong(t)
	t.Parallel()
	for _, tt := range []struct {
		lost   string
		killed bool
	}{{"restored", true}, {"wiped", true}, {"restored", false}, {"wiped", false}} {
		t.Run(fmt.Sprintf("%s, leader killed: %v", tt.lost, tt.killed), func(t *testing.T) {
			t.Parallel()
			s := newStandbys(t, 2, 2*time.Second)
			old := filepath.Join(s.Dir, "old")
			s.do(s.Etcd.Kill())
			s.do(s.Etcd.Save(old))
			s.do(s.Etcd.Start())
			// The standby sees what is committed from now on; it comes back by itself, some time later.
			lab.Logged(t, s.members[1].Log, within, "following etcd works again")
			for range 4 {
				s.edit()
				s.arrives("before")
			}
			before := s.target.Generation(t)
			// The standby has seen the last commit.
			_, err := lab.Eventually(within, func() error {
				_, err := lab.Equal(s.w.Model, s.target.Dir, 0)
				return err
			})
			s.do(err)
			if tt.killed {
				s.do(s.members[0].Daemon.Kill())
			}
			s.do(s.Etcd.Kill())
			if tt.lost == "restored" {
				s.do(s.Etcd.Restore(old))
			} else {
				s.do(s.Etcd.Wipe())
			}
			s.edit()
			s.do(s.Etcd.Start())
			t.Logf("an edit is on the target %v after etcd is back", s.arrives("founded anew"))
			at := s.target.Status(t).Tenants[0]
			if at.Founding <= before || at.Generation < at.Founding {
				t.Errorf("the head is at %d, founded at %d; the target was at %d", at.Generation, at.Founding, before)
			}
			if tt.killed {
				s.do(s.start(0))
				s.state(0, "standby")
			}
			s.edit()
			s.arrives("and goes on")
			s.one()
		})
	}
}

func TestStandbysWhileEtcdIsAwayLongerThanALease(t *testing.T) {
	skipLong(t)
	t.Parallel()
	const ttl = 2 * time.Second
	s := newStandbys(t, 3, ttl)
	s.do(s.Etcd.Kill())
	s.edit()
	time.Sleep(2 * ttl) // what it is about
	s.do(s.Etcd.Start())
	took := s.arrives("etcd is back")
	t.Logf("an edit is on the target %v after etcd is back", took)
	if took > 2*ttl+time.Second {
		t.Errorf("that is more than 2 × %v", ttl)
	}
	s.do(s.linear())
}

// TestStandbysAreKilled kills whoever leads again and again while files are edited.
func TestStandbysAreKilled(t *testing.T) {
	skipLong(t)
	t.Parallel()
	s := newStandbys(t, 3, 2*time.Second, "--settle", "5ms", "--max-delay", "50ms", "--max-delete", "100%")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &lab.Reader{Dir: s.target.Dir, Ledger: s.w.Ledger}
	var users errgroup.Group
	users.Go(func() error { return s.w.Run(ctx) })
	users.Go(func() error { return r.Run(ctx) })
	rng := rand.New(rand.NewPCG(s.seed, 1))
	signals := make(map[string]int)
	for range kills() {
		leader := -1
		_, err := lab.Eventually(within, func() error {
			for i, m := range s.members {
				if m.Status(t).Sources[0].State == "live" {
					leader = i
					return nil
				}
			}
			return errors.New("nobody leads")
		})
		s.do(err)
		time.Sleep(upTo(rng, 300*time.Millisecond)) // that long it leads undisturbed
		switch p := s.members[leader].Daemon; rng.IntN(3) {
		case 0:
			signals["TERM"]++
			s.do(p.Stop())
			s.do(s.start(leader))
		case 1:
			signals["KILL"]++
			s.do(p.Kill())
			time.Sleep(upTo(rng, 3*time.Second))
			s.do(s.start(leader))
		default:
			signals["STOP"]++
			s.do(p.Cmd.Process.Signal(syscall.SIGSTOP))
			time.Sleep(upTo(rng, 5*time.Second))
			s.do(p.Cmd.Process.Signal(syscall.SIGCONT))
		}
	}
	cancel()
	s.do(users.Wait())
	t.Logf("seed %d: %v: equal %v after the last edit", s.seed, signals, s.arrives("at the end"))
	s.do(s.linear())
}

func upTo(rng *rand.Rand, d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }
