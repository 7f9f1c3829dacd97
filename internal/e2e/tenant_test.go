//go:build !lean

package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/lab"
)

var keysFlag = flag.Int("keys", 1000, "how many keys the tenant has that is deleted under kills")

// batch is how many keys go at once, see store.Clear.
const batch = 100

// doomed is a tenant with a publisher at work and an agent, beside others whose names are
// like its own, and an operator who deletes it over a link of their own.
type doomed struct {
	*testing.T
	lab            *lab.Lab
	etcd           *clientv3.Client
	rng            *rand.Rand
	source, target *lab.Host
	proxy          *lab.Proxy
	kills          int
}

// TestTenantDeletedUnderKills deletes a tenant of many keys, whose publisher goes on
// editing, with a command that is killed again and again, and cut off.
func TestTenantDeletedUnderKills(t *testing.T) {
	l := newLab(t)
	d := &doomed{T: t, lab: l, etcd: l.Etcd.Client(t), rng: rand.New(rand.NewPCG(seed(t), 1)), proxy: lab.NewProxy(t, l.Etcd.Endpoint())}
	d.source, d.target = l.Host(t, "big", "source"), l.Host(t, "big", "target")
	for _, name := range []string{"bi", "big-2", "big.", "bigger"} {
		h := l.Host(t, name, "source")
		d.write(h, "f", strings.Repeat(name, 10000))
		h.Must(t, "push")
	}
	d.write(d.source, "first", "first")
	if err := d.source.Start("publish", "--settle", "2ms", "--max-delay", "10ms"); err != nil {
		t.Fatal(err)
	}
	if err := d.target.Start("agent"); err != nil {
		t.Fatal(err)
	}
	editing, stop := context.WithCancel(t.Context())
	edited := make(chan int, 1)
	go func() { edited <- d.edit(editing) }()
	defer stop()
	d.fill(*keysFlag)
	if _, err := lab.Eventually(time.Minute, func() error { _, err := os.Stat(filepath.Join(d.target.Dir, "first")); return err }); err != nil {
		t.Fatal(err)
	}
	others := d.others()
	begin := time.Now()

	d.killedAtTheStart(5)
	d.killedInBatches(max(3, d.left()/batch/6))
	d.cutOff()
	op := d.operator()
	<-op.Ended
	said, err := os.ReadFile(op.Log)
	if err != nil {
		t.Fatal(err)
	}
	if op.Err != nil {
		t.Fatalf("the last deletion: %v\n%s", op.Err, said)
	}
	took := time.Since(begin)
	d.over()
	stop()
	edits := <-edited
	for key, value := range d.others() {
		if others[key] != value {
			t.Errorf("%s was changed", key)
		}
		delete(others, key)
	}
	for key := range others {
		t.Errorf("%s is gone", key)
	}
	t.Logf("%d keys and %d edits meanwhile: %d kills, a partition and a lost answer; gone after %.1f s", *keysFlag, edits, d.kills, took.Seconds())
}

func (d *doomed) write(h *lab.Host, name, content string) {
	if err := os.WriteFile(filepath.Join(h.Dir, name), []byte(content), 0o644); err != nil {
		d.Error(err)
	}
}

// edit edits the source until ctx ends, with contents that lie in records and in packs.
func (d *doomed) edit(ctx context.Context) (edits int) {
	rng := rand.New(rand.NewPCG(1, 2))
	for lab.Sleep(ctx, 5*time.Millisecond) {
		size := 100 + rng.IntN(40000)
		if edits%20 == 0 {
			size = 3 << 20 // its packs are staged before the commit
		}
		noise := make([]byte, size)
		for i := range noise {
			noise[i] = byte(rng.Uint32())
		}
		d.write(d.source, fmt.Sprintf("f%d", rng.IntN(50)), string(noise))
		edits++
	}
	return edits
}

// fill puts keys into all parts of the tenant until it has so many.
func (d *doomed) fill(most int) {
	d.Helper()
	var ops []clientv3.Op
	kinds := []string{"pub/packs/%064x", "pub/log/%016x", "hosts/host-%d", "ctl/%d", "later-version/%d"}
	for i := range most {
		ops = append(ops, clientv3.OpPut("/confsyncd/big/"+fmt.Sprintf(kinds[i%len(kinds)], 1<<40+i), "a host's, a pack's or anything's value"))
		if len(ops) == 100 || i == most-1 {
			if _, err := d.etcd.Txn(d.Context()).Then(ops...).Commit(); err != nil {
				d.Fatal(err)
			}
			ops = nil
		}
	}
}

func (d *doomed) left() int {
	d.Helper()
	resp, err := d.etcd.Get(d.Context(), "/confsyncd/big/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		d.Fatal(err)
	}
	return int(resp.Count)
}

