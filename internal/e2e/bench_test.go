//go:build !lean

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

// percentile returns the p-th percentile in milliseconds.
func percentile(times []time.Duration, p int) float64 {
	slices.Sort(times)
	return float64(times[(len(times)-1)*p/100].Microseconds()) / 1000
}

// BenchmarkEditToVisible measures the time from the rename of one of 200 files of 2 KB
// in the source to its new content in the target, with two settings of settle in turn.
// Run it with -benchtime 200x.
func BenchmarkEditToVisible(b *testing.B) {
	l := newLab(b)
	rng := rand.New(rand.NewPCG(seed(b), 3))
	pairs := []*pair{newPair(b, l, "settle0", "--settle", "0s"), newPair(b, l, "default")}
	var put, sync []time.Duration
	etcd := l.Etcd.Client(b)
	for b.Loop() {
		for _, p := range pairs {
			// The machine comes to rest, and nobody's timers are in step.
			time.Sleep(20*time.Millisecond + rand.N(40*time.Millisecond))
			p.edit(b, rng)
		}
		put = append(put, timed(b, func() error {
			_, err := etcd.Put(b.Context(), "/floor", config(rng))
			return err
		}))
		sync = append(sync, timed(b, func() error { return writeSynced(filepath.Join(l.Dir, "floor"), config(rng)) }))
	}
	b.ReportMetric(0, "ns/op")
	for _, p := range pairs {
		b.ReportMetric(percentile(p.times, 50), p.source.Tenant+"-p50-ms")
		b.ReportMetric(percentile(p.times, 99), p.source.Tenant+"-p99-ms")
	}
	b.ReportMetric(percentile(put, 50), "etcd-put-p50-ms")
	b.ReportMetric(percentile(sync, 50), "fsync-p50-ms")
}

func timed(b *testing.B, what func() error) time.Duration {
	begin := time.Now()
	if err := what(); err != nil {
		b.Fatal(err)
	}
	return time.Since(begin)
}

// writeSynced replaces a file durably.
func writeSynced(name, content string) error {
	f, err := os.Create(name + ".new")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Sync(), f.Close(), os.Rename(name+".new", name))
}

// pair is a publisher and an agent that follows it.
type pair struct {
	source, target *lab.Host
	events         int // inotify descriptor on the target
	times          []time.Duration
}

