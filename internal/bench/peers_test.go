//go:build bench

package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// Peer is another program, as a script in testdata/peers starts it. Comments at its top
// tell about it:
//
//	# what: what it is, and how it is set up, for who reads the document
//	# needs: commands
//	# runs: once for each edit, or as a daemon, which ends when it is told to (TERM)
//	# between: files (that is the default), etcds, or etcd and files
//
// It is given SOURCE and TARGET, directories; ETCD and MIRROR, endpoints of two etcds, where
// what lies below PREFIX is to be carried; and STATE, an empty directory of its own.
type Peer struct {
	Name, Script, What string
	Needs              []string
	Once               bool
	FromEtcd, ToEtcd   bool
}

func peers() ([]Peer, error) {
	scripts, err := filepath.Glob("testdata/peers/*.sh")
	if err != nil {
		return nil, err
	}
	var all []Peer
	for _, script := range scripts {
		b, err := os.ReadFile(script)
		if err != nil {
			return nil, err
		}
		p := Peer{Name: strings.TrimSuffix(filepath.Base(script), ".sh")}
		if p.Script, err = filepath.Abs(script); err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(b)) {
			comment, is := strings.CutPrefix(line, "# ")
			if !is {
				break
			}
			key, value, _ := strings.Cut(strings.TrimSpace(comment), ": ")
			switch key {
			case "what":
				p.What = value
			case "needs":
				p.Needs = strings.Fields(value)
			case "runs":
				p.Once = value == "once"
			case "between":
				p.FromEtcd, p.ToEtcd = strings.HasPrefix(value, "etcd"), value == "etcds"
			}
		}
		all = append(all, p)
	}
	return all, nil
}

func peersFigure() Figure {
	return Figure{
		Name: "peers",
		How: `Others at the same work, on the same machine, in turn: one of 200 files of 2 KB is replaced until it is right in the target (or, for those that watch etcd, a key is Put until the file, or the key in the mirror, is there).
Then 1,000 files of 2 KB are carried to an empty target, once each: until the last of them is right. What each of them promises differs: see what is said of it. confd and remco could not be had here.`,
		Measure: measurePeers,
	}
}

// run is a peer that was set up.
type run struct {
	Peer
	m              *Meter
	source, target string
	env            []string
	daemon         *lab.Process
}

// setUp gives a peer a tree to carry.
func (m *Meter) setUp(p Peer, etcd, mirror *lab.Etcd, files int) *run {
	m.Helper()
	dir, err := os.MkdirTemp(m.Dir, p.Name+"-")
	m.Must(err)
	r := &run{Peer: p, m: m, source: filepath.Join(dir, "source"), target: filepath.Join(dir, "target")}
	state := filepath.Join(dir, "state")
	for _, d := range []string{r.source, r.target, state} {
		m.Must(os.Mkdir(d, 0o755))
	}
	m.Must(WriteTree(r.source, files, 2048, uint64(files)))
	r.env = []string{
		"SOURCE=" + r.source, "TARGET=" + r.target, "STATE=" + state, "ETCD=" + etcd.Endpoint(), "MIRROR=" + mirror.Endpoint(),
		"PREFIX=/" + p.Name + "/", "PATH=" + filepath.Dir(*etcdFlag) + ":" + os.Getenv("PATH"),
	}
	return r
}

// begin starts the peer's daemon, or runs it once.
func (r *run) begin() {
	r.m.Helper()
	log := filepath.Join(filepath.Dir(r.source), "log")
	p, err := lab.Start(log, r.env, "bash", "-e", r.Script)
	r.m.Must(err)
	if !r.Once {
		r.daemon = p
		r.m.Cleanup(r.end)
		return
	}
	<-p.Ended
	if p.Err != nil {
		r.m.Fatalf("%s: %v, see %s", r.Name, p.Err, lab.Tail(log))
	}
}

func (r *run) end() {
	if r.daemon == nil || r.daemon.Over() {
		return
	}
	_ = r.daemon.Cmd.Process.Signal(syscall.SIGTERM) // It may have ended.
	select {
	case <-r.daemon.Ended:
	case <-time.After(10 * time.Second):
		_ = r.daemon.Kill()
	}
}

// carried waits until the target has the source's first n files.
func (r *run) carried(n int) error {
	at := 0
	_, err := lab.Eventually(patience, func() error {
		for ; at < n; at++ {
			want, err := os.ReadFile(filepath.Join(r.source, FileName(at)))
			r.m.Must(err)
			if got, err := os.ReadFile(filepath.Join(r.target, FileName(at))); err != nil || string(got) != string(want) {
				return fmt.Errorf("%s has not carried %s: %w", r.Name, FileName(at), err)
			}
		}
		return nil
	})
	return err
}

