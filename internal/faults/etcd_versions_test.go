//go:build faults

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// versionCases are all that etcd servers do, by those of other versions.
func versionCases() []Case {
	var all []Case
	for _, version := range []string{"3.4.23", "3.5.33", "3.6.14", "3.7.1"} {
		all = append(all, Case{
			Name: "etcd " + version,
			How: "a server of that version (3.4: Debian's; others: the lowest supported): first contact, edits, kill -9 of the server three times, " +
				"a changeset of 6 MB, compaction and defragmentation, and its data set back to a copy",
			Modes: []string{"files"},
			Setup: Setup{Version: version},
			Try:   func(w *World) { w.tryVersion(version) },
		})
	}
	return all
}

func (w *World) tryVersion(version string) {
	h := w.history()
	for range 3 {
		w.Edit(10)
		w.do(w.Cluster.Kill())
		w.Edit(10)
		w.do(w.Cluster.Start())
		w.Count("kills", 1)
		w.Healed()
		w.Converge()
	}
	w.large(12, 512<<10)
	w.Equal(30 * time.Second)
	h.commit(20)
	h.compact()
	w.Edit(10)
	w.Equal(20 * time.Second)

	etcd := w.Cluster.Members[0]
	saved := filepath.Join(w.TempDir(), "saved")
	w.do(w.Cluster.Kill())
	w.do(etcd.Save(saved))
	w.do(w.Cluster.Start())
	h.commit(5)
	w.Equal(20 * time.Second)
	w.acknowledged()
	w.Rewound = true // Five commits are taken away from here on, and made good by a founding.
	w.do(w.Cluster.Kill())
	w.do(etcd.Restore(saved))
	w.do(w.Cluster.Start())
	w.Count("rewinds", 1)
	w.Healed()
	w.Edit(10)
	w.Converge()
	w.warned(version)
}

// large makes files anew that hardly compress, all as one changeset.
func (w *World) large(files, size int) {
	w.Helper()
	release := w.Hold()
	for i := range files {
		w.do(w.Writer.Large(fmt.Sprintf("large%02d.bin", i), size))
	}
	release()
}

// warned checks that of an etcd that is not supported it is said, and of others not.
func (w *World) warned(version string) {
	w.Helper()
	old := strings.HasPrefix(version, "3.4.")
	if old {
		w.Says(w.Source, "etcd is outdated", version, "good for trying out only", "use 3.5.33, 3.6.14, 3.7.1 or newer")
		w.Says(w.Target, "etcd is outdated", version, "good for trying out only")
	}
	r := w.Target.Command(w.T, "status", "--tenant", tenant)
	if strings.Contains(r.Out+r.Err, "good for trying out only") != old {
		w.wrong("f", "status of etcd %s: %v", version, r)
	}
	for _, log := range []string{w.Source.Log, w.Target.Log} {
		b, err := os.ReadFile(log)
		w.do(err)
		if strings.Contains(string(b), "etcd is outdated") != old {
			w.wrong("f", "%s warns of etcd %s: %v", log, version, !old)
		}
	}
}
