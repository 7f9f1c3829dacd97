//go:build faults

package faults

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// muchMemory is more than a process needs for the trees of most cases, whatever lies in
// etcd: what values may declare, a few times over, and what Go leaves to be collected.
const muchMemory = 256 << 20

// refused is what agents do with what lies in etcd now: the running one keeps its files
// and says the words, and so does a host that joins, which gets nothing. All that looks at
// it answers. It is over once etcd is right again.
func (h *hand) refused(words ...string) {
	h.Helper()
	before, err := lab.ReadTree(h.Target.Dir)
	h.do(err)
	h.holds(words...)
	h.joins(words...)
	h.looks()
	after, err := lab.ReadTree(h.Target.Dir)
	h.do(err)
	if err := lab.Differ(before, after); err != nil {
		h.wrong("a", "the target changed: %v", err)
	}
	h.Honest()
	h.Count("bad inputs", 1)
}

// holds waits until the agent says what it waits for.
func (h *hand) holds(words ...string) {
	h.Helper()
	_, err := lab.Eventually(20*time.Second, func() error {
		state, reason := h.told(h.Target)
		if state != "holding" {
			return fmt.Errorf("the agent is %q (%s)", state, reason)
		}
		return missing(reason, words)
	})
	if err != nil {
		h.wrong("f", "%v", err)
		return
	}
	h.result.checked("f", true)
	line := h.Says(h.Target, "holding")
	if !strings.Contains(line, "reason") {
		h.wrong("f", "the agent's log does not say why it holds: %s", line)
	}
}

// told is what "confsyncd status" shows of a host's directory.
func (w *World) told(h *lab.Host) (state, reason string) {
	w.Helper()
	s := h.Report(w.T)
	for _, t := range s.Targets {
		return t.State, t.Reason
	}
	for _, t := range s.Sources {
		return t.State, t.Reason
	}
	return "", "nothing is known of it"
}

// missing tells which of the words a text does not have.
func missing(text string, words []string) error {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return fmt.Errorf("%q does not say %q", text, w)
		}
	}
	return nil
}

// joins has a new host pull, which must be told the words and get nothing.
func (h *hand) joins(words ...string) {
	h.Helper()
	fresh := h.fresh()
	for _, flags := range [][]string{{"--dry-run"}, {}} {
		r := fresh.Run(h.T, "pull", append(flags, "--mode", h.Mode)...)
		h.sane("pull", r)
		if h.contents && len(flags) > 0 && r.Code == 0 {
			continue // It foresees what comes, and reads no contents for that.
		}
		if err := missing(r.Err, words); r.Code != 1 && r.Code != 5 || err != nil {
			h.wrong("f", "a host that joins (pull %v): %v: %v", flags, r, err)
		}
	}
	h.got(fresh, make(lab.Tree))
}

// fresh is a host that has nothing yet.
func (h *hand) fresh() *lab.Host {
	h.Helper()
	h.joined++
	return h.host(fmt.Sprintf("fresh%d", h.joined))
}

// got checks what a host has.
func (h *hand) got(host *lab.Host, want lab.Tree) {
	h.Helper()
	got, err := lab.ReadTree(host.Dir)
	if err = errors.Join(err, lab.Differ(want, got)); err != nil {
		h.wrong("a", "a host that joined: %v", err)
	}
	h.do(errors.Join(os.RemoveAll(host.Dir), os.RemoveAll(host.State)))
}

// looks runs all that a person could look at the tenant with.
func (h *hand) looks() {
	h.Helper()
	for _, args := range [][]string{{"status"}, {"log", "-n", "0"}, {"show"}, {"ls"}, {"diff", "1"}, {"verify"}, {"cat", "d1/f001.conf"}} {
		h.sane(args[0], h.Source.Command(h.T, append(args, "--tenant", tenant)...))
	}
	for name, host := range h.daemons() {
		if most, err := lab.PeakMemory(host.Daemon.Cmd.Process.Pid); err != nil || most > muchMemory {
			h.wrong("f", "the %s took %d MiB (%v)", name, most>>20, err)
		}
	}
}

// sane checks that a command ended as commands end.
func (h *hand) sane(name string, r lab.Ran) {
	h.Helper()
	if r.Code != 0 && r.Code != 1 && r.Code != 5 || strings.Contains(r.Err, "panic:") || strings.Contains(r.Err, "goroutine ") {
		h.wrong("f", "%s: %v", name, r)
	}
	if r.Code != 0 && strings.TrimSpace(r.Err) == "" {
		h.wrong("f", "%s says nothing: %v", name, r)
	}
	if strings.Contains(r.Err, lab.Secret) {
		h.wrong("f", "%s shows contents: %s", name, r.Err)
	}
	if r.Memory > muchMemory {
		h.wrong("f", "%s took %d MiB", name, r.Memory>>20)
	}
}

// heal puts etcd right, and waits until the agent is.
func (h *hand) heal() {
	h.Helper()
	h.restore()
	h.Healed()
	_, err := lab.Eventually(20*time.Second, func() error {
		if state, reason := h.told(h.Target); state != "in_sync" {
			return fmt.Errorf("the agent is %q (%s)", state, reason)
		}
		return h.differ()
	})
	if err != nil {
		h.wrong("e", "etcd is right again: %v", err)
		h.FailNow()
	}
	h.Converge()
}
