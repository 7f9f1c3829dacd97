//go:build !lean

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"

	"golang.org/x/sync/errgroup"
)

// within is in how many seconds everything must be equal again without anybody's help.
const within = 20 * time.Second

// fleet is a publisher, hosts whose agents run, and hosts that are not there.
type fleet struct {
	*lab.Lab
	t       *testing.T
	w       *lab.Writer
	source  *lab.Host
	running []*lab.Host
	readers []*lab.Reader
}

// newFleet starts a publisher of a few files, and an agent on host a.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{Lab: newLab(t), t: t}
	f.source = f.Host(t, "fleet", "source")
	var err error
	if f.w, err = lab.NewWriter(f.source.Dir, seed(t)); err != nil {
		t.Fatal(err)
	}
	f.do(f.w.Fill(40))
	f.do(f.source.Start("publish"))
	a := f.Host(t, "fleet", "a")
	f.do(a.Start("agent"))
	f.running = []*lab.Host{a}
	f.equal("from the start", f.running...)
	return f
}

// do ends the test if a step of it fails.
func (f *fleet) do(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// offline makes a host that has what is published now, and whose agent does not run.
func (f *fleet) offline(name string) *lab.Host {
	f.t.Helper()
	h := f.Host(f.t, "fleet", name)
	h.Must(f.t, "pull")
	return h
}

// edit replaces a few files, as one generation, and changes no path.
func (f *fleet) edit() {
	f.t.Helper()
	hold := filepath.Join(f.source.Dir, ".confsyncd-hold")
	f.do(os.WriteFile(hold, nil, 0o600))
	files := f.w.Paths(func(n lab.Node) bool { return n.Mode.Type() != fs.ModeDir })
	for range 5 {
		f.do(f.w.Put(f.w.Pick(files)))
	}
	f.do(os.Remove(hold))
}

// commit edits, and waits until the hosts have it.
func (f *fleet) commit(times int) {
	f.t.Helper()
	for range times {
		f.edit()
		f.equal("after an edit", f.running...)
	}
}

// equal waits until hosts have what the source has, and returns the seconds.
func (f *fleet) equal(when string, hosts ...*lab.Host) float64 {
	f.t.Helper()
	begin := time.Now()
	for _, h := range hosts {
		if _, err := lab.Equal(f.w.Model, h.Dir, within-time.Since(begin)); err != nil {
			f.t.Fatalf("%s: %s: %v\npublisher: %s\nagent: %s", when, h.Dir, err, lab.Tail(f.source.Log), lab.Tail(h.Log))
		}
	}
	return time.Since(begin).Seconds()
}

// keeping runs what may not take a single file away from the hosts.
func (f *fleet) keeping(what func(), hosts ...*lab.Host) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	defer cancel()
	files := f.w.Paths(func(n lab.Node) bool { return !n.Mode.IsDir() })
	var g errgroup.Group
	var watched []*lab.Stay
	for _, h := range hosts {
		r := &lab.Reader{Dir: h.Dir, Ledger: f.w.Ledger, Stay: files}
		f.readers = append(f.readers, r)
		s, err := lab.NewStay(h.Dir, files)
		f.do(err)
		watched = append(watched, s)
		g.Go(func() error { return r.Run(ctx) })
	}
	what()
	cancel()
	err := g.Wait()
	for _, s := range watched {
		err = errors.Join(err, s.Close())
	}
	f.do(err)
}

// reads counts what all readers have read.
func (f *fleet) reads() (n int64) {
	for _, r := range f.readers {
		n += r.Reads.Load()
	}
	return n
}

// comeBack lets hosts that were away catch up: the first by a pull, the rest by an
// agent that runs until they have. Their files stay meanwhile.
func (f *fleet) comeBack(hosts ...*lab.Host) {
	f.t.Helper()
	f.keeping(func() {
		for i, h := range hosts {
			if i == 0 {
				h.Must(f.t, "pull")
			} else {
				f.do(h.Start("agent"))
			}
			took := f.equal("after it was offline", h)
			f.t.Logf("%s follows after %.2f s", filepath.Base(filepath.Dir(h.Dir)), took)
			if i > 0 {
				f.do(h.Stop())
			}
		}
	}, hosts...)
}

