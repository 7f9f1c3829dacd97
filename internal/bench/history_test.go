//go:build bench

package bench

import (
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/lab"
)

func historyFigure() Figure {
	return Figure{
		Name: "history",
		How: `A fleet's 10,000 virtual hosts, as for the bytes stored, and 10,000 edits, each of a line or two of one file drawn by chance. A running publisher
with ` + "`--settle 0s`" + ` publishes each by itself; the next is made as soon as the head in etcd tells of the one before. The bytes are those of all of the
tenant's keys and values, less those of the first push. Then three targets that are at generation 1 pull.`,
		Profile: `a keyframe is made after 8,192 generations, so that one lies in the second half and none in the first: its list is the difference. Less would take lists of which unchanged parts are used again.`,
		Measure: measureHistory,
	}
}

func measureHistory(m *Meter) {
	const files, generations = 10_000, 10_000
	etcd := m.Etcd("--quota-backend-bytes", fmt.Sprint(8<<30))
	l := m.Lab(etcd)
	source := l.Host(m.T, "history", "source")
	fleet := NewFleet(files, 1)
	m.Must(fleet.Write(source.Dir))
	source.Must(m.T, "push")
	var targets []*lab.Host
	for i := range 3 {
		targets = append(targets, l.Host(m.T, "history", fmt.Sprint("target", i)))
		targets[i].Must(m.T, "pull")
	}

	commits := m.commits(etcd, "history")
	m.Must(source.Start("publish", "--settle", "0s"))
	edit := func() {
		path, text := fleet.Edit()
		m.Replace(source.Dir, path, text)
		commits.await()
	}
	edit() // Now it runs.
	_, first := m.InEtcd(etcd, "history")
	stored := func(generation int) (bytes int) {
		_, bytes = m.InEtcd(etcd, "history")
		m.Point("history-bytes", "confsyncd", float64(generation), float64(bytes-first))
		return bytes - first
	}
	var took time.Duration
	half, all := 0, 0
	for done := 0; done < generations; {
		begin := time.Now()
		for range generations / 10 {
			edit()
		}
		took, done = took+time.Since(begin), done+generations/10
		if all = stored(done); done == generations/2 {
			half = all
		}
	}
	m.Must(source.Stop())
	m.Row(Row{
		What: "10,000 generations of small edits in a tree of 10,000 files: bytes in etcd, a generation", Target: "≤ 1 KB, keyframes included", Unit: "bytes",
		Value: float64(all) / generations, Bound: 1000,
	})
	m.Row(Row{
		What: "the second 5,000 generations, against the first", Target: "linear: ≤ 1.1 ×", Unit: "KB",
		Value: float64(all-half) / 1e3, Floor: float64(half) / 1e3, FloorIs: "the first 5,000", Bound: 1.1 * float64(half) / 1e3,
	})
	m.catchUp(targets)
	txn := m.txns(etcd, 300, all/generations)
	m.Row(txn.row(Row{What: "floor: a Txn of that many bytes by a bare client", Unit: "ms"}))
	m.Row(Row{
		What: "the same: a generation, one after another", Unit: "ms", Value: ms(took) / generations, Floor: txn.Median(), FloorIs: "a Txn of that many bytes by a bare client",
		Note: fmt.Sprintf("%.0f generations a second", generations/took.Seconds()),
	})
}

// commits tells of a tenant's commits.
type commits struct {
	m     *Meter
	heads clientv3.WatchChan
	at    uint64 // the newest generation
}

// commits follows a tenant's commits from now on. It ends with the figure.
func (m *Meter) commits(e *lab.Etcd, tenant string) *commits {
	m.Helper()
	c := &commits{m: m, heads: e.Client(m.T).Watch(m.Context(), "/confsyncd/"+tenant+"/pub/head", clientv3.WithCreatedNotify())}
	<-c.heads
	return c
}

// await waits for the next commit: a head may also change for a keyframe alone.
func (c *commits) await() {
	c.m.Helper()
	timeout := time.After(patience)
	for before := c.at; c.at == before; {
		select {
		case resp := <-c.heads:
			c.m.Must(resp.Err())
			for _, e := range resp.Events {
				head, err := codec.DecodeHead(e.Kv.Value)
				c.m.Must(err)
				c.at = head.Position.Generation
			}
		case <-timeout:
			c.m.Fatalf("no commit within %v", patience)
		}
	}
}

// catchUp has targets that lag by all of it pull.
func (m *Meter) catchUp(targets []*lab.Host) {
	m.Helper()
	var pulls Sample
	for _, target := range targets {
		var r lab.Ran
		pulls = append(pulls, m.Timed(func() error {
			r = target.Must(m.T, "pull")
			return nil
		}))
		if n := strings.Count(r.Out, "applied generation"); n != 1 {
			m.Fatalf("%d applies: %v", n, r)
		}
	}
	m.Row(pulls.row(Row{What: "an agent that lags by all of them, until it has caught up", Target: "≤ 2 s, one apply", Unit: "ms", Bound: 2000}))
}

// txns measures Txns that put so many bytes, and replace a key as a head is replaced.
func (m *Meter) txns(e *lab.Etcd, n, bytes int) (took Sample) {
	m.Helper()
	etcd := e.Client(m.T)
	value := strings.Repeat("x", bytes)
	for i := range n {
		took = append(took, m.Timed(func() error {
			_, err := etcd.Txn(m.Context()).Then(clientv3.OpPut(fmt.Sprintf("/floor/log/%016x", i), value), clientv3.OpPut("/floor/head", value[:min(bytes, 167)])).Commit()
			return err
		}))
	}
	return took
}
