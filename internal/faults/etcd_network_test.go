//go:build faults

package faults

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// networkCases are faults of the way to etcd.
func networkCases() []Case {
	return slices.Concat(partitionCases(), lostReplyCases(), badLinkCases(), absentCases())
}

// partitionCases cut one way or both, between etcd and publisher, agent or both, for as long
// as it takes the daemons to notice.
func partitionCases() []Case {
	var all []Case
	for _, who := range []string{"publisher", "agent", "both"} {
		for _, harm := range []struct {
			name, how string
			harm      lab.Harm
		}{
			{"refused", "connections are closed, and new ones refused", lab.Harm{Away: true}},
			{"half-open", "connections stay, nothing flows either way", lab.Harm{HoldRequests: true, HoldAnswers: true}},
			{"requests held", "what is sent to etcd arrives when it heals", lab.Harm{HoldRequests: true}},
			{"answers held", "what etcd sends arrives when it heals", lab.Harm{HoldAnswers: true}},
			{"requests dropped", "what is sent to etcd never arrives", lab.Harm{DropRequests: true}},
			{"answers dropped", "what etcd sends never arrives", lab.Harm{DropAnswers: true}},
		} {
			all = append(all, Case{
				Name:  "cut off " + who + " " + harm.name,
				How:   "a proxy between etcd and " + who + ", until the log says so, while files are edited: " + harm.how,
				Modes: []string{"files"},
				Try:   func(w *World) { w.cutOff(who, harm.harm) },
			})
		}
	}
	return all
}

// ways are the proxies that somebody reaches etcd through.
func (w *World) ways(who string) (proxies []*lab.Proxy, hosts []*lab.Host) {
	if who != "agent" {
		proxies, hosts = append(proxies, w.SourceProxies...), append(hosts, w.Source)
	}
	if who != "publisher" {
		proxies, hosts = append(proxies, w.TargetProxies...), append(hosts, w.Target)
	}
	return proxies, hosts
}

func (w *World) cutOff(who string, harm lab.Harm) {
	proxies, hosts := w.ways(who)
	w.Edit(10)
	for _, p := range proxies {
		p.Do(harm)
	}
	w.Edit(20)
	for _, h := range hosts {
		w.Says(h, "following etcd failed", h.Via)
	}
	w.Edit(20)
	for _, p := range proxies {
		p.Heal()
	}
	w.Count("partitions", 1)
	w.Healed()
}

// lostReplyCases let etcd apply a commit, and lose the answer.
func lostReplyCases() []Case {
	how := "a proxy throws away what etcd answers, from before an edit until another client sees the commit, "
	return []Case{
		{
			Name:  "reply lost after the Txn was applied",
			How:   how + "and then breaks the connection; each changeset must become one commit",
			Modes: []string{"files"},
			Try: func(w *World) {
				h := w.history()
				for range 8 {
					before := w.loseReply(h)
					w.SourceProxies[0].Heal()
					w.Healed()
					w.Converge()
					h.once(before)
				}
			},
		},
		{
			Name:  "reply lost for longer than a call waits",
			How:   how + "and goes on until the publisher's call has ended without an answer",
			Modes: []string{"files"},
			Try: func(w *World) {
				h := w.history()
				before := w.loseReply(h)
				w.Says(w.Source, "following etcd failed")
				w.SourceProxies[0].Heal()
				w.Healed()
				w.Converge()
				h.once(before)
			},
		},
		{
			Name:  "reply lost and publisher killed before it could ask",
			How:   how + "and kill -9 of the publisher; files are edited before it is started again",
			Modes: []string{"files"},
			Try: func(w *World) {
				h := w.history()
				for i := range 4 {
					founding := w.Source.Status(w.T).Tenants[0].Founding
					before := w.loseReply(h)
					w.do(w.Source.Daemon.Kill())
					w.Count("kills", 1)
					w.SourceProxies[0].Heal()
					if i%2 > 0 {
						w.Edit(5)
					}
					w.Publish()
					w.Healed()
					w.Converge()
					if i%2 == 0 {
						h.once(before)
					}
					if now := w.Source.Status(w.T).Tenants[0].Founding; now != founding {
						w.wrong("c", "the history was founded anew at generation %d", now)
					}
				}
			},
		},
	}
}

// loseReply makes an edit whose commit etcd applies without the publisher getting to know,
// and returns how many commits there were before it.
func (w *World) loseReply(h *history) (before int) {
	w.Helper()
	before = h.commits()
	w.small() // A patch against a small file asks etcd for nothing.
	h.grown(before)
	w.Equal(20 * time.Second)
	before = h.commits()
	w.SourceProxies[0].Do(lab.Harm{DropAnswers: true})
	w.small()
	h.grown(before)
	w.Count("lost replies", 1)
	return before
}

// small replaces a small file.
func (w *World) small() {
	w.Helper()
	w.do(w.Writer.Large("small", 1000))
}

