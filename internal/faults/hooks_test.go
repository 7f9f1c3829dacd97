//go:build faults

package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/lab"
)

// hooksCases end agents while they try out what they apply.
func hooksCases() []Case {
	mixed := Setup{Empty: true, Files: 1}
	return []Case{
		{
			Name: "agent with a reload to run, at every fourth call",
			How: "SIGKILL by ptrace before the n-th call that opens for writing, changes, locks or syncs a file of the target, from the edit on until reload has " +
				"run, n = 1, 5, …; the next agent makes all equal, and the reload that ran last was of the newest generation, and saw its files",
			Slow:  true,
			Setup: mixed,
			Try:   (*World).killBeforeReload,
		},
		{
			Name: "agent that takes a generation back, at every fourth call",
			How: "as before, of a generation that reload fails with, until the previous files are back; the next agent brings the rest back; then a good generation " +
				"is applied",
			Slow:  true,
			Setup: mixed,
			Try:   (*World).killReverts,
		},
	}
}

// hooks are the hooks of the target: what they write lies beside it.
type hooks struct {
	w   *World
	dir string
}

// withHooks gives the agent hooks: reload writes down what it is told and sees, then fails while there is
// a file, unwell. Health is always well, and has long to say so: where it is late, on a busy machine, a
// good generation would be taken back.
func (w *World) withHooks() hooks {
	w.Helper()
	h := hooks{w: w, dir: filepath.Join(w.TempDir(), "hooks")}
	w.do(os.MkdirAll(h.dir, 0o700))
	script := func(name, text string) string {
		path := filepath.Join(h.dir, name)
		w.do(os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700))
		return path
	}
	w.Target.Config = filepath.Join(h.dir, "config.toml")
	w.do(os.WriteFile(w.Target.Config, fmt.Appendf(nil, `[[target]]
tenant = %q
dir = %q
[target.hooks]
reload = [%q]
health = [%q]
health_timeout = "1m"
`, w.Target.Tenant, w.Target.Dir, script("reload", `echo "$CONFSYNCD_GENERATION $(`+h.sum()+`)" >>`+h.path("reloads")+"\ntest ! -e "+h.path("unwell")), script("health", "true")), 0o600))
	return h
}

func (h hooks) path(name string) string { return filepath.Join(h.dir, name) }

// sum is a command that prints what the files of the target come to.
func (h hooks) sum() string {
	return "cd " + h.w.Target.Dir + " && find . -path ./.confsyncd -prune -o -type f -print0 | sort -z | xargs -0r cat | sha256sum"
}

// reloaded returns what the last reload was told and saw.
func (h hooks) reloaded() string {
	b, _ := os.ReadFile(h.path("reloads"))
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// mustHaveReloaded waits until nothing is on trial, and looks that the last reload was of a
// generation, and saw the files as they are.
func (h hooks) mustHaveReloaded(generation uint64) {
	w := h.w
	w.Helper()
	_, err := lab.Eventually(w.c.within(), func() error {
		p, err := install.ReadProof(w.Target.Dir)
		if err == nil && p.Trial != nil {
			err = errors.New("on trial still")
		}
		return err
	})
	w.do(err)
	sum, err := shellOutput(h.sum())
	w.do(err)
	if got, want := h.reloaded(), fmt.Sprint(generation, " ", sum); got != want {
		w.wrong("f", "the last reload was told and saw %q, and not %q", got, want)
	}
}

func (w *World) killBeforeReload() {
	w.Helper()
	h := w.withHooks()
	m := w.NewMixed()
	w.Publish()
	tr := w.targetCalls()
	for n, hit := 1, true; hit; n += 4 {
		hit = false
		for range 2 {
			if w.Target.Daemon == nil {
				tr.Arm(0, nil)
				w.do(w.Target.StartTraced(tr, "agent", w.AgentFlags()...))
				w.applied()
				h.mustHaveReloaded(w.Source.Generation(w.T))
			}
			reloads := lab.CountLines(w.Target.Log, `"reloaded"`)
			w.arm(tr, n, syscall.SIGKILL)
			m.Turn()
			hit = w.interrupted(w.Target, tr, func() bool { return lab.CountLines(w.Target.Log, `"reloaded"`) > reloads }) || hit
		}
	}
	w.Equal(w.c.within())
	h.mustHaveReloaded(w.Source.Generation(w.T))
}

func (w *World) killReverts() {
	w.Helper()
	h := w.withHooks()
	// Random deletions may be many.
	push := func() { w.Source.Must(w.T, "push", "--publisher", "ci", "--max-delete", "100%") }
	push()
	w.do(w.Target.Start("agent", w.AgentFlags()...))
	w.applied()
	h.mustHaveReloaded(w.Source.Generation(w.T))
	w.do(w.Target.Stop())
	tr := w.targetCalls()
	for n, hit := 1, true; hit; n += 4 {
		good := w.Source.Generation(w.T)
		before, err := shellOutput(h.sum())
		w.do(err)
		w.do(os.WriteFile(h.path("unwell"), nil, 0o600))
		w.Edit(5)
		push()
		reverts := lab.CountLines(w.Target.Log, `"reverted"`)
		w.arm(tr, n, syscall.SIGKILL)
		w.do(w.Target.StartTraced(tr, "agent", w.AgentFlags()...))
		reverted := func() bool { return lab.CountLines(w.Target.Log, `"reverted"`) > reverts }
		if hit = w.interrupted(w.Target, tr, reverted); hit {
			w.do(w.Target.Start("agent", w.AgentFlags()...))
		}
		_, err = lab.Eventually(w.c.within(), func() error {
			p, err := install.ReadProof(w.Target.Dir)
			if err == nil && (p.Refused == nil || p.Refused.Generation != good+1 || p.Trial != nil) {
				err = fmt.Errorf("not taken back, see %s", lab.Tail(w.Target.Log))
			}
			return err
		})
		w.do(err)
		if after, err := shellOutput(h.sum()); err != nil || after != before {
			w.wrong("b", "after the revert of generation %d the files are not those of %d (%v)", good+1, good, err)
		}
		h.mustHaveReloaded(good)
		w.do(os.Remove(h.path("unwell")))
		w.Edit(2)
		push()
		w.applied()
		h.mustHaveReloaded(good + 2)
		w.do(w.Target.Stop())
	}
	w.Publish()
	w.Agent()
}

// shellOutput returns what a command prints.
func shellOutput(command string) (string, error) {
	b, err := exec.Command("sh", "-c", command).Output()
	return strings.TrimSpace(string(b)), err
}