// others are all keys of others, with their values and revisions.
func (d *doomed) others() map[string]string {
	d.Helper()
	resp, err := d.etcd.Get(d.Context(), "\x00", clientv3.WithFromKey())
	if err != nil {
		d.Fatal(err)
	}
	others := make(map[string]string)
	for _, kv := range resp.Kvs {
		others[string(kv.Key)] = fmt.Sprintf("%d %x", kv.ModRevision, kv.Value)
	}
	maps.DeleteFunc(others, func(key, _ string) bool {
		return strings.HasPrefix(key, "/confsyncd/big/") || key == "/confsyncd/@tenants/big"
	})
	return others
}

// operator begins the deletion.
func (d *doomed) operator() *lab.Process {
	d.Helper()
	p, err := lab.Start(filepath.Join(d.lab.Dir, "operator"), nil, program, "--config", d.lab.Config, "--endpoints", d.proxy.Endpoint(),
		"--state-dir", filepath.Join(d.lab.Dir, "operator-state"), "tenant", "delete", "big", "--yes")
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() {
		if !p.Over() {
			_ = p.Kill()
		}
	})
	return p
}

func (d *doomed) kill(p *lab.Process) {
	d.Helper()
	if p.Over() {
		return
	}
	if err := p.Kill(); err != nil {
		d.Fatal(err)
	}
	d.kills++
}

// killedAtTheStart kills the deletion at moments around its tombstone.
func (d *doomed) killedAtTheStart(times int) {
	d.Helper()
	for range times {
		p := d.operator()
		lab.Sleep(d.Context(), time.Duration(d.rng.IntN(60))*time.Millisecond)
		d.kill(p)
	}
}

// killedInBatches kills the deletion after one to four batches, until only so many batches
// are left.
func (d *doomed) killedInBatches(rest int) {
	d.Helper()
	for d.left() > rest*batch {
		watching, stop := context.WithCancel(d.Context())
		gone := d.etcd.Watch(watching, "/confsyncd/big/", clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
		<-gone // it watches
		p := d.operator()
		for batches := 1 + d.rng.IntN(4); batches > 0; batches-- {
			select {
			case <-gone:
			case <-p.Ended:
				d.Fatalf("it ended before it was killed: %v", p.Err)
			case <-time.After(time.Minute):
				d.Fatal("no key goes")
			}
		}
		d.kill(p)
		stop()
	}
}

// cutOff lets a deletion lose an answer, and then its link for some seconds: it goes on by
// itself.
func (d *doomed) cutOff() {
	d.Helper()
	before := d.left()
	p := d.operator()
	if _, err := lab.Eventually(time.Minute, func() error {
		if d.left() == before {
			return fmt.Errorf("%d keys are left", before)
		}
		return nil
	}); err != nil {
		d.Fatal(err)
	}
	d.proxy.Do(lab.Harm{DropAnswers: true})
	lab.Sleep(d.Context(), time.Second)
	d.proxy.Cut()
	lab.Sleep(d.Context(), 3*time.Second)
	d.proxy.Heal()
	select {
	case <-p.Ended:
	case <-time.After(time.Minute):
		d.Fatal("it does not go on")
	}
	if p.Err != nil {
		said, _ := os.ReadFile(p.Log)
		d.Fatalf("%v\n%s", p.Err, said)
	}
}

// over fails the test unless nothing of the tenant is left, nor comes back, and its
// publisher and agent say why; the agent's files stay.
func (d *doomed) over() {
	d.Helper()
	for _, h := range []*lab.Host{d.source, d.target} {
		if _, err := lab.Eventually(time.Minute, func() error {
			log, err := os.ReadFile(h.Log)
			if err == nil && !strings.Contains(string(log), "was deleted at") {
				err = fmt.Errorf("%s says nothing of the deletion", h.Log)
			}
			return err
		}); err != nil {
			d.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(d.target.Dir, "first")); err != nil {
		d.Errorf("the agent's files: %v", err)
	}
	lab.Sleep(d.Context(), time.Second) // the publisher has edits to publish all the time
	if n := d.left(); n != 0 {
		d.Errorf("%d keys are left", n)
	}
	var shown struct {
		State      string
		Keys       int
		Tombstones []struct{ Cleared time.Time }
	}
	ran := d.source.Command(d.T, "tenant", "show", "big", "-o", "json")
	if err := json.Unmarshal([]byte(ran.Out), &shown); err != nil || shown.State != "deleted" || shown.Keys != 0 || len(shown.Tombstones) != 1 || shown.Tombstones[0].Cleared.IsZero() {
		d.Errorf("%v: %v", err, ran)
	}
}
