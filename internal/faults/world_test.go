//go:build faults

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// tenant is what is published.
const tenant = "prod"

// World is a publisher and an agent around an etcd, with those who use them.
type World struct {
	*testing.T
	*lab.Lab
	Cluster *lab.Cluster
	Mode    string
	Source  *lab.Host
	Target  *lab.Host
	// What each reaches the members of etcd through.
	SourceProxies, TargetProxies []*lab.Proxy
	Keys                         *Keys // nil without Setup.TLS
	Writer                       *lab.Writer
	Seed                         uint64

	// Want, if set, says what the target must become in place of what the Writer wrote.
	Want func() (lab.Tree, error)
	// Rewound is set by a case that takes commits away from etcd.
	Rewound bool
	// Swept is set by a case that has old commits removed.
	Swept bool

	standbys []*lab.Host // more publishers of the source

	looking sync.Mutex // guards strange, and is held while the journal is compared with the disk
	strange bool       // others change the target: see BeStrange

	c         Case
	result    *Result
	reader    *lab.Reader
	stopRead  context.CancelFunc
	read      chan error // closed once the reader has ended
	honest    chan error // closed once the journal is no longer looked at
	bystander map[string]syscall.Stat_t
	healed    time.Time
	converged bool
	baseline  map[string]usage // of daemons that were in sync, by name
	number    int              // of the newest content that a case made by itself
}

func newWorld(t *testing.T, c Case, mode string, r *Result) *World {
	t.Helper()
	w := &World{T: t, c: c, Mode: mode, result: r, Seed: seedOf(t.Name()), baseline: make(map[string]usage)}
	o := lab.ClusterOptions{
		Program: c.Setup.server(), Members: c.Setup.Members, Parted: c.Setup.Parted,
		// No case cuts etcd's own power, and a killed process loses nothing that it wrote.
		Flags: append([]string{"--unsafe-no-fsync"}, c.Setup.Etcd...),
	}
	if c.Setup.TLS {
		w.Keys = newKeys(w)
		o.TLS, o.Flags = w.Keys.client("lab"), append(w.Keys.server(), o.Flags...)
	}
	w.Cluster = lab.NewCluster(t, filepath.Join(t.TempDir(), "etcd"), o)
	if w.Keys != nil {
		w.Keys.serve(w.Cluster)
	}
	w.do(w.Cluster.Start())
	w.Lab = lab.New(t, program, w.Cluster.Members[0])
	w.Source, w.Target = w.host("source"), w.host("target")
	w.SourceProxies, w.TargetProxies = w.proxied(w.Source), w.proxied(w.Target)
	var err error
	w.Writer, err = lab.NewWriter(w.Source.Dir, w.Seed)
	w.do(err)
	files := c.Setup.Files
	if files == 0 {
		files = 40
	}
	w.do(w.Writer.Fill(files))
	w.reader = &lab.Reader{Dir: w.Target.Dir, Ledger: w.Writer.Ledger}
	w.surround(w.Source, w.Target)
	t.Cleanup(func() {
		if t.Failed() {
			w.stopReading() // A step that failed may have ended the test before.
			t.Logf("publisher: %s\nagent: %s", lab.Tail(w.Source.Log), lab.Tail(w.Target.Log))
		}
	})
	return w
}

// seedOf makes each case's draws its own, whichever others run.
func seedOf(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // It never fails.
	return theSeed() ^ h.Sum64()
}

func (w *World) host(name string) *lab.Host {
	w.Helper()
	h := w.Lab.Host(w.T, tenant, name)
	if w.Keys != nil {
		w.Keys.equip(h, name)
	}
	return h
}

// Configure gives a host a configuration file of its own, outside of all that is checked.
func (w *World) Configure(h *lab.Host, text string) {
	w.Helper()
	if h.Config == w.Lab.Config {
		h.Config = filepath.Join(w.TempDir(), "confsyncd.toml")
	}
	w.do(lab.Place(h.Config, []byte(text)))
}

// Reload has a daemon read its configuration again.
func (w *World) Reload(h *lab.Host) {
	w.Helper()
	w.do(h.Daemon.Cmd.Process.Signal(syscall.SIGHUP))
}