// TestRewinds puts etcd back to an older state and wipes it under running daemons.
func TestRewinds(t *testing.T) {
	skipLong(t)
	t.Parallel()
	f := newFleet(t)
	f.commit(1)
	b, d := f.offline("b"), f.offline("d")
	f.commit(3)
	c, e := f.offline("c"), f.offline("e")
	old := filepath.Join(f.Dir, "old")
	f.do(f.Etcd.Kill())
	f.do(f.Etcd.Save(old))
	f.do(f.Etcd.Start())
	f.commit(4)
	before := f.source.Generation(t)

	f.keeping(func() {
		f.do(f.Etcd.Kill())
		f.edit()
		f.do(f.Etcd.Restore(old))
		f.do(f.Etcd.Start())
		took := f.equal("restored", f.running...)
		t.Logf("restored: an edit made meanwhile is there %.2f s after etcd is back", took)
		f.founded(before)
		f.edit()
		took = f.equal("restored, and edited", f.running...)
		t.Logf("restored: an edit made afterwards is there after %.2f s", took)
	}, f.running...)
	f.comeBack(b, c)
	f.commit(2)
	before = f.source.Generation(t)

	f.keeping(func() {
		f.do(f.Etcd.Kill())
		f.edit()
		f.do(f.Etcd.Wipe())
		f.do(f.Etcd.Start())
		took := f.equal("wiped", f.running...)
		t.Logf("wiped: an edit made meanwhile is there %.2f s after etcd is back", took)
		f.founded(before)
	}, f.running...)
	// d and e were away during both, b and c during the second.
	f.comeBack(b, c)
	f.comeBack(d, e)
	f.commit(1)
	t.Logf("%d reads checked", f.reads())
}

// founded waits until the publisher has founded the history anew above a generation,
// and the running agents follow.
func (f *fleet) founded(before uint64) {
	f.t.Helper()
	_, err := lab.Eventually(within, func() error {
		for _, h := range append([]*lab.Host{f.source}, f.running...) {
			s := h.Status(f.t)
			if at := s.Tenants[0]; at.Founding <= before {
				return fmt.Errorf("head at %d, founded at %d: no new founding above %d", at.Generation, at.Founding, before)
			}
			for _, target := range s.Targets {
				if target.State != "in_sync" || target.Behind == nil || *target.Behind != 0 {
					return fmt.Errorf("an agent does not follow: %+v", s)
				}
			}
		}
		return nil
	})
	f.do(err)
}

// lose takes etcd's data and the publisher's memory away, and starts both again: a new
// tenant by the old name.
func (f *fleet) lose() {
	f.t.Helper()
	f.do(f.source.Stop())
	f.do(f.Etcd.Kill())
	f.do(f.Etcd.Wipe())
	f.do(os.RemoveAll(f.source.State))
	f.do(f.Etcd.Start())
	f.do(f.source.Start("publish"))
}

// refused waits until a host's agent refuses for that cause, and returns the reason that status gives.
func (f *fleet) refused(h *lab.Host, because string) string {
	f.t.Helper()
	var reason string
	_, err := lab.Eventually(within, func() error {
		s := h.Status(f.t)
		if len(s.Targets) != 1 || s.Targets[0].State != "holding" || !strings.Contains(s.Targets[0].Reason, because) {
			return fmt.Errorf("the agent does not refuse: %+v", s)
		}
		reason = s.Targets[0].Reason
		return nil
	})
	f.do(err)
	return reason
}

// words returns what an operator who reads reason would type after "confsyncd ".
func words(t *testing.T, reason, command string) []string {
	t.Helper()
	found := regexp.MustCompile(`"confsyncd (` + command + ` [^"]*)"`).FindStringSubmatch(reason)
	if found == nil {
		t.Fatalf("no remedy with %q in: %s", command, reason)
	}
	return strings.Fields(found[1])
}

// found returns the last words of the remedy that names push --found: those that only
// the host knows.
func found(t *testing.T, reason string) []string {
	t.Helper()
	w := words(t, reason, "push")
	return w[len(w)-2:]
}

