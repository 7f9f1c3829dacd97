//go:build faults

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// modelName is what the document calls it.
const modelName = "edits, faults and restarts, drawn"

// TestModel draws edits, faults and restarts at random, and compares what becomes of it
// with a plain map from paths to contents. What rapid finds it makes small, and keeps in
// testdata/rapid; it is tried first from then on.
//
// Its draws are many and short: -rapid.checks says how many, -rapid.steps how long.
func TestModel(t *testing.T) {
	for _, mode := range []string{"files", "tree"} {
		t.Run("model/"+mode, func(t *testing.T) {
			t.Parallel()
			r := &Result{Group: "model", Name: modelName, How: "pgregory.net/rapid, against a map in memory", Mode: mode, Began: time.Now(), Counts: make(map[string]int)}
			defer results.add(t, r)
			cluster := lab.NewCluster(t, filepath.Join(t.TempDir(), "etcd"), lab.ClusterOptions{Program: *etcdFlag, Flags: []string{"--unsafe-no-fsync"}})
			if err := cluster.Start(); err != nil {
				t.Fatal(err)
			}
			draws := 0
			rapid.Check(t, func(rt *rapid.T) {
				draws++
				m := newMachine(t, rt, cluster, mode, fmt.Sprint("draw", draws))
				defer m.close()
				m.r = r
				rt.Repeat(m.actions())
				m.heal()
				m.equal()
				r.count("draws", 1)
			})
			for _, letter := range []string{"a", "b", "c", "d", "e"} {
				r.checked(letter, !t.Failed())
			}
		})
	}
}

// machine is one draw: a tenant of its own in an etcd that it shares with others.
type machine struct {
	*rapid.T
	top                *testing.T // of all draws
	cluster            *lab.Cluster
	mode               string
	source, target     *lab.Host
	toSource, toTarget *lab.Proxy
	writer             *lab.Writer
	reader             *lab.Reader
	stop               context.CancelFunc
	read               chan error // closed by the reader
	fresh              func() *lab.Host
	damaged            bool // by somebody on the target
	r                  *Result
}

func newMachine(t *testing.T, rt *rapid.T, cluster *lab.Cluster, mode, tenant string) *machine {
	m := &machine{T: rt, top: t, cluster: cluster, mode: mode, read: make(chan error, 1)}
	l := lab.New(t, program, cluster.Members[0])
	hosts := 0
	m.fresh = func() *lab.Host {
		hosts++
		return l.Host(t, tenant, fmt.Sprint("host", hosts))
	}
	m.source, m.target = m.fresh(), m.fresh()
	m.toSource, m.toTarget = lab.NewProxy(t, cluster.Members[0].Endpoint()), lab.NewProxy(t, cluster.Members[0].Endpoint())
	m.source.Via, m.target.Via = m.toSource.Endpoint(), m.toTarget.Endpoint()
	var err error
	m.writer, err = lab.NewWriter(m.source.Dir, rapid.Uint64().Draw(rt, "seed"))
	m.do(err)
	m.do(m.writer.Fill(12))
	m.reader = &lab.Reader{Dir: m.target.Dir, Ledger: m.writer.Ledger}
	m.do(errors.Join(m.publish(), m.agent()))
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	go func() {
		defer close(m.read)
		m.read <- m.reader.Run(ctx)
	}()
	return m
}

func (m *machine) close() {
	m.stop()
	err := <-m.read
	for _, h := range []*lab.Host{m.source, m.target} {
		if h.Daemon != nil {
			_ = h.Daemon.Kill()
			h.Daemon = nil
		}
	}
	m.toSource.Heal()
	m.toTarget.Heal()
	m.do(err)
}

// do ends the draw if a step of it fails.
func (m *machine) do(err error) {
	m.Helper()
	if err != nil {
		m.Fatalf("%v\npublisher: %s\nagent: %s", err, lab.Tail(m.source.Log), lab.Tail(m.target.Log))
	}
}

func (m *machine) publish() error {
	return m.source.Start("publish", "--settle", "5ms", "--max-delay", "50ms", "--max-delete", "100%", "--publisher", "ci")
}

func (m *machine) agent() error { return m.target.Start("agent", "--mode", m.mode) }

// actions are what is drawn from.
func (m *machine) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"edit":           m.edit,
		"edit slowly":    m.editSlowly,
		"kill publisher": func(*rapid.T) { m.kill(m.source, m.publish) },
		"kill agent":     func(*rapid.T) { m.kill(m.target, m.agent) },
		"stop publisher": func(*rapid.T) { m.turn(m.source, m.publish) },
		"stop agent":     func(*rapid.T) { m.turn(m.target, m.agent) },
		"kill etcd":      m.killEtcd,
		"cut off":        m.cutOff,
		"heal":           func(*rapid.T) { m.heal() },
		"damage":         m.damage,
		"come to rest":   func(*rapid.T) { m.heal(); m.equal() },
		"join":           m.join,
	}
}