func newPair(b *testing.B, l *lab.Lab, tenant string, flags ...string) *pair {
	b.Helper()
	p := &pair{source: l.Host(b, tenant, "source"), target: l.Host(b, tenant, "target")}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 200 {
		if err := os.WriteFile(filepath.Join(p.source.Dir, fileName(i)), []byte(config(rng)), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(p.source.Start("publish", flags...), p.target.Start("agent")); err != nil {
		b.Fatal(err)
	}
	want, err := lab.ReadTree(p.source.Dir)
	if err == nil {
		_, err = lab.Equal(want, p.target.Dir, within)
	}
	if err != nil {
		b.Fatal(err)
	}
	if p.events, err = unix.InotifyInit1(unix.IN_CLOEXEC); err == nil {
		b.Cleanup(func() { _ = unix.Close(p.events) })
		_, err = unix.InotifyAddWatch(p.events, p.target.Dir, unix.IN_MOVED_TO)
	}
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func fileName(i int) string { return fmt.Sprintf("app-%03d.conf", i) }

// edit replaces one file atomically and waits until the target has it.
func (p *pair) edit(b *testing.B, rng *rand.Rand) {
	b.Helper()
	name, content := fileName(rng.IntN(200)), config(rng)
	outside := p.source.Dir + ".new"
	if err := os.WriteFile(outside, []byte(content), 0o644); err != nil {
		b.Fatal(err)
	}
	begin := time.Now()
	if err := os.Rename(outside, filepath.Join(p.source.Dir, name)); err != nil {
		b.Fatal(err)
	}
	var buf [4096]byte
	n, err := unix.Read(p.events, buf[:])
	took := time.Since(begin)
	if err == nil {
		err = holds(filepath.Join(p.target.Dir, name), content)
	}
	if err != nil || n < unix.SizeofInotifyEvent {
		b.Fatalf("%d bytes of events, %v", n, err)
	}
	p.times = append(p.times, took)
}

// config makes about 2 KB of what configuration files look like.
func config(rng *rand.Rand) string { return configOf(rng, 2048) }

func configOf(rng *rand.Rand, bytes int) string {
	words := strings.Fields(`access backend buffer cache certificate client connect cookie default directory enable error
		frontend group handler header host index interval key level listen location log match method name number option
		origin path pool port prefix proxy queue rate read retry route script secret server session size socket source
		status timeout token upstream user value verify weight worker write zone`)
	var s strings.Builder
	for s.Len() < bytes {
		word, other := words[rng.IntN(len(words))], words[rng.IntN(len(words))]
		switch rng.IntN(7) {
		case 0:
			fmt.Fprintf(&s, "\n[%s.%s-%d]\n", word, other, rng.IntN(100))
		case 1:
			fmt.Fprintf(&s, "# The %s of the %s, see the %s.\n", word, other, words[rng.IntN(len(words))])
		case 2:
			fmt.Fprintf(&s, "%s_%s = 10.%d.%d.%d:%d\n", word, other, rng.IntN(4), rng.IntN(256), rng.IntN(256), 1024+rng.IntN(60000))
		case 3:
			fmt.Fprintf(&s, "%s_%s = \"%016x\"\n", word, other, rng.Uint64())
		case 4:
			fmt.Fprintf(&s, "%s_%s = \"/srv/%s/%s-%d/%s.sock\"\n", word, other, other, word, rng.IntN(1000), word)
		case 5:
			fmt.Fprintf(&s, "%s_%s = %v\n", word, other, rng.IntN(2) == 0)
		default:
			fmt.Fprintf(&s, "%s_%s = %ds\n", word, other, rng.IntN(600))
		}
	}
	return s.String()[:bytes]
}

// BenchmarkFirstSync measures how long 10,000 files of 2 KB that differ take to be
// pushed, and pulled into an empty directory, and how many keys in etcd they are: after
// the push, and after another that replaces them all and so makes a keyframe due. Run
// it with -benchtime 3x.
func BenchmarkFirstSync(b *testing.B) {
	const files, mostKeys = 10_000, 60
	l := newLab(b)
	etcd := l.Etcd.Client(b)
	sum := make(map[string]float64)
	rounds := 0
	for b.Loop() {
		rounds++
		tenant := fmt.Sprint("first", rounds)
		source, target := l.Host(b, tenant, "source"), l.Host(b, tenant, "target")
		step := func(name string, h *lab.Host, command string) lab.Ran {
			unix.Sync() // The disk is at rest when the measurement begins.
			begin := time.Now()
			r := h.Must(b, command)
			sum[name+"-ms"] += float64(time.Since(begin).Milliseconds())
			sum[name+"-user-ms"] += float64(r.User.Milliseconds())
			return r
		}
		fillConfigs(b, source.Dir, files, 2048)
		step("push", source, "push")
		keys := count(b, etcd, tenant)
		sum["keys"] += float64(keys)
		if keys >= mostKeys {
			b.Errorf("%d keys in etcd, want fewer than %d", keys, mostKeys)
		}
		if r := step("push-nothing", source, "push"); !strings.Contains(r.Out, "nothing to commit") {
			b.Errorf("second push: %v", r)
		}
		sum["floor-write-and-syncfs-ms"] += float64(writeFloor(b, source.Dir, filepath.Join(l.Dir, tenant+"-floor")).Milliseconds())
		step("pull", target, "pull")
		step("pull-nothing", target, "pull")
		same(b, source, target)

		fillConfigs(b, source.Dir, files, 2304)
		step("push-all-changed", source, "push")
		if s := source.Status(b).Tenants[0]; s.Keyframe == 0 {
			b.Error("no keyframe was made")
		}
		sum["keys-with-keyframe"] += float64(count(b, etcd, tenant))
		step("pull-all-changed", target, "pull")
		same(b, source, target)
		fresh := l.Host(b, tenant, "fresh")
		step("pull-from-keyframe", fresh, "pull")
		same(b, source, fresh)
	}
	b.ReportMetric(0, "ns/op")
	for name, value := range sum {
		b.ReportMetric(value/float64(rounds), name)
	}
}

// fillConfigs writes n files that differ, 100 in a directory.
func fillConfigs(b *testing.B, dir string, n, bytes int) {
	b.Helper()
	rng := rand.New(rand.NewPCG(uint64(n), uint64(bytes)))
	for i := range n {
		sub := filepath.Join(dir, fmt.Sprintf("service-%03d", i/100))
		err := errors.Join(os.MkdirAll(sub, 0o755), os.WriteFile(filepath.Join(sub, fileName(i%100)), []byte(configOf(rng, bytes)), 0o644))
		if err != nil {
			b.Fatal(err)
		}
	}
}

// writeFloor writes all files of a source elsewhere with one syncfs, and returns how long
// that takes: what any pull has to do at least.
func writeFloor(b *testing.B, source, to string) time.Duration {
	b.Helper()
	all, err := lab.ReadTree(source)
	if err != nil {
		b.Fatal(err)
	}
	unix.Sync()
	begin := time.Now()
	if err = os.Mkdir(to, 0o755); err != nil {
		b.Fatal(err)
	}
	for path, n := range all {
		if n.Mode.IsRegular() {
			err = errors.Join(err, os.WriteFile(filepath.Join(to, strings.ReplaceAll(path, "/", "_")), []byte(n.Content), 0o644))
		}
	}
	d, openErr := os.Open(to)
	if err = errors.Join(err, openErr); err == nil {
		err = errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
	}
	if err != nil {
		b.Fatal(err)
	}
	return time.Since(begin)
}

func count(b *testing.B, etcd *clientv3.Client, tenant string) int64 {
	b.Helper()
	resp, err := etcd.Get(b.Context(), "/confsyncd/"+tenant+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		b.Fatal(err)
	}
	return resp.Count
}

func same(b *testing.B, source, target *lab.Host) {
	b.Helper()
	want, err := lab.ReadTree(source.Dir)
	if err == nil {
		_, err = lab.Equal(want, target.Dir, 0)
	}
	if err != nil {
		b.Error(err)
	}
}