// proxied leads a host's ways to etcd through proxies, one for each member.
func (w *World) proxied(h *lab.Host) []*lab.Proxy {
	var all []*lab.Proxy
	var via []string
	for _, m := range w.Cluster.Members {
		p := lab.NewProxy(w.T, m.Endpoint())
		all, via = append(all, p), append(via, p.Endpoint())
	}
	h.Via = strings.Join(via, ",")
	return all
}

// surround puts bystanders beside hosts' directories, which nobody may touch.
func (w *World) surround(hosts ...*lab.Host) {
	w.Helper()
	for _, h := range hosts {
		beside := filepath.Join(filepath.Dir(h.Dir), "bystander")
		w.do(errors.Join(
			os.MkdirAll(filepath.Join(beside, "sub"), 0o750),
			os.WriteFile(filepath.Join(beside, "file"), []byte("not ours\n"), 0o640),
			os.WriteFile(filepath.Join(beside, "sub", "file"), []byte("not ours either\n"), 0o600),
			os.Symlink("sub/file", filepath.Join(beside, "link")),
		))
	}
	w.bystander = w.bystanders()
}

func (w *World) bystanders() map[string]syscall.Stat_t {
	w.Helper()
	all := make(map[string]syscall.Stat_t)
	for _, h := range []*lab.Host{w.Source, w.Target} {
		stamps, err := lab.Stamps(filepath.Join(filepath.Dir(h.Dir), "bystander"))
		if os.IsNotExist(err) {
			continue // yet to be put there
		}
		w.do(err)
		for name, st := range stamps {
			st.Dev = 0 // A file system may be mounted anew.
			all[name] = st
		}
	}
	return all
}

