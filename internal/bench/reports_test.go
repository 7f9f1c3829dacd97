//go:build bench

package bench

import (
	"fmt"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/lab"
)

func reportsFigure() Figure {
	return Figure{
		Name: "reports",
		How: `1,000 agents that report what they are at (a lease, ` + "`hosts/<id>` and `alive/<id>/<instance>`" + ` each), and 1,000 that do not (` + "`report = false`" + `), each with an etcd of one
member and a publisher of their own; 120 agents in a process, each with its own client, connection, store and target on a tmpfs. In turn, a file of 2 KB is edited
every two seconds, so that all of them apply it at once, for 6 s before and 16 s while it is measured; then both are left alone. Puts are the versions of all keys of hosts and of signs of life; the processor is the server's, user
and system time, of /proc/PID/stat.`,
		Measure: measureReports,
	}
}

// parish is many agents, with an etcd and a publisher of their own.
type parish struct {
	m      *Meter
	rng    *rand.Rand
	source *lab.Host
	etcd   *lab.Etcd
	client *clientv3.Client
	agents *Hosts
}

func (m *Meter) parish(kind string, user int) *parish {
	m.Helper()
	etcd := m.Etcd()
	l := m.Lab(etcd)
	p := &parish{m: m, rng: rand.New(rand.NewPCG(12, 1)), source: l.Host(m.T, "crowd", "source"), etcd: etcd, client: etcd.Client(m.T), agents: m.Hosts(kind, etcd, "crowd")}
	p.agents.User = user
	m.Must(WriteTree(p.source.Dir, 10, 2048, 1))
	m.Must(p.source.Start("publish", "--settle", "0s"))
	return p
}

// puts is how often anything was reported, signs of life included.
func (p *parish) puts() (n int64) {
	p.m.Helper()
	for _, what := range []string{"hosts", "alive"} {
		resp, err := p.client.Get(p.m.Context(), "/confsyncd/crowd/"+what+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		p.m.Must(err)
		for _, kv := range resp.Kvs {
			n += kv.Version
		}
	}
	return n
}

// load is what reports cost for a while.
type load struct {
	puts      float64 // in a second
	processor float64 // of the server, in percent of a core
}

// watched returns what etcd has to do in all parishes while something is done.
func watched(what func(), parishes ...*parish) []load {
	puts, used := make([]int64, len(parishes)), make([]time.Duration, len(parishes))
	for i, p := range parishes {
		puts[i], used[i] = p.puts(), p.m.processorOf(p.etcd.Running.Cmd.Process.Pid)
	}
	begin := time.Now()
	what()
	loads := make([]load, len(parishes))
	for i, p := range parishes {
		elapsed := time.Since(begin).Seconds()
		used := p.m.processorOf(p.etcd.Running.Cmd.Process.Pid) - used[i]
		loads[i] = load{puts: float64(p.puts()-puts[i]) / elapsed, processor: 100 * used.Seconds() / elapsed}
	}
	return loads
}

// edit replaces a file again and again.
func (p *parish) edit(times int, every time.Duration) {
	for i := range times {
		p.m.Replace(p.source.Dir, FileName(i%10), Config(p.rng, 2048))
		time.Sleep(every)
	}
}

func measureReports(m *Meter) {
	const size, rounds, warm, edits, every, still = 1000, 1, 3, 8, 2 * time.Second, 10 * time.Second
	// firstReports is until each agent has reported what it came to.
	const firstReports = 10 * time.Second
	with, without := m.parish(reporters, firstUser), m.parish(agents, firstUser+100)
	with.agents.Grow(size)
	without.agents.Grow(size)
	_, err := lab.Eventually(patience, func() error {
		resp, err := with.client.Get(m.Context(), "/confsyncd/crowd/hosts/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err == nil && resp.Count != size {
			err = fmt.Errorf("%d hosts have reported", resp.Count)
		}
		return err
	})
	m.Must(err)
	time.Sleep(firstReports)
	var puts, busy, floor Sample
	for range rounds {
		// A host that was quiet reports at once: what lasts is measured from its next turn on.
		with.edit(warm, every)
		got := watched(func() { with.edit(edits, every) }, with)[0]
		puts, busy = append(puts, got.puts), append(busy, got.processor)
		without.edit(warm, every)
		floor = append(floor, watched(func() { without.edit(edits, every) }, without)[0].processor)
		time.Sleep(firstReports / 2) // What was put off is reported.
	}
	quiet := watched(func() { time.Sleep(still) }, with, without)
	if n := without.puts(); n != 0 {
		m.Fatalf("%d reports of agents that do not report", n)
	}
	m.Row(puts.row(Row{What: "1,000 agents that apply an edit every 2 s: reports in a second", Target: "< one each per 5 s", Unit: "Puts/s", Bound: size / 5.0}))
	m.Row(busy.row(Row{What: "the same: etcd's processor", Unit: "% of a core", Floor: floor.Median(), FloorIs: "no reports"}))
	m.Row(Row{What: "1,000 agents with nothing to do: reports in a second", Unit: "Puts/s", Value: quiet[0].puts})
	m.Row(Row{What: "the same: etcd's processor", Unit: "% of a core", Value: quiet[0].processor, Floor: quiet[1].processor, FloorIs: "no reports"})
}
