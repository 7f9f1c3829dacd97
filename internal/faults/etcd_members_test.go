//go:build faults

package faults

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// memberCases are faults of some of etcd's members.
func memberCases() []Case {
	three := Setup{Members: 3}
	files := []string{"files"}
	return []Case{
		{
			Name: "minority member", Modes: files, Setup: Setup{Members: 3, Parted: true, Empty: true},
			How: "proxies between three members keep one from the newest commits, and then all from each other; the agent is led to that one: what can be read there " +
				"without a majority is old; agents new and old must do nothing, and say so",
			Try: func(w *World) { w.minority() },
		},
		{
			Name: "two of three members killed", Modes: files, Setup: three,
			How: "kill -9 of two members while files are edited, started again when publisher and agent have said so; then two others",
			Try: func(w *World) {
				for i := range 2 {
					a, b := w.Cluster.Members[i], w.Cluster.Members[i+1]
					w.Edit(5)
					w.do(errors.Join(a.Kill(), b.Kill()))
					w.Count("kills", 2)
					w.Edit(5)
					for _, h := range []*lab.Host{w.Source, w.Target} {
						w.Says(h, "following etcd failed")
					}
					w.do(errors.Join(a.Launch(), b.Launch(), a.Await(), b.Await()))
					w.Healed()
					w.Converge()
				}
			},
		},
		{
			Name: "members restarted one after another", Modes: files, Setup: three,
			How: "each of three members is ended by SIGTERM and started again while files are edited, twice",
			Try: func(w *World) {
				for range 2 {
					for _, m := range w.Cluster.Members {
						w.Edit(5)
						w.do(errors.Join(m.Stop(), m.Start()))
						w.Count("restarts", 1)
					}
				}
				w.Healed()
			},
		},
		{
			Name: "leader hangs", Modes: files, Setup: three,
			How: "SIGSTOP of the leader of three members: connections to it stay open; edits must arrive while it hangs; then SIGCONT",
			Try: func(w *World) {
				hung := w.Cluster.Members[w.Cluster.Leader(w.T)].Running.Cmd.Process
				w.do(hung.Signal(syscall.SIGSTOP))
				w.Count("hangs", 1)
				w.Edit(10)
				w.Note("edits arrived %.1f s after the leader had stopped", w.Equal(60*time.Second).Seconds())
				w.do(hung.Signal(syscall.SIGCONT))
				w.Edit(10)
				w.Healed()
			},
		},
		{
			Name: "one of three connections holds still", Modes: files, Setup: three,
			How: "proxies hold all that flows between publisher and agent and one member, each in turn: the watch may be there; edits must arrive meanwhile",
			Try: func(w *World) {
				for i := range w.Cluster.Members {
					for _, p := range []*lab.Proxy{w.SourceProxies[i], w.TargetProxies[i]} {
						p.Do(lab.Harm{HoldRequests: true, HoldAnswers: true})
					}
					w.Count("partitions", 1)
					w.Edit(5)
					w.Note("edits arrived %.1f s after the connections to member %d held still", w.Equal(60*time.Second).Seconds(), i)
					w.SourceProxies[i].Heal()
					w.TargetProxies[i].Heal()
					w.Edit(5)
					w.Healed()
					w.Converge()
				}
			},
		},
		{
			Name: "member replaced behind its address", Modes: files, Setup: Setup{Members: 3, Empty: true},
			How: "publisher and agent know one member alone; it is killed, its data thrown away, removed from the cluster, and added anew at the same addresses",
			Try: func(w *World) { w.replaceMember() },
		},
		{
			Name: "compaction while the agent is cut off", Modes: files,
			How: "a proxy refuses the agent, 300 commits are made, etcd is compacted and defragmented, and the proxy lets the agent through again",
			Try: func(w *World) {
				h := w.history()
				w.TargetProxies[0].Cut()
				h.commit(300)
				h.compact()
				w.TargetProxies[0].Heal()
				w.Healed()
			},
		},
		{
			Name: "compaction while the agent is stopped",
			How:  "the agent is ended by SIGTERM, 100 commits are made, etcd is compacted and defragmented, and the agent is started again",
			Try: func(w *World) {
				h := w.history()
				w.do(w.Target.Stop())
				h.commit(100)
				h.compact()
				w.Agent()
				w.Healed()
			},
		},
		{
			Name: "compaction while packs are read",
			How: "a gRPC proxy stops the agent at the second pack of a changeset of 3 MB; another commit is made, or, twice, a key written elsewhere; etcd " +
				"is compacted, so that nothing can be read as the agent began to, and the proxy goes on",
			Setup: Setup{Empty: true},
			Try:   func(w *World) { w.compactMeanwhile() },
		},
		{
			Name: "compaction after every commit",
			How:  "etcd is compacted again and again while files are edited, and publisher and agent are killed and started now and then",
			Try: func(w *World) {
				h := w.history()
				for i := range 40 {
					w.Edit(5)
					time.Sleep(time.Duration(w.Writer.Draw(60)) * time.Millisecond)
					h.compact()
					if i%10 == 5 {
						w.do(errors.Join(w.Target.Daemon.Kill(), w.Source.Daemon.Kill()))
						w.Count("kills", 2)
						w.Agent()
						w.Publish()
					}
				}
				w.Healed()
			},
		},
	}
}

