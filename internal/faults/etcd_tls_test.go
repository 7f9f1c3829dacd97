//go:build faults

package faults

import (
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// shortly is how long a certificate is good for that is to expire in use.
const shortly = 3 * time.Second

// etcdTLSCases change certificates under running daemons.
func etcdTLSCases() []Case {
	tls := Setup{TLS: true}
	return []Case{
		{
			Name:  "server's certificate expired and replaced",
			How:   "the server's certificate replaced by one that is good for 3 s; when it has expired, connections are reset and files edited; then a new one is put in its place and the server killed and started again",
			Setup: tls,
			Try: func(w *World) {
				w.issueShortly("server")
				reset(w.SourceProxies)
				reset(w.TargetProxies)
				w.Replace(3)
				w.says("certificate has expired", "renew the certificate of the etcd server")
				w.Keys.issue("server", w.Keys.Authority, tomorrow())
				w.do(w.Cluster.Kill())
				w.do(w.Cluster.Start())
				w.Healed()
				w.Count("faults", 1)
			},
		},
		{
			Name:  "clients' certificates expired and replaced",
			How:   "the hosts' certificates replaced by ones that are good for 3 s; when they have expired, connections are reset and files edited; then new ones are put in their place, and nobody tells the daemons",
			Modes: []string{"files"},
			Setup: tls,
			Try: func(w *World) {
				for range 2 {
					w.issueShortly("source", "target")
					reset(w.SourceProxies)
					reset(w.TargetProxies)
					w.Replace(3)
					w.says("the etcd server refuses our certificate: renew cert_file")
					w.Keys.issue("source", w.Keys.Authority, tomorrow())
					w.Keys.issue("target", w.Keys.Authority, tomorrow())
					w.Healed()
					w.Converge()
					w.Count("faults", 1)
				}
			},
		},
		{
			Name:  "authority replaced",
			How:   "the server started again with a certificate of another authority, trusting both; files edited; then ca_file of both hosts is replaced, and nobody tells the daemons",
			Setup: tls,
			Try: func(w *World) {
				k := w.Keys
				next := k.authority("next")
				k.trust("lab", k.Authority, next)
				k.trust("server", k.Authority, next)
				k.issue("server", next, tomorrow())
				for _, m := range w.Cluster.Members {
					m.TLS = k.client("lab")
				}
				w.do(w.Cluster.Kill())
				w.do(w.Cluster.Start())
				w.Replace(3)
				w.says("certificate signed by unknown authority", "put the certificate of its authority into ca_file, ")
				k.trust("source", next)
				k.trust("target", next)
				w.Healed()
				w.Converge()
				k.issue("source", next, tomorrow())
				k.issue("target", next, tomorrow())
				reset(w.SourceProxies)
				reset(w.TargetProxies)
				w.commit(1)
				w.Count("faults", 1)
			},
		},
		{
			Name:  "wrong authority and missing file",
			How:   "ca_file of both hosts replaced by another authority's, then removed; connections are reset, files edited; then it is put right",
			Modes: []string{"files"},
			Setup: tls,
			Try: func(w *World) {
				k := w.Keys
				other := k.authority("other")
				k.trust("source", other)
				k.trust("target", other)
				reset(w.SourceProxies)
				reset(w.TargetProxies)
				w.Replace(3)
				w.says("certificate signed by unknown authority", "put the certificate of its authority into ca_file, ")
				k.trust("source", k.Authority)
				k.trust("target", k.Authority)
				w.Healed()
				w.Converge()
				w.Count("faults", 1)

				k.distrust("source")
				k.distrust("target")
				reset(w.SourceProxies)
				reset(w.TargetProxies)
				w.Replace(3)
				for party, h := range map[string]*lab.Host{"source": w.Source, "target": w.Target} {
					w.Says(h, k.file(party, "ca.pem")+": no such file or directory", "put it back")
					if r := h.Command(w.T, "status"); r.Code != 3 || !strings.Contains(r.Err, "does not exist; create it, or correct the path") {
						w.wrong("f", "status: %v", r)
					}
				}
				k.trust("source", k.Authority)
				k.trust("target", k.Authority)
				w.Healed()
				w.Converge()
				w.Count("faults", 1)
			},
		},
		{
			Name:  "server's certificate for another name",
			How:   "the server's certificate replaced by one for elsewhere.example, connections reset, files edited; then it is put right",
			Modes: []string{"files"},
			Setup: tls,
			Try: func(w *World) {
				w.Keys.issue("server", w.Keys.Authority, tomorrow(), "elsewhere.example")
				reset(w.SourceProxies)
				reset(w.TargetProxies)
				w.Replace(3)
				w.says("x509: ", "write endpoints with a name that the server's certificate has")
				w.Keys.issue("server", w.Keys.Authority, tomorrow())
				w.Healed()
				w.Count("faults", 1)
			},
		},
		{
			Name:  "a member falls silent under TLS",
			How:   "of three members one answers nothing any more, neither on connections that stay open nor to handshakes, and it is each member's turn",
			Modes: []string{"files"},
			Setup: Setup{TLS: true, Members: 3},
			// Its keepalive takes 15 s to find out that a connection is dead.
			Within: 30 * time.Second,
			Try: func(w *World) {
				for i := range w.Cluster.Members {
					silent := lab.Harm{HoldAnswers: true}
					w.SourceProxies[i].Do(silent)
					w.TargetProxies[i].Do(silent)
					w.Replace(3)
					w.Healed() // Two of three are enough.
					w.Converge()
					w.SourceProxies[i].Heal()
					w.TargetProxies[i].Heal()
					w.Count("faults", 1)
				}
			},
		},
	}
}

// says waits until both daemons tell all the words, in the log and in status.
func (w *World) says(words ...string) {
	w.Helper()
	for _, h := range []*lab.Host{w.Source, w.Target} {
		w.Says(h, words...)
		w.Shows(h, "waiting", words...)
	}
}

// issueShortly gives parties certificates that are soon no good, has all connections made
// anew with them, and returns once they have expired.
func (w *World) issueShortly(parties ...string) {
	w.Helper()
	end := time.Now().Add(shortly)
	for _, party := range parties {
		w.Keys.issue(party, w.Keys.Authority, end)
	}
	reset(w.SourceProxies)
	reset(w.TargetProxies)
	w.Replace(3)
	lab.Sleep(w.Context(), time.Until(end.Add(time.Second)))
}