// badLinkCases are links that work, badly.
func badLinkCases() []Case {
	// Edits pile up here, until the guard against deletions would be right to ask.
	unguarded := Setup{Publish: []string{"--max-delete", "100%"}}
	return []Case{
		{
			Name: "packets lost", Modes: []string{"files"},
			How:   "packets of a connection dropped at random by the kernel",
			Needs: Needs{Work: "not written: it takes a network namespace with nftables; connections reset at random, and links that come and go, stand for it"},
		},
		{
			Name:  "slow link",
			How:   "a proxy lets 2 KiB through every 5 ms, each way, of every connection: 400 KB/s; small edits, and a changeset of 1.5 MB, must arrive while it does",
			Modes: []string{"files"},
			Try: func(w *World) {
				w.bad(lab.Harm{Delay: 5 * time.Millisecond, Piece: 2 << 10})
				w.Edit(30)
				w.Healed()
				w.Converge()
				w.large(3, 512<<10)
				took := w.Equal(90 * time.Second)
				w.Note("1.5 MB took %.0f s", took.Seconds())
				w.bad(lab.Harm{})
			},
		},
		{
			Name:  "connections reset at random",
			How:   "a proxy resets a connection at 3% of the pieces that pass, for 200 edits",
			Modes: []string{"files"},
			Setup: unguarded,
			Try: func(w *World) {
				w.bad(lab.Harm{Resets: 3})
				for range 20 {
					w.Edit(10)
					time.Sleep(time.Duration(w.Writer.Draw(300)) * time.Millisecond)
				}
				w.bad(lab.Harm{})
				w.Healed()
			},
		},
		{
			Name:  "links that come and go",
			How:   "40 partitions of up to 600 ms, of a kind and a side drawn at random, while files are edited",
			Setup: unguarded,
			Try: func(w *World) {
				for range 40 {
					proxies, _ := w.ways([]string{"publisher", "agent", "both"}[w.Writer.Draw(3)])
					harm := []lab.Harm{
						{Away: true},
						{HoldRequests: true},
						{HoldAnswers: true},
						{DropRequests: true},
						{DropAnswers: true},
						{HoldRequests: true, DropAnswers: true},
					}[w.Writer.Draw(6)]
					for _, p := range proxies {
						p.Do(harm)
					}
					w.Edit(3)
					time.Sleep(time.Duration(w.Writer.Draw(600)) * time.Millisecond)
					for _, p := range proxies {
						p.Heal()
					}
					w.Edit(3)
					w.Count("partitions", 1)
				}
				w.Healed()
			},
		},
	}
}

// bad does harm on all ways.
func (w *World) bad(harm lab.Harm) {
	proxies, _ := w.ways("both")
	for _, p := range proxies {
		p.Do(harm)
	}
}

// absentCases have no etcd when the daemons start.
func absentCases() []Case {
	return []Case{
		{
			Name:  "connections refused when both start",
			How:   "proxies that refuse, for 10 s from the start of publisher and agent; log and status must say so",
			Setup: Setup{Empty: true},
			Try: func(w *World) {
				w.bad(lab.Harm{Away: true})
				w.Publish()
				w.Agent()
				w.saysAbsent()
				w.Edit(10)
				w.bad(lab.Harm{})
				w.arrive()
			},
		},
		{
			Name:  "etcd itself is away when both start",
			How:   "etcd is killed before publisher and agent start, and started when log and status have said so",
			Modes: []string{"files"},
			Setup: Setup{Empty: true},
			Try: func(w *World) {
				w.do(w.Cluster.Kill())
				w.Count("kills", 1)
				w.Publish()
				w.Agent()
				w.saysAbsent()
				w.Edit(10)
				w.do(w.Cluster.Start())
				w.arrive()
			},
		},
		{
			Name: "etcd's name is unknown when both start",
			How: "publisher and agent start with an /etc/hosts of their own (unshare -m), without the name that etcd is reached by, and no name server; " +
				"then it is added there",
			Modes: []string{"files"},
			// Their mounts are copies of all: what another case unmounts would stay alive in them.
			Alone: true,
			Setup: Setup{Empty: true},
			Needs: Needs{Root: true, Programs: []string{"unshare"}},
			Try: func(w *World) {
				w.nameless()
				w.arrive()
			},
		},
	}
}

// nameless starts both where etcd's name is not in /etc/hosts, and adds it there. Each sees
// files of its own in place of those that names are looked up in.
func (w *World) nameless() {
	w.Helper()
	const name = "etcd.confsyncd.invalid"
	for i, h := range []*lab.Host{w.Source, w.Target} {
		hosts, servers := filepath.Join(w.TempDir(), "hosts"), filepath.Join(w.TempDir(), "resolv.conf")
		w.do(os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"), 0o644))
		w.do(os.WriteFile(servers, []byte("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"), 0o644)) // Nobody answers there.
		h.Through = []string{"unshare", "-m", "sh", "-c", `mount --bind "$0" /etc/hosts && mount --bind "$1" /etc/resolv.conf && shift && exec "$@"`, hosts, servers}
		_, port, _ := strings.Cut([]*lab.Proxy{w.SourceProxies[0], w.TargetProxies[0]}[i].Address(), ":")
		h.Via = "http://" + name + ":" + port
		defer func() {
			f, err := os.OpenFile(hosts, os.O_WRONLY|os.O_APPEND, 0)
			w.do(err)
			_, err = f.WriteString("127.0.0.1 " + name + "\n")
			w.do(errors.Join(err, f.Close()))
		}()
	}
	w.Publish()
	w.Agent()
	w.saysAbsent()
	w.Edit(10)
}

// saysAbsent checks that log and status of both say that etcd cannot be reached.
func (w *World) saysAbsent() {
	w.Helper()
	for _, h := range []*lab.Host{w.Source, w.Target} {
		w.Says(h, "following etcd failed", h.Via, "etcd cannot be reached")
		r := h.Command(w.T, "status", "--tenant", tenant)
		if r.Code != 4 {
			w.wrong("f", "status while etcd is away: %v", r)
		}
	}
}

// arrive waits for the first contact, which nothing is in the way of from now on.
func (w *World) arrive() {
	w.Helper()
	w.Healed()
	w.Converge()
	w.Measure()
	w.Read()
	w.Edit(10)
	w.Equal(20 * time.Second)
}