func (w *World) minority() {
	stale, other := w.Cluster.Members[0], w.Cluster.Members[1]
	w.Source.Via = w.SourceProxies[1].Endpoint()
	w.Target.Via = w.TargetProxies[0].Endpoint()
	w.TargetProxies[0].Lead(other.Endpoint())
	w.Start()
	// Stopped first, the member makes no connection in which the commits could wait for it.
	hung := stale.Running.Cmd.Process
	w.do(hung.Signal(syscall.SIGSTOP))
	w.part(true, 0, 1, 2)
	w.part(false, 1, 2)
	h := &history{w: w, etcd: other.Client(w.T)}
	before := h.commits()
	h.commit(5)
	w.Equal(20 * time.Second)
	at, err := lab.JournalGeneration(w.Target.Dir)
	w.do(err)

	w.part(true, 1, 2)
	w.Count("partitions", 1)
	w.TargetProxies[0].Lead(stale.Endpoint())
	w.TargetProxies[0].Reset()
	w.do(hung.Signal(syscall.SIGCONT))
	resp, err := stale.Client(w.T).Get(w.Context(), pubKey+"log/", clientv3.WithPrefix(), clientv3.WithCountOnly(), clientv3.WithSerializable())
	w.do(err)
	if int(resp.Count) != before {
		w.Fatalf("the member is not stale: it has %d commits, %d were made before", resp.Count, before)
	}
	w.do(w.Target.Daemon.Kill())
	w.Honest()
	w.Agent()
	w.Says(w.Target, "following etcd failed", w.Target.Via)
	fresh := w.host("fresh")
	fresh.Via = w.Target.Via
	if r := fresh.Run(w.T, "pull"); r.Code != 4 {
		w.wrong("f", "a pull from a member without a majority: %v", r)
	}
	if entries, err := os.ReadDir(fresh.Dir); err != nil || len(entries) > 0 {
		w.wrong("a", "a pull from a member without a majority wrote %v: %v", entries, err)
	}
	if now, err := lab.JournalGeneration(w.Target.Dir); err != nil || now != at {
		w.wrong("b", "the journal went from generation %d to %d: %v", at, now, err)
	}
	w.part(false, 0, 1, 2)
	w.Healed()
	w.Replace(3)
	w.Converge()
	logged, err := os.ReadFile(w.Target.Log)
	w.do(err)
	if strings.Contains(string(logged), "rewound") {
		w.wrong("b", "the agent took what a stale member said for a rewind")
	}
}

// part keeps members from being reached by others, or lets them be.
func (w *World) part(parted bool, members ...int) {
	for _, i := range members {
		w.Cluster.Ways[i].Do(lab.Harm{Away: parted})
	}
}

func (w *World) replaceMember() {
	replaced, other := w.Cluster.Members[0], w.Cluster.Members[1].Client(w.T)
	w.Source.Via, w.Target.Via = w.SourceProxies[0].Endpoint(), w.TargetProxies[0].Endpoint()
	w.Start()
	w.Edit(10)
	status, err := other.Status(w.Context(), w.Cluster.Members[1].Endpoint())
	w.do(err)
	members, err := other.MemberList(w.Context())
	w.do(err)
	w.do(replaced.Kill())
	w.Count("kills", 1)
	w.Edit(10)
	// One without a leader never answers: each try has its end.
	try := func(change func(context.Context) error) {
		_, err := lab.Eventually(time.Minute, func() error {
			ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
			defer cancel()
			return change(ctx)
		})
		w.do(err)
	}
	for _, m := range members.Members {
		if m.Name == "member0" {
			try(func(ctx context.Context) error {
				_, err := other.MemberRemove(ctx, m.ID)
				if errors.Is(err, rpctypes.ErrMemberNotFound) {
					return nil // By a try that was given up.
				}
				return err
			})
		}
	}
	try(func(ctx context.Context) error { // Until what is left is healthy.
		_, err := other.MemberAdd(ctx, []string{"http://" + w.Cluster.Peers[0]})
		if errors.Is(err, rpctypes.ErrPeerURLExist) {
			return nil
		}
		return err
	})
	w.do(err)
	w.do(replaced.Wipe())
	w.Cluster.Options.Flags = append(w.Cluster.Options.Flags, "--initial-cluster-state", "existing")
	w.do(replaced.Start())
	w.Healed()
	now, err := replaced.Client(w.T).Status(w.Context(), replaced.Endpoint())
	w.do(err)
	if now.Header.ClusterId != status.Header.ClusterId {
		w.Fatal("it is another cluster")
	}
}

func (w *World) compactMeanwhile() {
	agents := w.relayed()[1]
	w.Start()
	h := w.history()
	for i := range 3 {
		met, goOn := w.stopAtPack(agents)
		w.large(6, 512<<10)
		select {
		case <-met:
		case <-time.After(20 * time.Second):
			w.Fatal("the agent reads no packs")
		}
		if i == 0 {
			before := h.commits()
			w.small()
			h.grown(before)
		} else {
			_, err := h.etcd.Put(w.Context(), "/elsewhere", "")
			w.do(err)
		}
		h.compact()
		close(goOn)
		w.Healed()
		w.Converge()
	}
}

// stopAtPack holds an agent at the second pack that it reads, and those after it. The first
// channel is closed when it is there; the caller closes the second one, to let it go on.
func (w *World) stopAtPack(agents *lab.Relay) (met, goOn chan struct{}) {
	met, goOn = make(chan struct{}), make(chan struct{})
	reads := make(chan int, 1)
	reads <- 0
	agents.Judge(func(c lab.RPC) lab.Verdict {
		if c.Method != "KV/Range" || !strings.Contains(string(c.Request), pubKey+"packs/") {
			return lab.Verdict{}
		}
		n := <-reads + 1
		reads <- n
		if n == 2 {
			close(met)
		}
		if n >= 2 {
			<-goOn
		}
		return lab.Verdict{}
	})
	return met, goOn
}
