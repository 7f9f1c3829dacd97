//go:build bench

package bench

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

func trafficFigure() Figure {
	return Figure{
		Name: "traffic",
		How: `One line of a file of 1 MB is edited, beside 200 files of 2 KB; publisher and host reach an etcd of one member, without TLS, through a proxy each that counts the bytes of
the connections' payload both ways until 0.7 s after the host has the edit. What passes in as long a time in which nothing is edited is taken off.`,
		Measure: measureTraffic,
	}
}

// counter is a TCP proxy in front of etcd that counts what passes, both ways.
type counter struct {
	listener net.Listener
	passed   atomic.Int64
}

// counter starts a proxy that ends with the figure.
func (m *Meter) counter(e *lab.Etcd) *counter {
	m.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	m.Must(err)
	m.Cleanup(func() { _ = l.Close() })
	c := &counter{listener: l}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			etcd, err := net.Dial("tcp", e.Address)
			if err != nil {
				_ = client.Close()
				continue
			}
			go c.pass(etcd, client)
			go c.pass(client, etcd)
		}
	}()
	return c
}

// pass copies until one side ends, and then ends both.
func (c *counter) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	_, _ = io.Copy(io.MultiWriter(to, c), from)
}

func (c *counter) Write(b []byte) (int, error) {
	c.passed.Add(int64(len(b)))
	return len(b), nil
}

func (c *counter) endpoint() string { return "http://" + c.listener.Addr().String() }

func measureTraffic(m *Meter) {
	const rounds, size, hot = 5, 1 << 20, "hot.conf"
	const after = 700 * time.Millisecond // Bases, reports: all that follows.
	etcd := m.Etcd()
	l := m.Lab(etcd)
	rng := rand.New(rand.NewPCG(11, 1))
	source, target := l.Host(m.T, "traffic", "source"), l.Host(m.T, "traffic", "target")
	counters := []*counter{m.counter(etcd), m.counter(etcd)}
	source.Via, target.Via = counters[0].endpoint(), counters[1].endpoint()
	m.Must(WriteTree(source.Dir, 200, 2048, 1))
	content := []byte(Config(rng, size))
	m.Replace(source.Dir, hot, string(content))
	m.Pair(source, target)
	arrival := m.Arrival(target.Dir)
	edit := func() {
		at := rng.IntN(size - 1000)
		at += bytes.IndexByte(content[at:], '\n') + 1
		end := at + bytes.IndexByte(content[at:], '\n')
		content = bytes.Join([][]byte{content[:at], fmt.Appendf(nil, "timeout_of_%d = %ds", rng.IntN(1000), rng.IntN(600)), content[end:]}, nil)
		begin := m.Replace(source.Dir, hot, string(content))
		arrival.Await(begin, hot, string(content))
	}
	passed := func(what func()) (bytes [2]int64) {
		for i, c := range counters {
			bytes[i] = -c.passed.Load()
		}
		what()
		time.Sleep(after)
		for i, c := range counters {
			bytes[i] += c.passed.Load()
		}
		return bytes
	}
	passed(edit) // Its base is known from now on.
	var all, host Sample
	for range rounds {
		idle := passed(func() { time.Sleep(200 * time.Millisecond) })
		seen := passed(edit)
		all = append(all, float64(seen[0]+seen[1]-idle[0]-idle[1]))
		host = append(host, float64(seen[1]-idle[1]))
	}
	m.Row(all.row(Row{What: "bytes that one edited line of 1 MB sends, both ways, publisher and one host", Target: "≤ 3,000", Unit: "bytes", Bound: 3000}))
	m.Row(host.row(Row{What: "the same: each further host", Target: "≤ 900", Unit: "bytes", Bound: 900}))
}
