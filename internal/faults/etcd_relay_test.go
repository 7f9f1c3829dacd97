//go:build faults

package faults

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// relayCases put gRPC proxies in the way, which answer calls by themselves.
func relayCases() []Case {
	var all []Case
	for _, code := range []codes.Code{codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.Internal, codes.Unknown} {
		all = append(all, Case{
			Name: fmt.Sprintf("a proxy answers %v to commits", code),
			How: "a gRPC proxy between publisher and etcd answers that to the Txn of a commit: once or three times in a row, after etcd has applied it or without " +
				"handing it on; each changeset must become one commit",
			Modes: []string{"files"},
			Setup: Setup{Empty: true},
			Try:   func(w *World) { w.misanswer(code) },
		})
	}
	return append(
		all,
		Case{
			Name: "a proxy answers errors to packs, reads and watches",
			How: "gRPC proxies before publisher and agent answer two of three Txns of packs and reads with Canceled, DeadlineExceeded, Unavailable, Internal or " +
				"Unknown, and end every watch with it",
			Modes: []string{"files"},
			Setup: Setup{Empty: true},
			Try:   func(w *World) { w.misanswerAll() },
		},
		Case{
			Name:  "a proxy swallows answers",
			How:   "gRPC proxies before publisher and agent answer pings, and let every third call wait for ever",
			Modes: []string{"files"},
			Setup: Setup{Empty: true},
			Try:   func(w *World) { w.swallow() },
		},
		Case{
			Name:   "a watch falls silent",
			How:    "gRPC proxies keep back all that the open watches of publisher and agent bring, while calls and pings work; found by reading the head",
			Modes:  []string{"files"},
			Slow:   true,
			Within: 150 * time.Second,
			Setup:  Setup{Empty: true},
			Try: func(w *World) {
				relays := w.relayed()
				w.Start()
				for _, r := range relays {
					r.Silence()
				}
				w.Count("silent watches", 2)
				w.Replace(3)
				w.Healed()
			},
		},
		Case{
			Name:   "a watch opens deaf",
			How:    "a gRPC proxy lets the agent's watch be confirmed, and bring nothing, while calls and pings work; found by reading the head",
			Modes:  []string{"files"},
			Slow:   true,
			Within: 150 * time.Second,
			Setup:  Setup{Empty: true},
			Try: func(w *World) {
				agents := w.relayed()[1]
				w.Publish()
				w.history().grown(0)
				agents.Deafen(true)
				w.Agent()
				w.Equal(20 * time.Second)
				w.Measure()
				w.Read()
				agents.Deafen(false) // It is not noticed: the watch is open.
				w.Count("silent watches", 1)
				w.Replace(3)
				w.Healed()
			},
		},
		Case{
			Name: "etcd wiped behind proxies that keep connections",
			How: "kill -9 of etcd, its data thrown away and started again, while gRPC proxies keep the watches of publisher and agent open, with nothing to bring; " +
				"found by reading the head, and founded anew without an edit",
			Modes:  []string{"files"},
			Slow:   true,
			Within: 150 * time.Second,
			Setup:  Setup{Empty: true},
			Try:    func(w *World) { w.wipeBehind() },
		},
	)
}

// relayed leads publisher and agent through a relay each.
func (w *World) relayed() [2]*lab.Relay {
	w.Helper()
	var relays [2]*lab.Relay
	for i, h := range []*lab.Host{w.Source, w.Target} {
		relays[i] = lab.NewRelay(w.T, w.Cluster.Members[0].Endpoint())
		h.Via = relays[i].Endpoint()
	}
	return relays
}

// commits reports whether a call is the Txn of a commit, not one of packs.
func commits(c lab.RPC) bool {
	return c.Method == "KV/Txn" && bytes.Contains(c.Request, []byte(pubKey+"log/"))
}

func (w *World) misanswer(code codes.Code) {
	publishers := w.relayed()[0]
	w.Start()
	h := w.history()
	for i := range 8 {
		keep, times := i%2 == 0, int64(1+i/2%2*2)
		var met atomic.Int64
		publishers.Judge(func(c lab.RPC) lab.Verdict {
			if commits(c) && met.Add(1) <= times {
				return lab.Verdict{Keep: keep, Code: code}
			}
			return lab.Verdict{}
		})
		before := h.commits()
		w.small()
		w.Healed()
		w.Converge()
		h.once(before)
		publishers.Judge(nil)
		w.Count("wrong answers", int(min(met.Load(), times)))
		if met.Load() == 0 {
			w.Fatal("no commit was met")
		}
	}
}

func (w *World) misanswerAll() {
	relays := w.relayed()
	w.Start()
	for _, code := range []codes.Code{codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.Internal, codes.Unknown} {
		var met atomic.Int64
		for _, r := range relays {
			var n atomic.Int64
			r.Judge(func(c lab.RPC) lab.Verdict {
				if commits(c) || !strings.HasPrefix(c.Method, "KV/") || n.Add(1)%3 == 0 {
					return lab.Verdict{}
				}
				return lab.Verdict{Keep: met.Add(1)%2 == 0, Code: code}
			})
			r.End(code)
		}
		w.large(3, 512<<10)
		w.Edit(10)
		w.Equal(40 * time.Second) // It goes on meanwhile.
		for _, r := range relays {
			r.Judge(nil)
		}
		w.Count("wrong answers", int(met.Load()))
		w.Edit(10)
		w.Healed()
		w.Converge()
	}
}

func (w *World) swallow() {
	relays := w.relayed()
	w.Start()
	var met atomic.Int64
	over := make(chan struct{})
	for _, r := range relays {
		r.Judge(func(lab.RPC) lab.Verdict {
			if met.Add(1)%3 == 0 {
				return lab.Verdict{Wait: over}
			}
			return lab.Verdict{}
		})
	}
	w.large(3, 512<<10)
	for range 10 {
		w.Edit(3)
		time.Sleep(time.Duration(w.Writer.Draw(300)) * time.Millisecond)
	}
	for _, r := range relays {
		r.Judge(nil)
	}
	w.Count("swallowed answers", int(met.Load()/3))
	w.Healed()
	w.Converge()
	close(over)
}

func (w *World) wipeBehind() {
	relays := w.relayed()
	w.Start()
	w.history().commit(3)
	w.Equal(20 * time.Second)
	w.acknowledged()
	w.Rewound = true
	for _, r := range relays {
		r.Silence()
	}
	w.Count("silent watches", 2)
	etcd := w.Cluster.Members[0]
	w.do(w.Cluster.Kill())
	w.do(etcd.Wipe())
	w.do(w.Cluster.Start())
	w.Healed()
	w.history().founded(w.c.Within)
	w.Replace(3)
}
