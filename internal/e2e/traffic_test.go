//go:build !lean

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// meter is a TCP proxy in front of an etcd that counts bytes.
type meter struct {
	listener net.Listener
	up, down atomic.Int64 // to etcd, and from it
}

// newMeter starts a proxy that ends with the test.
func newMeter(t *testing.T, to string) *meter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	m := &meter{listener: l}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			go pass(server, client, &m.up)
			go pass(client, server, &m.down)
		}
	}()
	return m
}

// pass copies until one side ends, and then ends both.
func pass(to, from net.Conn, count *atomic.Int64) {
	defer to.Close()
	defer from.Close()
	_, _ = io.Copy(io.MultiWriter(to, counter{count}), from)
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}

func (m *meter) endpoint() string { return "http://" + m.listener.Addr().String() }

// traffic is how many bytes went to etcd and came from it.
type traffic struct{ up, down int64 }

func (m *meter) read() traffic { return traffic{m.up.Load(), m.down.Load()} }

func (a traffic) minus(b traffic) traffic { return traffic{a.up - b.up, a.down - b.down} }

// route is a tenant with one source and two targets, each of which reaches etcd through
// a meter.
type route struct {
	*testing.T
	etcd    *clientv3.Client
	hosts   []*lab.Host // source, healthy target, target whose files are damaged
	meters  []*meter
	content []byte
	rng     *rand.Rand
}

const hot = "hot.conf" // the file that is edited

func newRoute(t *testing.T, l *lab.Lab, tenant string, size int) *route {
	t.Helper()
	r := &route{T: t, etcd: l.Etcd.Client(t), rng: rand.New(rand.NewPCG(uint64(size), 1))}
	for i, name := range []string{"source", "healthy", "damaged"} {
		h := l.Host(t, tenant, name)
		m := newMeter(t, l.Etcd.Address)
		h.Via = m.endpoint()
		r.hosts, r.meters = append(r.hosts, h), append(r.meters, m)
		if i > 0 {
			continue
		}
		for i := range 200 {
			if err := os.WriteFile(filepath.Join(h.Dir, fileName(i)), []byte(config(r.rng)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.content = []byte(configOf(r.rng, size))
	r.replace()
	if err := errors.Join(r.hosts[0].Start("publish"), r.hosts[1].Start("agent"), r.hosts[2].Start("agent", "--drift", "report")); err != nil {
		t.Fatal(err)
	}
	r.await()
	r.edit() // Its base is known from now on.
	return r
}

// replace gives the source's file its content.
func (r *route) replace() {
	r.Helper()
	outside := r.hosts[0].Dir + ".new"
	if err := errors.Join(os.WriteFile(outside, r.content, 0o644), os.Rename(outside, filepath.Join(r.hosts[0].Dir, hot))); err != nil {
		r.Fatal(err)
	}
}

// edit changes one line in the source's file, and waits until the targets have it.
func (r *route) edit() {
	r.Helper()
	at := r.rng.IntN(len(r.content) - 200)
	at += bytes.IndexByte(r.content[at:], '\n') + 1
	end := at + bytes.IndexByte(r.content[at:], '\n')
	r.content = slices.Concat(r.content[:at], fmt.Appendf(nil, "timeout_of_%d = %ds", r.rng.IntN(1000), r.rng.IntN(600)), r.content[end:])
	r.replace()
	r.await()
}

func (r *route) await() {
	r.Helper()
	_, err := lab.Eventually(within, func() error {
		for _, h := range r.hosts[1:] {
			if got, err := os.ReadFile(filepath.Join(h.Dir, hot)); err != nil || !bytes.Equal(got, r.content) {
				return errors.Join(fmt.Errorf("%s has another content", h.Dir), err)
			}
		}
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
}

// damage turns a letter in the middle of a target's file, which stays so until the next
// edit.
func (r *route) damage() {
	r.Helper()
	f, err := os.OpenFile(filepath.Join(r.hosts[2].Dir, hot), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("#"), int64(len(r.content)/2))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		r.Fatal(err)
	}
}

// measure returns what passes each meter until some time after what was done.
func (r *route) measure(what func()) []traffic {
	r.Helper()
	const rest = 700 * time.Millisecond // Keeping bases, reports: all that follows.
	before := make([]traffic, len(r.meters))
	for i, m := range r.meters {
		before[i] = m.read()
	}
	what()
	time.Sleep(rest)
	for i, m := range r.meters {
		before[i] = m.read().minus(before[i])
	}
	return before
}

// record returns the size of the newest record's stored bytes.
func (r *route) record() int64 {
	r.Helper()
	key := "/confsyncd/" + r.hosts[0].Tenant + "/pub/log/"
	resp, err := r.etcd.Get(r.Context(), key, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(1))
	if err != nil || len(resp.Kvs) != 1 {
		r.Fatal(err)
	}
	return int64(len(resp.Kvs[0].Value))
}

func median(values []int64) int64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// TestTrafficOfOneEditedLine measures what an edited line of a file of text costs: the
// record in etcd, and what passes between etcd and the publisher, a host, and a host
// whose own version of the file was damaged just before. Medians; what passes while
// nothing happens is taken off. The figures are in the log (-v).
func TestTrafficOfOneEditedLine(t *testing.T) {
	skipLong(t)
	const edits = 5
	l := newLab(t)
	for _, tt := range []struct {
		name                    string
		size                    int
		mostRecord, mostHealthy int64 // bytes
	}{
		{"10 KB", 10 << 10, 600, 2500},
		{"1 MB", 1 << 20, 800, 2500},
		{"8 MB", 8 << 20, 5000, 7000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRoute(t, l, fmt.Sprintf("size%d", tt.size), tt.size)
			r.measure(func() {}) // What follows the last edit is over then.
			idle := r.measure(func() { time.Sleep(200 * time.Millisecond) })
			var records []int64
			sums := make([][2][]int64, len(r.meters))
			for range edits {
				seen := r.measure(func() { r.damage(); r.edit() })
				records = append(records, r.record())
				for i := range seen {
					of := seen[i].minus(idle[i])
					sums[i][0], sums[i][1] = append(sums[i][0], of.up), append(sums[i][1], of.down)
				}
			}
			t.Logf("idle: %+v", idle)
			t.Logf("record: %d bytes", median(records))
			var down []int64
			for i, name := range []string{"publisher", "healthy host", "damaged host"} {
				down = append(down, median(sums[i][1]))
				t.Logf("%s: %d bytes to etcd, %d bytes from it", name, median(sums[i][0]), down[i])
			}
			if median(records) > tt.mostRecord || down[1] > tt.mostHealthy {
				t.Errorf("record of %d bytes, want %d at most; the healthy host got %d, want %d at most",
					median(records), tt.mostRecord, down[1], tt.mostHealthy)
			}
		})
	}
}