// TestMemoryLost takes both etcd's data and the publisher's memory away.
func TestMemoryLost(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.commit(2)
	d, e := f.offline("d"), f.offline("e")
	f.commit(2)
	was := maps.Clone(f.w.Model)
	generation := f.source.Generation(t)
	everybody := slices.Concat(f.running, []*lab.Host{d, e})

	f.keeping(func() {
		f.lose()
		f.edit()
		reason := f.refused(f.running[0], "tenant id")
		line := lab.Logged(t, f.running[0].Log, within, "holding: files are kept", "--found")
		t.Logf("status: %s\nlog: %s", reason, line)
		if _, err := lab.Equal(was, f.running[0].Dir, 0); err != nil {
			t.Errorf("files were not kept: %v", err)
		}
		low := d.Run(t, "pull")
		if low.Code != 5 || !strings.Contains(low.Err, "--found") {
			t.Errorf("pull: %v", low)
		}
		// Whose directory is published is the operator's to know; the rest is in the
		// messages. Another publisher is told what it needs besides.
		led := found(t, low.Err)
		if r := f.source.Run(t, "push", append(led, "--publisher", "other")...); r.Code != 6 || !strings.Contains(r.Err, "--take-over") {
			t.Errorf("push by another name: %v", r)
		}
		// A host that was behind names too low a generation; the other's goes on refusing.
		f.source.Must(t, "push", led...)
		reason = f.refused(f.running[0], "rewound")
		led = found(t, reason)
		if want := fmt.Sprintf(":%d", generation); !strings.HasSuffix(led[1], want) {
			t.Errorf("the remedy is %q, want %q at the end", led, want)
		}
		t.Logf("%s", f.source.Must(t, "push", append(led, "--publisher", "other", "--take-over")...).Out)
		took := f.equal("led on", f.running...)
		t.Logf("push --found: a follows after %.2f s", took)
		f.edit()
		took = f.equal("led on, and edited", f.running...)
		t.Logf("push --found: an edit is there after %.2f s", took)
	}, everybody...)
	f.comeBack(d, e)
	t.Logf("%d reads checked", f.reads())
}

// TestUnrememberedCommit rewinds etcd after a publisher was killed between the Txn of
// a commit, which agents have applied, and its own memory of it.
func TestUnrememberedCommit(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.commit(1)
	f.do(f.source.Stop())
	memory := f.source.State + ".old"
	f.do(os.CopyFS(memory, os.DirFS(f.source.State)))
	f.do(f.source.Start("publish"))
	f.commit(1)
	f.keeping(func() {
		f.do(f.source.Daemon.Kill())
		f.do(os.RemoveAll(f.source.State))
		f.do(os.Rename(memory, f.source.State))
		f.do(f.Etcd.Kill())
		f.do(f.Etcd.Wipe())
		f.edit()
		f.do(f.Etcd.Start())
		f.do(f.source.Start("publish"))
		took := f.equal("wiped", f.running...)
		t.Logf("an edit is there %.2f s after etcd is back", took)
	}, f.running...)
}

// TestAcceptLeadsOneHostOn does so where the operator lets one host go on.
func TestAcceptLeadsOneHostOn(t *testing.T) {
	skipLong(t)
	t.Parallel()
	f := newFleet(t)
	f.commit(2)
	a, d := f.running[0], f.offline("d")
	f.keeping(func() {
		f.lose()
		f.edit()
		reason := f.refused(a, "tenant id")
		if r := a.Command(t, words(t, reason, "accept")...); r.Code != 0 {
			t.Fatalf("accept: %v", r)
		}
		took := f.equal("accepted", a)
		t.Logf("accept: a follows after %.2f s", took)
		f.edit()
		f.equal("accepted, and edited", a)
		if r := d.Run(t, "pull"); r.Code != 5 {
			t.Errorf("a host that was not accepted: %v", r)
		}
	}, a, d)
}

// TestOutage edits while etcd is away.
func TestOutage(t *testing.T) {
	skipLong(t)
	t.Parallel()
	f := newFleet(t)
	f.commit(2)
	b := f.offline("b")
	was := maps.Clone(f.w.Model)
	f.commit(2)
	before, edits := f.source.Generation(t), 0
	f.keeping(func() {
		f.do(f.Etcd.Kill())
		f.do(b.Start("agent"))
		for end := time.Now().Add(*outageFlag); time.Now().Before(end); edits++ {
			f.edit()
			time.Sleep(100 * time.Millisecond)
		}
		t.Logf("b says: %s", lab.Logged(t, b.Log, within, `"warn"`, "etcd"))
		if _, err := lab.Equal(was, b.Dir, 0); err != nil {
			t.Errorf("files were not kept: %v", err)
		}
		f.do(f.Etcd.Start())
		took := f.equal("etcd is back", f.running[0], b)
		t.Logf("etcd is back: a and b have the edits after %.2f s", took)
	}, f.running[0], b)
	if n := f.source.Generation(t) - before; n < 1 || n > 2 {
		t.Errorf("%d times 5 edits during the outage came as %d commits", edits, n)
	}
}
