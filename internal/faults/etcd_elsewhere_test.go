//go:build faults

package faults

import (
	"os"
	"path/filepath"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// etcdElsewhereCases let another etcd answer at the address, and then the right one again.
func etcdElsewhereCases() []Case {
	return []Case{
		{
			Name:  "another cluster that has nothing behind the address",
			How:   "proxies of publisher and agent lead to an empty etcd, where the history is begun anew, and then back",
			Modes: []string{"files"},
			Try: func(w *World) {
				w.Rewound = true
				w.commit(2)
				before := w.Source.Generation(w.T)
				w.lead(w.anotherEtcd(), w.SourceProxies, w.TargetProxies)
				w.Replace(3)
				w.Equal(20 * time.Second)
				w.founded(before)
				before = w.Source.Generation(w.T)
				w.Replace(3)
				w.lead(w.Cluster, w.SourceProxies, w.TargetProxies)
				w.Healed()
				w.Converge()
				w.founded(before)
				w.Count("faults", 1)
			},
		},
		{
			Name: "another cluster that has nothing behind the agent's address",
			How:  "the agent's proxy leads to an empty etcd, and then back; the publisher's does not",
			Try: func(w *World) {
				w.commit(2)
				w.lead(w.anotherEtcd(), w.TargetProxies)
				w.Says(w.Target, "holding: files are kept", "etcd has no commit of tenant", "if etcd was replaced, let the publisher publish")
				w.Shows(w.Target, "holding", "etcd has no commit of tenant", "files are kept")
				w.kept(func() { w.Replace(3) })
				w.lead(w.Cluster, w.TargetProxies)
				w.Healed()
				w.Count("faults", 1)
			},
		},
		{
			Name: "another cluster with a tenant of the same name behind the address",
			How:  "proxies of publisher and agent lead to an etcd where another publisher has founded the tenant, and then back",
			Try: func(w *World) {
				w.commit(2)
				other := w.anotherEtcd()
				w.stranger(other)
				w.lead(other, w.SourceProxies, w.TargetProxies)
				w.Says(w.Source, "holding: nothing is published", w.Source.Dir, "see whether this is the right etcd", "--take-over")
				w.Shows(w.Source, "holding", "see whether this is the right etcd")
				w.Says(w.Target, "holding: files are kept", w.Target.Dir, "another tenant id", "--found")
				w.Shows(w.Target, "holding", "another tenant id", "--found")
				w.kept(func() { w.Replace(3) })
				w.lead(w.Cluster, w.SourceProxies, w.TargetProxies)
				w.Healed()
				w.Count("faults", 1)
			},
		},
		{
			Name: "an older copy of the cluster behind the address",
			How:  "proxies of publisher and agent lead to a server with a copy of etcd's data that is a few generations old, where the history is begun anew, and then back",
			Try: func(w *World) {
				w.Rewound = true
				other := w.olderCopy()
				w.commit(3)
				before := w.Source.Generation(w.T)
				w.lead(other, w.SourceProxies, w.TargetProxies)
				w.Replace(3)
				w.Equal(20 * time.Second)
				w.founded(before)
				w.commit(2)
				before = w.Source.Generation(w.T)
				w.lead(w.Cluster, w.SourceProxies, w.TargetProxies)
				w.Healed()
				w.Converge()
				w.founded(before)
				w.Count("faults", 1)
			},
		},
		{
			Name:  "an older copy of the cluster behind the agent's address",
			How:   "the agent's proxy leads to such a copy, and then back; the publisher's does not",
			Modes: []string{"files"},
			Try: func(w *World) {
				other := w.olderCopy()
				w.commit(3)
				w.lead(other, w.TargetProxies)
				w.Says(w.Target, "holding: files are kept", "rewound", "--found")
				w.kept(func() { w.Replace(3) })
				w.lead(w.Cluster, w.TargetProxies)
				w.Healed()
				w.Count("faults", 1)
			},
		},
	}
}

// anotherEtcd starts an etcd of its own.
func (w *World) anotherEtcd() *lab.Cluster {
	w.Helper()
	c := w.stopped()
	w.do(c.Start())
	return c
}

func (w *World) stopped() *lab.Cluster {
	w.Helper()
	return lab.NewCluster(w.T, filepath.Join(w.TempDir(), "another"), lab.ClusterOptions{Program: *etcdFlag})
}

// olderCopy starts a server with a copy of what etcd has now, its cluster id included.
func (w *World) olderCopy() *lab.Cluster {
	w.Helper()
	c := w.stopped()
	first := w.Cluster.Members[0]
	w.do(w.Cluster.Kill())
	w.do(first.Save(c.Members[0].Data()))
	w.do(w.Cluster.Start())
	w.do(c.Start())
	w.Equal(20 * time.Second)
	return c
}

// lead has connections made anew, to that cluster.
func (*World) lead(to *lab.Cluster, ways ...[]*lab.Proxy) {
	for _, proxies := range ways {
		for _, p := range proxies {
			p.Lead(to.Members[0].Endpoint())
			p.Reset()
		}
	}
}

// stranger founds the tenant in another cluster, by another publisher.
func (w *World) stranger(at *lab.Cluster) {
	w.Helper()
	h := w.host("stranger")
	h.Via = at.Endpoints()
	for _, version := range []string{"1", "2", "3", "4", "5", "6", "7"} {
		w.do(os.WriteFile(filepath.Join(h.Dir, "theirs"), []byte(version), 0o644))
		h.Must(w.T, "push", "--publisher", "stranger")
	}
}

// kept checks that the target stays as it is while something is done.
func (w *World) kept(do func()) {
	w.Helper()
	was, err := lab.ReadTree(w.Target.Dir)
	w.do(err)
	do()
	is, err := lab.ReadTree(w.Target.Dir)
	w.do(err)
	if err := lab.Differ(was, is); err != nil {
		w.wrong("d", "files were not kept: %v", err)
	}
}
