//go:build bench

package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func bystanderFigure() Figure {
	return Figure{
		Name: "bystander",
		How: `Somebody else puts 100 bytes into the same etcd, one after another with 1 ms between them, while 50 MB that cannot be compressed are pushed, from
the start of ` + "`push`" + ` to its end; in turn with as long a time in which nothing is pushed.`,
		Measure: measureBystander,
	}
}

// beside measures Puts, one after another, while something is done, and how long that took.
func (m *Meter) beside(c *clientv3.Client, what func()) (puts Sample, took time.Duration) {
	m.Helper()
	ctx, cancel := context.WithCancel(m.Context())
	defer cancel()
	ended := make(chan error)
	go func() {
		for value := string(make([]byte, 100)); ctx.Err() == nil; time.Sleep(time.Millisecond) {
			begin := time.Now()
			if _, err := c.Put(m.Context(), "/bystander", value); err != nil {
				ended <- err
				return
			}
			puts = append(puts, ms(time.Since(begin)))
		}
		ended <- nil
	}()
	begin := time.Now()
	what()
	took = time.Since(begin)
	cancel()
	m.Must(<-ended)
	return puts, took
}

func measureBystander(m *Meter) {
	const rounds, files, fileBytes = 2, 50, 1_000_000
	etcd := m.Etcd("--quota-backend-bytes", fmt.Sprint(4<<30))
	l, client := m.Lab(etcd), etcd.Client(m.T)
	rng := rand.NewChaCha8([32]byte{1})
	var quiet, loaded, push Sample
	for round := range rounds {
		source := l.Host(m.T, fmt.Sprint("bulk", round), "source")
		for i := range files {
			content := make([]byte, fileBytes)
			_, _ = rng.Read(content)
			m.Must(os.WriteFile(filepath.Join(source.Dir, fmt.Sprintf("%d.bin", i)), content, 0o644))
		}
		time.Sleep(time.Second)
		puts, took := m.beside(client, func() { source.Must(m.T, "push") })
		loaded, push = append(loaded, puts...), append(push, ms(took))
		time.Sleep(time.Second)
		puts, _ = m.beside(client, func() { time.Sleep(took) })
		quiet = append(quiet, puts...)
	}
	p99 := quiet.Percentile(99)
	m.Row(Row{
		What: "a bystander's Put while 50 MB are pushed, p99", Target: "≤ 3 × quiet", Unit: "ms", Value: loaded.Percentile(99), Spread: loaded.spread(),
		Floor: p99, FloorIs: "nothing is pushed", Bound: 3 * p99,
		Note: fmt.Sprintf("p50 %s ms, longest %s ms", figure(loaded.Median()), figure(loaded.Max())),
	})
	m.Row(push.row(Row{What: "the push itself", Unit: "ms"}))
}
