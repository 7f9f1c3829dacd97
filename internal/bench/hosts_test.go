//go:build bench

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/fleet"
	"github.com/confsyncd/confsyncd/internal/lab"
	"github.com/confsyncd/confsyncd/internal/logging"
	"github.com/confsyncd/confsyncd/internal/store"
)

// What the members of many hosts are.
const (
	agents    = "agents"
	reporters = "reporters" // agents that report what they are at
	watchers  = "watchers"  // bare clients that watch what agents watch
	readers   = "readers"   // bare clients that read all packs, once
)

// crewSize is how many members of many hosts share a process. The kernel lets a user have
// 128 inotify instances (fs.inotify.max_user_instances), of which each agent takes one: so
// each process is another user's.
const crewSize = 120

// firstUser is the user of a hosts' first process, unless it is told otherwise.
const firstUser = 64000

// crewEnv makes a process of this test binary a crew.
const crewEnv = "CONFSYNCD_BENCH_CREW"

// Hosts is many hosts: each has a connection of its own, and an agent its own store and
// target too.
type Hosts struct {
	m       *Meter
	order   order
	program string // this test binary, where any user can run it
	crews   []*crew
	Size    int
	User    int // of the first process; each has one of its own
}

// order is what a crew is told to be.
type order struct {
	Kind     string
	Endpoint string
	Tenant   string
	Dir      string // on a tmpfs; what a member has lies in a directory named by its number
	From, To int    // numbers of its members
}

// crew is a process with some of a hosts' members.
type crew struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

// Hosts returns no members yet, whose targets are to lie on a tmpfs. It ends with
// the figure.
func (m *Meter) Hosts(kind string, e *lab.Etcd, tenant string) *Hosts {
	m.Helper()
	if os.Geteuid() != 0 {
		m.LeaveOut("Many agents take more inotify instances than a user may have; only root can run it as many users.")
	}
	dir, err := os.MkdirTemp("/dev/shm", "confsyncd-bench-")
	m.Must(err)
	m.Cleanup(func() { _ = os.RemoveAll(dir) })
	m.Must(os.Chmod(dir, 0o755))
	f := &Hosts{m: m, order: order{Kind: kind, Endpoint: e.Endpoint(), Tenant: tenant, Dir: dir}, program: filepath.Join(dir, "crew"), User: firstUser}
	b, err := os.ReadFile("/proc/self/exe")
	m.Must(err)
	m.Must(os.WriteFile(f.program, b, 0o755))
	return f
}

// Muster starts processes for more members, up to n in all, which do nothing yet.
func (f *Hosts) Muster(n int) {
	f.m.Helper()
	for f.Size < n {
		o := f.order
		o.From, o.To = f.Size, min(n, f.Size+crewSize)
		text, err := json.Marshal(o)
		f.m.Must(err)
		user := f.User + len(f.crews)
		for i := o.From; i < o.To; i++ {
			f.m.Must(os.Mkdir(f.Of(i), 0o755))
			f.m.Must(os.Chown(f.Of(i), user, user))
		}
		c := &crew{cmd: exec.Command(f.program)}
		// Of a host's processors each has its share.
		c.cmd.Env = append(lab.Environment(), crewEnv+"="+string(text), "GOMAXPROCS=1")
		c.cmd.Dir, c.cmd.Stderr = "/", os.Stderr
		c.cmd.SysProcAttr = &syscall.SysProcAttr{
			Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user)},
		}
		in, err := c.cmd.StdinPipe()
		f.m.Must(err)
		out, err := c.cmd.StdoutPipe()
		f.m.Must(err)
		c.in, c.out = in, bufio.NewScanner(out)
		c.out.Buffer(nil, 1<<20)
		f.m.Must(c.cmd.Start())
		f.m.Cleanup(func() { _ = errors.Join(c.cmd.Process.Kill(), c.cmd.Wait()) })
		f.crews, f.Size = append(f.crews, c), o.To
		f.hear(c)
	}
}

// Of is the directory of what a member has.
func (f *Hosts) Of(i int) string { return filepath.Join(f.order.Dir, strconv.Itoa(i)) }

// Target is the target of an agent.
func (f *Hosts) Target(i int) string { return filepath.Join(f.Of(i), "target") }

// Go has all members begin that have not yet, at once, and returns when all are ready.
func (f *Hosts) Go() {
	f.m.Helper()
	f.ask("go")
}

// Grow is Muster and Go.
func (f *Hosts) Grow(n int) {
	f.m.Helper()
	f.Muster(n)
	f.Go()
}

// Seen returns when each member has seen an event since it was asked last.
func (f *Hosts) Seen() (seen []time.Time) {
	f.m.Helper()
	for _, line := range f.ask("seen") {
		var some []time.Time
		f.m.Must(json.Unmarshal([]byte(line), &some))
		seen = append(seen, some...)
	}
	return seen
}

// Memory returns how much a member has resident on average, in MB, what its process and the
// program take included.
func (f *Hosts) Memory() float64 {
	f.m.Helper()
	var sum int64
	for _, c := range f.crews {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", c.cmd.Process.Pid))
		f.m.Must(err)
		for line := range strings.Lines(string(b)) {
			var kib int64
			if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kib); n == 1 {
				sum += kib << 10
			}
		}
	}
	return float64(sum) / 1e6 / float64(f.Size)
}

