//go:build faults

package faults

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// tenantCases are what operators do to a tenant under its publisher and its hosts.
func tenantCases() []Case {
	return []Case{
		{
			Name: "tenant deleted",
			How:  "tenant delete in the midst of edits, killed with SIGKILL after 0 to 45 ms, ten times, then to its end, while edits go on: nothing of the tenant is left in etcd, nor comes back; publisher and agent say who deleted it, and files are kept",
			Try:  func(w *World) { w.tenantDeleted() },
		},
		{
			Name: "quota reached, and raised", Modes: []string{"files"},
			How: "a quota of one file, and twenty more than there are; the publisher holds and names the remedy, the target stays; then the quota is raised",
			Try: func(w *World) {
				w.operates("tenant", "set", tenant, "--quota-files", "1")
				w.kept(func() {
					for i := range 20 {
						w.do(w.Writer.Put("more-" + string(rune('a'+i))))
					}
					w.Says(w.Source, "holding", "over a quota", "confsyncd tenant set prod --quota-files N")
					w.Shows(w.Source, "holding", "over a quota", "confsyncd tenant set prod --quota-files N")
				})
				w.operates("tenant", "set", tenant, "--quota-files", "100000")
				w.Count("faults", 1)
				w.Healed()
			},
		},
	}
}

// operates runs a command, which must succeed.
func (w *World) operates(args ...string) lab.Ran {
	w.Helper()
	r := w.Source.Command(w.T, args...)
	if r.Code != 0 {
		w.Fatalf("confsyncd %s: %v", strings.Join(args, " "), r)
	}
	return r
}

func (w *World) tenantDeleted() {
	w.Helper()
	w.Rewound = true // Its history is gone.
	for i := range 10 {
		w.Edit(2)
		p, err := lab.Start(filepath.Join(w.Lab.Dir, "lab-operator"), w.Source.Env, w.Lab.Program, "--config", w.Lab.Config, "--endpoints", w.Source.Via,
			"--state-dir", filepath.Join(w.Lab.Dir, "lab-operators"), "tenant", "delete", tenant, "--yes")
		w.do(err)
		lab.Sleep(w.Context(), time.Duration(5*i)*time.Millisecond)
		if !p.Over() {
			w.do(p.Kill())
			w.Count("kills", 1)
		}
	}
	w.operates("tenant", "delete", tenant, "--yes")
	const says = `was deleted at`
	w.Says(w.Source, "holding", says)
	w.Says(w.Target, "holding", says, "files are kept", "confsyncd forget "+w.Target.Dir)
	w.Shows(w.Source, "holding", says)
	w.Shows(w.Target, "holding", says)
	was, err := lab.ReadTree(w.Target.Dir)
	w.do(err)
	w.Want = func() (lab.Tree, error) { return was, nil }
	w.kept(func() {
		w.Edit(10)
		lab.Sleep(w.Context(), time.Second) // Nothing is to come of it.
	})
	if shown := w.operates("tenant", "show", tenant, "-o", "json").Out; !strings.Contains(shown, `"state":"deleted"`) || !strings.Contains(shown, `"keys":0,`) {
		w.wrong("d", "keys of the tenant are left: %s", shown)
	}
	w.Count("faults", 1)
	w.Healed()
	_ = os.Remove(filepath.Join(w.Lab.Dir, "lab-operator"))
}