// do ends the test if a step of it fails.
func (w *World) do(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// wrong fails a check, by its letter.
func (w *World) wrong(letter, format string, args ...any) {
	w.Helper()
	w.result.checked(letter, false)
	w.Errorf("check %s: "+format, append([]any{letter}, args...)...)
}

// Count adds to how often something was done, as docs/faults.md tells it: "kills", "cuts",
// "bad inputs".
func (w *World) Count(what string, n int) { w.result.count(what, n) }

// Note is told beside the case in docs/faults.md.
func (w *World) Note(format string, args ...any) {
	w.Helper()
	w.Logf(format, args...)
	w.result.Notes = append(w.result.Notes, fmt.Sprintf(format, args...))
}

// Publish starts the publisher.
func (w *World) Publish(more ...string) {
	w.Helper()
	w.do(w.Source.Start("publish", w.PublishFlags(more...)...))
}

// PublishFlags are what the publisher is started with.
func (w *World) PublishFlags(more ...string) []string {
	return append(append([]string{"--settle", "10ms", "--max-delay", "200ms", "--publisher", "ci"}, w.c.Setup.Publish...), more...)
}

// Agent starts the agent.
func (w *World) Agent(more ...string) {
	w.Helper()
	w.do(w.Target.Start("agent", w.AgentFlags(more...)...))
}

// AgentFlags are what the agent is started with.
func (w *World) AgentFlags(more ...string) []string {
	flags := append([]string{"--mode", w.Mode}, w.c.Setup.Agent...)
	return append(flags, more...)
}

// Start starts publisher and agent, waits until the target equals the source, and has it
// read from then on.
func (w *World) Start() {
	w.Helper()
	w.Publish()
	w.Agent()
	w.Equal(w.c.within())
	w.Measure()
	w.Read()
}

// Read has the target read from now on, until all is checked.
func (w *World) Read() {
	ctx, cancel := context.WithCancel(context.Background())
	w.stopRead, w.read, w.honest = cancel, make(chan error, 1), make(chan error, 1)
	go func() {
		defer close(w.read)
		w.read <- w.reader.Run(ctx)
	}()
	go func() {
		defer close(w.honest)
		var err error
		for took := time.Duration(0); err == nil && lab.Sleep(ctx, max(5*time.Millisecond, 3*took)); {
			begin := time.Now()
			err = w.honestly()
			took = time.Since(begin)
		}
		w.honest <- err
	}()
	w.Cleanup(cancel)
}

// Edit makes edits of all kinds, as the Writer draws them.
func (w *World) Edit(times int) {
	w.Helper()
	for range times {
		w.do(w.Writer.Edit())
	}
}

// Replace replaces files by new versions, all as one changeset.
func (w *World) Replace(files int) {
	w.Helper()
	release := w.Hold()
	paths := w.Writer.Paths(func(n lab.Node) bool { return n.Mode.Type() != fs.ModeDir })
	for range files {
		w.do(w.Writer.Put(w.Writer.Pick(paths)))
	}
	release()
}

// Hold keeps edits from being published until what it returns is called: then they are
// one changeset.
func (w *World) Hold() (release func()) {
	w.Helper()
	hold := filepath.Join(w.Source.Dir, ".confsyncd-hold")
	w.do(os.WriteFile(hold, nil, 0o600))
	return func() {
		w.Helper()
		w.do(os.Remove(hold))
	}
}

// want is what the target must become.
func (w *World) want() (lab.Tree, error) {
	if w.Want != nil {
		return w.Want()
	}
	source, err := lab.ReadTree(w.Source.Dir)
	if err == nil {
		err = lab.Differ(w.Writer.Model, source)
	}
	if err != nil {
		return nil, fmt.Errorf("the source is not what was written: %w", err)
	}
	return source, nil
}

// Equal waits until the target is what it must become.
func (w *World) Equal(within time.Duration) time.Duration {
	w.Helper()
	took, err := lab.Eventually(within, w.differ)
	if err != nil {
		w.wrong("e", "the target does not become equal: %v\npublisher: %s\nagent: %s", err, lab.Tail(w.Source.Log), lab.Tail(w.Target.Log))
		w.FailNow()
	}
	return took
}

func (w *World) differ() error {
	want, err := w.want()
	if err != nil {
		return err
	}
	got, err := lab.ReadTree(w.Target.Dir)
	if err != nil {
		return err
	}
	return lab.Differ(want, got)
}

// BeStrange is called before others change the target: from then on their changes are
// neither drift that is left nor files that went missing.
func (w *World) BeStrange() {
	w.looking.Lock()
	defer w.looking.Unlock()
	w.strange = true
}

func (w *World) isStrange() bool {
	w.looking.Lock()
	defer w.looking.Unlock()
	return w.strange
}

// Healed marks the moment from which on nothing is in the way.
func (w *World) Healed() { w.healed, w.converged = time.Now(), false }

// Converge waits until all is equal again after the fault has healed, or after now if no
// case said when that was.
func (w *World) Converge() time.Duration {
	w.Helper()
	if w.converged {
		return w.result.Converged
	}
	if w.healed.IsZero() {
		w.healed = time.Now()
	}
	left := w.c.within() - time.Since(w.healed)
	w.Equal(left)
	took := time.Since(w.healed)
	w.converged, w.result.Converged = true, max(w.result.Converged, took)
	w.result.checked("c", true)
	w.result.checked("e", true)
	return took
}

// Says waits until a host's log has all the words in one line, and returns it.
func (w *World) Says(h *lab.Host, words ...string) string {
	w.Helper()
	line, err := lab.FindLine(h.Log, 20*time.Second, words...)
	if err != nil {
		w.wrong("f", "%v", err)
		w.FailNow()
	}
	w.result.checked("f", true)
	return line
}

// Shows waits until "confsyncd status" tells that state of the host's directory, with all
// the words in its reason, and returns the reason.
func (w *World) Shows(h *lab.Host, state string, words ...string) (reason string) {
	w.Helper()
	_, err := lab.Eventually(20*time.Second, func() error {
		r := h.Command(w.T, "status", "--tenant", tenant, "-o", "json")
		var s lab.Status
		if err := json.Unmarshal([]byte(r.Out), &s); err != nil {
			return fmt.Errorf("status: %w: %v", err, r)
		}
		var is string
		for _, source := range s.Sources {
			is, reason = source.State, source.Reason
		}
		for _, target := range s.Targets {
			is, reason = target.State, target.Reason
		}
		for _, word := range words {
			if !strings.Contains(reason, word) {
				return fmt.Errorf("status tells %s: %s: no %q in it", is, reason, word)
			}
		}
		if is != state {
			return fmt.Errorf("status tells %s: %s: want %s", is, reason, state)
		}
		return nil
	})
	if err != nil {
		w.wrong("f", "%v", err)
		w.FailNow()
	}
	w.result.checked("f", true)
	return reason
}