func (m *machine) edit(t *rapid.T) {
	for range rapid.IntRange(1, 8).Draw(t, "edits") {
		m.do(m.writer.Edit())
	}
	m.r.count("edits", 1)
}

func (m *machine) editSlowly(t *rapid.T) {
	for range rapid.IntRange(1, 5).Draw(t, "edits") {
		m.do(m.writer.Edit())
		time.Sleep(time.Duration(rapid.IntRange(0, 30).Draw(t, "ms")) * time.Millisecond)
	}
	m.r.count("edits", 1)
}

// kill ends a daemon as a crash would, looks at the target as it is then, and starts the
// daemon again.
func (m *machine) kill(h *lab.Host, again func() error) {
	if h.Daemon == nil {
		m.Skip("it does not run")
	}
	m.do(h.Daemon.Kill())
	h.Daemon = nil
	m.honest()
	m.do(again())
	m.r.count("kills", 1)
}

// turn stops a daemon that runs, and starts one that does not.
func (m *machine) turn(h *lab.Host, start func() error) {
	if h.Daemon == nil {
		m.do(start())
		return
	}
	err := h.Stop()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() {
		return // It had not come as far as to listen to signals.
	}
	m.do(err)
}

func (m *machine) killEtcd(t *rapid.T) {
	m.do(m.cluster.Kill())
	if rapid.Bool().Draw(t, "edit meanwhile") {
		m.edit(t)
	}
	m.do(m.cluster.Start())
	m.r.count("kills", 1)
}

func (m *machine) cutOff(t *rapid.T) {
	harm := rapid.SampledFrom([]lab.Harm{
		{Away: true}, {HoldAnswers: true}, {HoldRequests: true}, {DropAnswers: true}, {Resets: 20}, {Delay: 2 * time.Millisecond, Piece: 512},
	}).Draw(t, "harm")
	if rapid.Bool().Draw(t, "publisher") {
		m.toSource.Do(harm)
	} else {
		m.toTarget.Do(harm)
	}
	m.r.count("faults", 1)
}

// damage changes a managed file of the target locally, as nobody should.
func (m *machine) damage(t *rapid.T) {
	var paths []string
	tree, err := lab.ReadTree(m.target.Dir)
	if err != nil {
		m.Skip("an apply is under way")
	}
	for path, n := range tree {
		if n.Mode.IsRegular() {
			paths = append(paths, path)
		}
	}
	if len(paths) == 0 {
		m.Skip("there are no files")
	}
	path := m.writer.Pick(sorted(paths))
	m.damaged = true
	name := filepath.Join(m.target.Dir, path)
	if rapid.Bool().Draw(t, "delete") {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			m.do(err)
		}
		return
	}
	const local = "edited here\n"
	m.writer.Ledger.Allow(path, 0o644, local)
	outside := filepath.Join(filepath.Dir(m.target.Dir), "local")
	m.do(os.WriteFile(outside, []byte(local), 0o600))
	m.do(os.Chmod(outside, 0o644))
	if err := os.Rename(outside, name); err != nil {
		m.do(os.Remove(outside)) // The directory has gone meanwhile.
	}
	m.r.count("local edits", 1)
}

// join has a new host pull what is published.
func (m *machine) join(*rapid.T) {
	m.heal()
	m.equal()
	h := m.fresh()
	if _, err := lab.Eventually(20*time.Second, func() error {
		if r := h.Run(m.top, "pull"); r.Code != 0 {
			return fmt.Errorf("pull: %v", r)
		}
		return nil
	}); err != nil {
		m.do(err)
	}
	got, err := lab.ReadTree(h.Dir)
	m.do(errors.Join(err, lab.Differ(m.writer.Model, got)))
}

// heal takes away all that is in the way.
func (m *machine) heal() {
	m.toSource.Heal()
	m.toTarget.Heal()
	if m.source.Daemon == nil {
		m.do(m.publish())
	}
	if m.target.Daemon == nil {
		m.do(m.agent())
	}
}

// equal waits until the target is what the model says, and looks at the journal.
func (m *machine) equal() {
	_, err := lab.Equal(m.writer.Model, m.target.Dir, 20*time.Second)
	m.do(err)
	got, err := lab.ReadTree(m.source.Dir)
	m.do(errors.Join(err, lab.Differ(m.writer.Model, got)))
	m.honest()
	if !m.damaged {
		_, err = lab.Eventually(15*time.Second, func() error { return lab.Leftovers(m.target.Dir) })
		m.do(err)
	}
}

// honest compares the journal with the disk, unless somebody else was at it.
func (m *machine) honest() {
	if n, err := lab.JournalGeneration(m.target.Dir); m.damaged || n == 0 && err == nil {
		return
	}
	m.do(lab.Honest(m.target.Dir, nil))
}

func sorted(paths []string) []string {
	slices.Sort(paths)
	return paths
}
