//go:build bench

package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

func rollbackFigure() Figure {
	return Figure{
		Name: "rollback",
		How: "10,000 files of 2 KB are pushed, all of them replaced and pushed again; then `confsyncd rollback 1` as a process: from its beginning until the last of 20 agents has said that all is " +
			"in place and durable, and how many bytes more are in etcd. The agents share a process and have their targets on a tmpfs.",
		Measure: measureRollback,
	}
}

func measureRollback(m *Meter) {
	const files, size, hosts, rounds = 10_000, 2048, 20, 3
	etcd := m.Etcd()
	source := m.Lab(etcd).Host(m.T, "rollback", "source")
	fleet := m.Hosts(agents, etcd, "rollback")
	for version := range uint64(2) {
		m.Must(WriteTree(source.Dir, files, size, version))
		source.Must(m.T, "push")
		if version == 0 {
			fleet.Grow(hosts)
		}
	}
	m.appliedBy(fleet, 2)
	var took, command, grown Sample
	for round := range uint64(rounds) {
		_, before := m.InEtcd(etcd, "rollback")
		begin := time.Now()
		if r := source.Command(m.T, "--tenant", "rollback", "rollback", fmt.Sprint(1+round%2)); r.Code != 0 {
			m.Fatal(r)
		}
		command = append(command, ms(time.Since(begin)))
		took = append(took, ms(m.appliedBy(fleet, 3+round).Sub(begin)))
		_, after := m.InEtcd(etcd, "rollback")
		grown = append(grown, float64(after-before))
	}
	const content = files * size
	m.Row(Row{
		What: "rollback of 10,000 files of 2 KB: bytes committed", Target: "≤ 2 % of the contents", Unit: "KB", Value: grown.Max() / 1e3, Bound: 0.02 * content / 1e3,
		Note: fmt.Sprintf("the first; one that was made before has its list in etcd; %.2f %% of %d; a SHA-256 of each file, which nothing compresses, is %.0f KB of it", 100*grown.Max()/content, content, files*32/1e3),
	})
	m.Row(took.row(Row{
		What: "the same: until the last of 20 agents has all of it in place, durable (tmpfs)", Unit: "ms",
		Note: "the command itself " + figure(command.Median()) + " ms",
	}))
}

// appliedBy waits until each agent has said that a generation is in place and durable, and
// returns when the last said so.
func (m *Meter) appliedBy(f *Hosts, generation uint64) (last time.Time) {
	m.Helper()
	_, err := lab.Eventually(patience, func() error {
		last = time.Time{}
		for i := range f.Size {
			b, err := os.ReadFile(filepath.Join(f.Of(i), "log"))
			if err != nil {
				return err
			}
			at := appliedAt(string(b), generation)
			if at.IsZero() {
				return fmt.Errorf("agent %d lacks generation %d:\n%s", i, generation, b)
			}
			if at.After(last) {
				last = at
			}
		}
		return nil
	})
	m.Must(err)
	return last
}

func appliedAt(log string, generation uint64) (at time.Time) {
	for line := range strings.Lines(log) {
		var said struct {
			Message    string    `json:"@message"`
			Time       time.Time `json:"@timestamp"`
			Generation uint64
		}
		if json.Unmarshal([]byte(line), &said) == nil && said.Message == "applied" && said.Generation == generation {
			at = said.Time
		}
	}
	return at
}