// edits returns a Side: an edit until it is carried.
func (r *run) edits(client, mirror *clientv3.Client) Side {
	rng := rand.New(rand.NewPCG(5, 6))
	name := FileName(7)
	if !r.FromEtcd {
		arrival := r.m.Arrival(filepath.Join(r.target, filepath.Dir(name)))
		return Side{r.Name, func() float64 {
			Rest()
			text := Config(rng, 2048)
			begin := r.m.Replace(r.source, name, text)
			if r.Once {
				r.begin()
			}
			return r.took(arrival.Await(begin, filepath.Base(name), text))
		}}
	}
	var events clientv3.WatchChan
	if r.ToEtcd {
		events = mirror.Watch(r.m.Context(), "/"+r.Name+"/", clientv3.WithPrefix())
	}
	arrival := r.m.Arrival(r.target)
	return Side{r.Name, func() float64 {
		Rest()
		text := Config(rng, 2048)
		begin := time.Now()
		_, err := client.Put(r.m.Context(), "/"+r.Name+"/file", text)
		r.m.Must(err)
		if !r.ToEtcd {
			return r.took(arrival.Await(begin, "file", text))
		}
		select {
		case <-events:
		case <-time.After(patience):
			r.m.Fatalf("%s mirrored nothing", r.Name)
		}
		return ms(time.Since(begin))
	}}
}

func (r *run) took(d time.Duration) float64 {
	if d == 0 {
		r.m.Fatalf("%s did not carry an edit, see %s", r.Name, lab.Tail(filepath.Join(filepath.Dir(r.source), "log")))
	}
	return ms(d)
}

func measurePeers(m *Meter) {
	const files, rounds = 200, 6
	etcd, mirror := m.Etcd(), m.Etcd()
	l := m.Lab(etcd)
	all, err := peers()
	m.Must(err)
	host := func(name string, files int) (source, target *lab.Host) {
		source, target = l.Host(m.T, name, "source"), l.Host(m.T, name, "target")
		m.Must(WriteTree(source.Dir, files, 2048, uint64(files)))
		return source, target
	}
	source, target := host("peer", files)
	ours := m.Pair(source, target, "--settle", "0s")
	sides := []Side{ours.edits("confsyncd", files, rand.New(rand.NewPCG(5, 7)))}
	var runs []*run
	for _, p := range all {
		if missing := p.missing(m.T); missing != "" {
			m.Note("%s is left out: there is no %s.", p.Name, missing)
			continue
		}
		r := m.setUp(p, etcd, mirror, files)
		r.begin()
		if !r.FromEtcd {
			m.Must(r.carried(files))
		}
		runs = append(runs, r)
		sides = append(sides, r.edits(etcd.Client(m.T), mirror.Client(m.T)))
	}
	time.Sleep(time.Second) // Watches stand.
	got := Interleave(rounds, sides...)
	m.Row(got[0].row(Row{What: "edit → visible: confsyncd, settle 0", Unit: "ms", Note: "each version is on disk before it is visible"}))
	m.Distribution("peers", "confsyncd", got[0])
	for i, r := range runs {
		m.Row(got[i+1].row(Row{What: "edit → visible: " + r.Name, Unit: "ms", Floor: got[0].Median(), FloorIs: "confsyncd", Note: r.What}))
		m.Distribution("peers", r.Name, got[i+1])
		r.end()
	}
	measureFirst(m, l, runs, etcd, mirror)
}

// measureFirst has all carry a large tree for the first time, one after another.
func measureFirst(m *Meter, l *lab.Lab, runs []*run, etcd, mirror *lab.Etcd) {
	const files = 1_000
	source, target := l.Host(m.T, "first", "source"), l.Host(m.T, "first", "target")
	m.Must(WriteTree(source.Dir, files, 2048, files))
	ours := m.Timed(func() error {
		m.Must(source.Start("publish"))
		m.Must(target.Start("agent"))
		return (&run{Peer: Peer{Name: "confsyncd"}, m: m, source: source.Dir, target: target.Dir}).carried(files)
	})
	m.Row(Row{What: "1,000 files to an empty target: confsyncd, both daemons started", Unit: "ms", Value: ours, Note: "all of it on disk before any of it is visible"})
	for _, r := range runs {
		if r.FromEtcd {
			continue
		}
		next := m.setUp(r.Peer, etcd, mirror, files)
		took := m.Timed(func() error {
			next.begin()
			return next.carried(files)
		})
		m.Row(Row{What: "1,000 files to an empty target: " + r.Name, Unit: "ms", Value: took, Floor: ours, FloorIs: "confsyncd", Note: r.What})
		next.end()
	}
}

// missing names a command that is not there.
func (p Peer) missing(t *testing.T) string {
	t.Helper()
	for _, need := range p.Needs {
		if _, err := os.Stat(filepath.Join(filepath.Dir(*etcdFlag), need)); err == nil {
			continue
		}
		if _, err := exec.LookPath(need); err != nil {
			return need
		}
	}
	return ""
}