// ask says something to all crews, and returns what each answers.
func (f *Hosts) ask(word string) (answers []string) {
	f.m.Helper()
	for _, c := range f.crews {
		_, err := fmt.Fprintln(c.in, word)
		f.m.Must(err)
	}
	for _, c := range f.crews {
		answers = append(answers, f.hear(c))
	}
	return answers
}

func (f *Hosts) hear(c *crew) string {
	f.m.Helper()
	if !c.out.Scan() {
		f.m.Fatalf("a process of %s has ended", f.order.Kind)
	}
	return c.out.Text()
}

// member does what a member of the kind does, from "go" on, until ctx ends. It calls ready
// once, and seen at each event that it sees.
type member func(ctx context.Context, o order, i int, ready, seen func()) error

// serveCrew is the whole of a process with some of a hosts' members.
func serveCrew(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	run := map[string]member{agents: runAgent, reporters: runReporting, watchers: runWatcher, readers: runReader}[o.Kind]
	g, ctx := errgroup.WithContext(context.Background())
	var mu sync.Mutex
	var seen []time.Time
	note := func() {
		now := time.Now()
		mu.Lock()
		seen = append(seen, now)
		mu.Unlock()
	}
	fmt.Println("here")
	running := false
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch word := in.Text(); {
		case word == "go" && running:
			fmt.Println("ready")
		case word == "go":
			running = true
			var ready sync.WaitGroup
			ready.Add(o.To - o.From)
			for i := o.From; i < o.To; i++ {
				g.Go(func() error {
					err := run(ctx, o, i, ready.Done, note)
					if err != nil {
						fmt.Fprintln(os.Stderr, err)
						os.Exit(1)
					}
					return nil
				})
			}
			ready.Wait()
			fmt.Println("ready")
		case word == "seen":
			mu.Lock()
			line, err := json.Marshal(seen)
			seen = nil
			mu.Unlock()
			if err != nil {
				return err
			}
			fmt.Println(string(line))
		}
	}
	return nil // Nobody wants to know any more.
}

// runAgent is an agent as the daemon has it, which does not report.
func runAgent(ctx context.Context, o order, i int, ready, _ func()) error {
	return agentOf(ctx, o, i, ready, false)
}

// runReporting is an agent as the daemon has it.
func runReporting(ctx context.Context, o order, i int, ready, _ func()) error {
	return agentOf(ctx, o, i, ready, true)
}

func agentOf(ctx context.Context, o order, i int, ready func(), reports bool) error {
	base := filepath.Join(o.Dir, strconv.Itoa(i))
	f, err := os.Create(filepath.Join(base, "log"))
	if err != nil {
		return err
	}
	log, err := logging.New(f, "info", "json")
	if err != nil {
		return err
	}
	const prefix = "/confsyncd"
	client := store.NewClient(store.Config{Endpoints: []string{o.Endpoint}, Prefix: prefix, Log: log})
	defer client.Close()
	target, state := filepath.Join(base, "target"), filepath.Join(base, "state")
	options := agent.Options{
		Prefix: prefix, Tenant: o.Tenant, Dir: target, UID: -1, GID: -1, StateDir: state, Store: client.Tenant(o.Tenant), Ready: ready, Log: log,
	}
	g, ctx := errgroup.WithContext(ctx)
	if reports {
		reporter := fleet.NewReporter(fleet.Options{
			Tenant: o.Tenant, Store: options.Store, ID: fmt.Sprintf("host-%04d", i), Labels: map[string]string{"role": "web"}, Name: "bench",
			TTL: time.Minute, Version: "bench", StateDir: state, Log: log,
		})
		options.Status = func(s agent.Status) {
			reporter.Set(codec.HostTarget{
				Dir: target, Channel: codec.MainChannel, State: s.State, Reason: s.Reason, Seen: s.Seen, Applied: s.Applied, Reloaded: s.Reloaded, Drift: s.Drift,
			})
		}
		g.Go(func() error { return reporter.Attend(ctx, target) })
	}
	g.Go(func() error { return agent.New(options).Run(ctx) })
	return g.Wait()
}

func bareClient(o order) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{o.Endpoint}, DialTimeout: 5 * time.Second})
}

func runWatcher(ctx context.Context, o order, _ int, ready, seen func()) error {
	c, err := bareClient(o)
	if err != nil {
		return err
	}
	defer c.Close()
	pub := "/confsyncd/" + o.Tenant + "/pub/"
	for resp := range c.Watch(clientv3.WithRequireLeader(ctx), pub+"head", clientv3.WithRange(pub+"log0"), clientv3.WithCreatedNotify()) {
		switch {
		case resp.Err() != nil:
			return resp.Err()
		case resp.Created:
			ready()
		default:
			seen()
		}
	}
	return nil
}

// runReader reads two packs at a time, which is about a MiB.
func runReader(ctx context.Context, o order, _ int, ready, _ func()) error {
	c, err := bareClient(o)
	if err != nil {
		return err
	}
	defer c.Close()
	next, end := "/confsyncd/"+o.Tenant+"/pub/packs/", "/confsyncd/"+o.Tenant+"/pub/packs0"
	for {
		resp, err := c.Get(ctx, next, clientv3.WithRange(end), clientv3.WithLimit(2))
		if err != nil {
			return err
		}
		if !resp.More {
			ready()
			return nil
		}
		next = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}
