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

	"golang.org/x/sync/errgroup"
)

// within is in how many seconds everything must be equal again without anybody's help.
const within = 20 * time.Second

// fleet is a publisher, hosts whose agents run, and hosts that are not there.
type fleet struct {
	*lab
	t       *testing.T
	w       *writer
	source  *host
	running []*host
	readers []*reader
}

// newFleet starts a publisher of a few files, and an agent on host a.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{lab: newLab(t), t: t}
	f.source = f.host(t, "fleet", "source")
	var err error
	if f.w, err = newWriter(f.source.dir, seed(t)); err != nil {
		t.Fatal(err)
	}
	f.do(f.w.fill(40))
	f.do(f.source.start("publish"))
	a := f.host(t, "fleet", "a")
	f.do(a.start("agent"))
	f.running = []*host{a}
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
func (f *fleet) offline(name string) *host {
	f.t.Helper()
	h := f.host(f.t, "fleet", name)
	h.must(f.t, "pull")
	return h
}

// edit replaces a few files, as one generation, and changes no path.
func (f *fleet) edit() {
	f.t.Helper()
	hold := filepath.Join(f.source.dir, ".confsyncd-hold")
	f.do(os.WriteFile(hold, nil, 0o600))
	files := f.w.paths(func(n node) bool { return n.mode.Type() != fs.ModeDir })
	for range 5 {
		f.do(f.w.put(f.w.pick(files)))
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
func (f *fleet) equal(when string, hosts ...*host) float64 {
	f.t.Helper()
	begin := time.Now()
	for _, h := range hosts {
		if _, err := equal(f.w.model, h.dir, within-time.Since(begin)); err != nil {
			f.t.Fatalf("%s: %s: %v\npublisher: %s\nagent: %s", when, h.dir, err, tail(f.source.log), tail(h.log))
		}
	}
	return time.Since(begin).Seconds()
}

// keeping runs what may not take a single file away from the hosts.
func (f *fleet) keeping(what func(), hosts ...*host) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	defer cancel()
	files := f.w.paths(func(n node) bool { return !n.mode.IsDir() })
	var g errgroup.Group
	var watched []*stay
	for _, h := range hosts {
		r := &reader{dir: h.dir, ledger: f.w.ledger, stay: files}
		f.readers = append(f.readers, r)
		s, err := newStay(h.dir, files)
		f.do(err)
		watched = append(watched, s)
		g.Go(func() error { return r.run(ctx) })
	}
	what()
	cancel()
	err := g.Wait()
	for _, s := range watched {
		err = errors.Join(err, s.close())
	}
	f.do(err)
}

// reads counts what all readers have read.
func (f *fleet) reads() (n int64) {
	for _, r := range f.readers {
		n += r.reads.Load()
	}
	return n
}

// comeBack lets hosts that were away catch up: the first by a pull, the rest by an
// agent that runs until they have. Their files stay meanwhile.
func (f *fleet) comeBack(hosts ...*host) {
	f.t.Helper()
	f.keeping(func() {
		for i, h := range hosts {
			if i == 0 {
				h.must(f.t, "pull")
			} else {
				f.do(h.start("agent"))
			}
			took := f.equal("after it was offline", h)
			f.t.Logf("%s follows after %.2f s", filepath.Base(filepath.Dir(h.dir)), took)
			if i > 0 {
				f.do(h.stop())
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
	old := filepath.Join(f.dir, "old")
	f.do(f.etcd.kill())
	f.do(f.etcd.save(old))
	f.do(f.etcd.start())
	f.commit(4)
	before := f.source.generation(t)

	f.keeping(func() {
		f.do(f.etcd.kill())
		f.edit()
		f.do(f.etcd.restore(old))
		f.do(f.etcd.start())
		took := f.equal("restored", f.running...)
		t.Logf("restored: an edit made meanwhile is there %.2f s after etcd is back", took)
		f.founded(before)
		f.edit()
		took = f.equal("restored, and edited", f.running...)
		t.Logf("restored: an edit made afterwards is there after %.2f s", took)
	}, f.running...)
	f.comeBack(b, c)
	f.commit(2)
	before = f.source.generation(t)

	f.keeping(func() {
		f.do(f.etcd.kill())
		f.edit()
		f.do(f.etcd.wipe())
		f.do(f.etcd.start())
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
	_, err := eventually(within, func() error {
		for _, h := range append([]*host{f.source}, f.running...) {
			s := h.status(f.t)
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
	f.do(f.source.stop())
	f.do(f.etcd.kill())
	f.do(f.etcd.wipe())
	f.do(os.RemoveAll(f.source.state))
	f.do(f.etcd.start())
	f.do(f.source.start("publish"))
}

// refused waits until a host's agent refuses for that cause, and returns the reason that status gives.
func (f *fleet) refused(h *host, because string) string {
	f.t.Helper()
	var reason string
	_, err := eventually(within, func() error {
		s := h.status(f.t)
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
	was := maps.Clone(f.w.model)
	generation := f.source.generation(t)
	everybody := slices.Concat(f.running, []*host{d, e})

	f.keeping(func() {
		f.lose()
		f.edit()
		reason := f.refused(f.running[0], "tenant id")
		line := logged(t, f.running[0].log, within, "holding: files are kept", "--found")
		t.Logf("status: %s\nlog: %s", reason, line)
		if _, err := equal(was, f.running[0].dir, 0); err != nil {
			t.Errorf("files were not kept: %v", err)
		}
		low := d.run(t, "pull")
		if low.code != 5 || !strings.Contains(low.err, "--found") {
			t.Errorf("pull: %v", low)
		}
		// Whose directory is published is the operator's to know; the rest is in the
		// messages. Another publisher is told what it needs besides.
		led := found(t, low.err)
		if r := f.source.run(t, "push", append(led, "--publisher", "other")...); r.code != 6 || !strings.Contains(r.err, "--take-over") {
			t.Errorf("push by another name: %v", r)
		}
		// A host that was behind names too low a generation; the other's goes on refusing.
		f.source.must(t, "push", led...)
		reason = f.refused(f.running[0], "rewound")
		led = found(t, reason)
		if want := fmt.Sprintf(":%d", generation); !strings.HasSuffix(led[1], want) {
			t.Errorf("the remedy is %q, want %q at the end", led, want)
		}
		t.Logf("%s", f.source.must(t, "push", append(led, "--publisher", "other", "--take-over")...).out)
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
	f.do(f.source.stop())
	memory := f.source.state + ".old"
	f.do(os.CopyFS(memory, os.DirFS(f.source.state)))
	f.do(f.source.start("publish"))
	f.commit(1)
	f.keeping(func() {
		f.do(f.source.daemon.kill())
		f.do(os.RemoveAll(f.source.state))
		f.do(os.Rename(memory, f.source.state))
		f.do(f.etcd.kill())
		f.do(f.etcd.wipe())
		f.edit()
		f.do(f.etcd.start())
		f.do(f.source.start("publish"))
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
		if r := a.command(t, words(t, reason, "accept")...); r.code != 0 {
			t.Fatalf("accept: %v", r)
		}
		took := f.equal("accepted", a)
		t.Logf("accept: a follows after %.2f s", took)
		f.edit()
		f.equal("accepted, and edited", a)
		if r := d.run(t, "pull"); r.code != 5 {
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
	was := maps.Clone(f.w.model)
	f.commit(2)
	before, edits := f.source.generation(t), 0
	f.keeping(func() {
		f.do(f.etcd.kill())
		f.do(b.start("agent"))
		for end := time.Now().Add(*outageFlag); time.Now().Before(end); edits++ {
			f.edit()
			time.Sleep(100 * time.Millisecond)
		}
		t.Logf("b says: %s", logged(t, b.log, within, `"warn"`, "etcd"))
		if _, err := equal(was, b.dir, 0); err != nil {
			t.Errorf("files were not kept: %v", err)
		}
		f.do(f.etcd.start())
		took := f.equal("etcd is back", f.running[0], b)
		t.Logf("etcd is back: a and b have the edits after %.2f s", took)
	}, f.running[0], b)
	if n := f.source.generation(t) - before; n < 1 || n > 2 {
		t.Errorf("%d times 5 edits during the outage came as %d commits", edits, n)
	}
}
