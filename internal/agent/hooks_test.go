//go:build !lean

package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/hook"
	"github.com/confsyncd/confsyncd/internal/install"
)

func shell(script string) hook.Hook {
	return hook.Hook{Argv: []string{"sh", "-c", script}, Timeout: time.Minute}
}

// hooked is a place whose agent runs hooks.
type hooked struct {
	*place
	dir    string // of what the hooks read and write
	status atomic.Pointer[agent.Status]
}

// newHooked returns a place whose target has a file, a, of generation 1 with the content
// one. Each reload adds a line to the file reloads: generation, previous one, content of a.
func newHooked(t *testing.T, m install.Mode) *hooked {
	h := &hooked{place: newPlace(t), dir: t.TempDir()}
	h.target.Mode = m
	if m == install.Tree { // Its sibling is to be gone with it.
		h.target.Dir = filepath.Join(t.TempDir(), "target")
	}
	h.target.Hooks.Reload = shell(`echo "$CONFSYNCD_GENERATION $CONFSYNCD_PREVIOUS $(cat "$CONFSYNCD_TARGET/a")" >> ` + h.dir + `/reloads; test ! -e ` + h.dir + `/no-reload`)
	h.target.Status = func(s agent.Status) {
		h.status.Store(&s)
		if s.State == "in_sync" && s.Quarantined != 0 && s.Quarantined == s.Seen {
			t.Errorf("it is said to be in sync: %+v", s)
		}
	}
	h.publish("one")
	return h
}

func eachMode(t *testing.T, test func(*testing.T, install.Mode)) {
	t.Parallel()
	for _, m := range []install.Mode{install.Files, install.Tree} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			test(t, m)
		})
	}
}

// publish publishes a content of a, and of b beside it.
func (h *hooked) publish(content string) {
	h.Helper()
	h.write(h.source.Dir, "a", content)
	h.write(h.source.Dir, "b", content)
	h.push()
}

func (h *hooked) flag(name string) {
	h.Helper()
	h.write(h.dir, name, "")
}

func (h *hooked) unflag(name string) {
	h.Helper()
	if err := os.Remove(filepath.Join(h.dir, name)); err != nil {
		h.Fatal(err)
	}
}

func (h *hooked) has(path string) string {
	b, _ := os.ReadFile(filepath.Join(h.target.Dir, path))
	return string(b)
}

// reloads returns what reloads were told and saw.
func (h *hooked) reloads() []string {
	b, _ := os.ReadFile(filepath.Join(h.dir, "reloads"))
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

func (h *hooked) awaitReloads(want ...string) {
	h.Helper()
	eventually(h.T, fmt.Sprintf("reloads %q, they are %q", want, h.reloads()), func() bool {
		return strings.Join(h.reloads(), "|") == strings.Join(want, "|")
	})
}

// at waits until the status fits.
func (h *hooked) at(what string, fits func(agent.Status) bool) {
	h.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		s := h.status.Load()
		if s != nil && fits(*s) {
			return
		}
		if time.Now().After(deadline) {
			h.Fatalf("not %s: the status is %+v", what, s)
		}
	}
}

func (h *hooked) inSync(generation uint64) {
	h.Helper()
	h.at(fmt.Sprintf("in sync at generation %d", generation), func(s agent.Status) bool {
		return s.State == "in_sync" && s.Generation == generation && s.Seen == generation && s.Applied == generation && s.Reloaded == generation && s.Quarantined == 0
	})
}

func TestReloadRunsOnceAfterEachApply(t *testing.T) {
	eachMode(t, func(t *testing.T, m install.Mode) {
		h := newHooked(t, m)
		h.run()
		h.inSync(1)
		h.awaitReloads("1 0 one")
		h.publish("two")
		h.inSync(2)
		h.awaitReloads("1 0 one", "2 1 two")
		if left, err := os.ReadDir(install.ControlDir(h.target.Dir)); err != nil || strings.Contains(fmt.Sprint(left), "previous") || strings.Contains(fmt.Sprint(left), "candidate") {
			t.Errorf("left are %v, %v", left, err)
		}
	})
}

func TestCheckSeesTheWholeTargetAndRefuses(t *testing.T) {
	eachMode(t, func(t *testing.T, m install.Mode) {
		h := newHooked(t, m)
		if m == install.Files {
			h.write(h.target.Dir, "unmanaged", "mine")
		}
		// What it writes into the candidate goes nowhere.
		h.target.Hooks.Check = shell(`cd "$CONFSYNCD_CANDIDATE" && echo "$CONFSYNCD_GENERATION $CONFSYNCD_PREVIOUS" $(for f in *; do cat $f; echo; done) $(tr '\0' ' ' < "$CONFSYNCD_CHANGED") >> ` + h.dir + `/checks
			for f in *; do echo spoilt > $f; done; touch more; grep -q bad "$CONFSYNCD_TARGET/a" && echo live >> ` + h.dir + `/checks; test ! -e ` + h.dir + `/no-check`)
		h.run()
		h.inSync(1)
		h.flag("no-check")
		h.publish("bad")
		quarantined := func(s agent.Status) bool {
			return s.State == "quarantined" && s.Generation == 1 && s.Seen == 2 && s.Applied == 1 && s.Reloaded == 1 && s.Quarantined == 2 && s.Hook.Name == "check" && !s.Hook.OK
		}
		h.at("quarantined", quarantined)
		h.unflag("no-check")
		h.publish("good")
		h.inSync(3)
		if h.has("a") != "good" || h.has("b") != "good" || h.has("more") != "" {
			t.Errorf("a is %q, b is %q, more is %q", h.has("a"), h.has("b"), h.has("more"))
		}
		h.awaitReloads("1 0 one", "3 1 good")
		b, _ := os.ReadFile(filepath.Join(h.dir, "checks"))
		want := "1 0 one one a b\n2 1 bad bad a b\n3 1 good good a b\n"
		if m == install.Files {
			want = strings.NewReplacer("one one", "one one mine", "bad bad", "bad bad mine", "good good", "good good mine").Replace(want)
			if h.has("unmanaged") != "mine" {
				t.Error("the unmanaged file was changed")
			}
		}
		if string(b) != want {
			t.Errorf("the checks were\n%swant\n%s", b, want)
		}
	})
}

func TestQuarantineOutlivesTheAgentUntilRetry(t *testing.T) {
	eachMode(t, func(t *testing.T, m install.Mode) {
		h := newHooked(t, m)
		h.target.Hooks.Check = shell("echo >> " + h.dir + "/checks; test ! -e " + h.dir + "/no-check")
		stop := h.start()
		h.inSync(1)
		h.flag("no-check")
		h.publish("bad")
		h.await("quarantined")
		stop()
		stop = h.start()
		if r := h.await("quarantined"); !strings.Contains(r.Reason, "check failed: exit status 1; the files of generation 1 stay") {
			t.Errorf("the reason is %q", r.Reason)
		}
		stop()
		if b, _ := os.ReadFile(filepath.Join(h.dir, "checks")); len(b) != 2 {
			t.Errorf("the check ran %d times", len(b))
		}
		if _, err := agent.Pull(t.Context(), h.target); !errors.Is(err, agent.ErrQuarantined) || !errors.Is(err, agent.ErrRefused) {
			t.Errorf("the pull says %v", err)
		}
		h.run()
		h.await("quarantined")
		h.unflag("no-check")
		if err := install.Retry(h.target.Dir, install.Hold{By: "me"}); err != nil {
			t.Fatal(err)
		}
		h.inSync(2)
	})
}

// start runs the agent until stop is called.
func (h *hooked) start() (stop func()) {
	ctx, cancel := context.WithCancel(h.Context())
	done := make(chan error, 1)
	h.status.Store(nil)
	go func() { done <- agent.New(h.target).Run(ctx) }()
	return func() {
		h.Helper()
		cancel()
		if err := <-done; err != nil {
			h.Error(err)
		}
	}
}

func TestFailureOfReloadOrHealthIsReverted(t *testing.T) {
	for _, name := range []string{"reload", "health"} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m install.Mode) {
				h := newHooked(t, m)
				h.write(h.source.Dir, "goes", "away")
				h.push()
				h.target.Hooks.Health = shell("test ! -e " + h.dir + "/no-health")
				h.target.Hooks.Health.Timeout = time.Minute
				if name == "health" { // All of it is waited for.
					h.target.Hooks.Health.Timeout = 2 * time.Second
				}
				stop := h.start()
				h.inSync(2)
				h.flag("no-" + name)
				h.write(h.source.Dir, "a", "bad")
				h.write(h.source.Dir, "new", "bad")
				if err := os.Remove(filepath.Join(h.source.Dir, "goes")); err != nil {
					t.Fatal(err)
				}
				h.push()
				reverted := func(s agent.Status) bool {
					return s.State == "quarantined" && s.Generation == 3 && s.Seen == 3 && s.Applied == 2 && s.Reloaded == 2 && s.Quarantined == 3 && s.Hook.Name == name && !s.Hook.OK &&
						strings.Contains(s.Reason, "reverted to generation 2")
				}
				h.at("reverted", reverted)
				holds := func() {
					t.Helper()
					if h.has("a") != "one" || h.has("goes") != "away" || h.has("new") != "" {
						t.Errorf("a is %q, goes is %q, new is %q", h.has("a"), h.has("goes"), h.has("new"))
					}
				}
				holds()
				h.awaitReloads("2 0 one", "3 2 bad", "2 3 one")
				// Drift is put right to what was reverted to.
				h.write(h.target.Dir, "a", "drift")
				eventually(t, "repaired", func() bool { return h.has("a") == "one" })
				stop()
				stop = h.start()
				h.at("reverted still", reverted)
				holds()
				h.unflag("no-" + name)
				h.write(h.source.Dir, "a", "good")
				h.push()
				h.inSync(4)
				if h.has("a") != "good" || h.has("goes") != "" || h.has("new") != "bad" {
					t.Errorf("a is %q, goes is %q, new is %q", h.has("a"), h.has("goes"), h.has("new"))
				}
				stop()
			})
		})
	}
}

func TestFailureIsKeptIfThatIsWanted(t *testing.T) {
	eachMode(t, func(t *testing.T, m install.Mode) {
		h := newHooked(t, m)
		h.target.Hooks.Keep = true
		h.run()
		h.inSync(1)
		h.flag("no-reload")
		h.publish("bad")
		h.at("kept", func(s agent.Status) bool {
			return s.State == "quarantined" && s.Generation == 2 && s.Applied == 2 && s.Reloaded == 1 && s.Quarantined == 2 && strings.Contains(s.Reason, "its files stay")
		})
		if h.has("a") != "bad" {
			t.Errorf("a is %q", h.has("a"))
		}
		h.unflag("no-reload")
		if err := install.Retry(h.target.Dir, install.Hold{By: "me"}); err != nil {
			t.Fatal(err)
		}
		h.inSync(2)
	})
}

func TestRetryOfWhatWasReverted(t *testing.T) {
	eachMode(t, func(t *testing.T, m install.Mode) {
		h := newHooked(t, m)
		h.run()
		h.inSync(1)
		h.flag("no-reload")
		h.publish("two")
		h.await("quarantined")
		h.unflag("no-reload")
		if err := install.Retry(h.target.Dir, install.Hold{By: "me"}); err != nil {
			t.Fatal(err)
		}
		h.inSync(2)
		if h.has("a") != "two" {
			t.Errorf("a is %q", h.has("a"))
		}
	})
}

func TestFirstGenerationIsNotReverted(t *testing.T) {
	eachMode(t, func(t *testing.T, m install.Mode) {
		h := newHooked(t, m)
		h.flag("no-reload")
		h.run()
		h.await("quarantined")
		if h.has("a") != "one" {
			t.Errorf("a is %q", h.has("a"))
		}
	})
}

func TestReloadOnlyForItsPaths(t *testing.T) {
	t.Parallel()
	h := newHooked(t, install.Files)
	h.target.Hooks.ReloadPaths = []string{"b"}
	h.run()
	h.inSync(1)
	h.write(h.source.Dir, "a", "two")
	h.push()
	h.inSync(2)
	h.write(h.source.Dir, "b", "three")
	h.push()
	h.inSync(3)
	h.awaitReloads("1 0 one", "3 2 two")
}

func TestRepairIsReloaded(t *testing.T) {
	t.Parallel()
	h := newHooked(t, install.Files)
	h.run()
	h.inSync(1)
	h.write(h.target.Dir, "a", "drift")
	h.awaitReloads("1 0 one", "1 1 one")
}

// Files that changed in one changeset, and generations that come while a reload runs, take
// one reload.
func TestReloadsAreGathered(t *testing.T) {
	eachMode(t, func(t *testing.T, m install.Mode) {
		h := newHooked(t, m)
		h.target.Hooks.Reload = shell(`echo >> ` + h.dir + `/reloads; while test -e ` + h.dir + `/hold; do sleep 0.01; done`)
		count := func() int {
			b, _ := os.ReadFile(filepath.Join(h.dir, "reloads"))
			return bytes.Count(b, []byte("\n"))
		}
		h.run()
		h.inSync(1)
		h.flag("hold")
		for i := range 500 {
			h.write(h.source.Dir, fmt.Sprintf("f%03d", i), "x")
		}
		before := count()
		h.push()
		eventually(t, "reloading", func() bool { return count() == before+1 })
		for i := range 30 {
			h.publish(fmt.Sprint("generation ", i))
		}
		if n := count() - before; n != 1 {
			t.Errorf("%d reloads have begun", n)
		}
		h.unflag("hold")
		h.inSync(32)
		t.Logf("500 files in one changeset, then 30 generations while its reload ran: %d reloads", count()-before)
		if n := count() - before; n != 2 {
			t.Errorf("%d reloads", n)
		}
	})
}

func TestReloadsKeepTheirDistance(t *testing.T) {
	t.Parallel()
	h := newHooked(t, install.Files)
	h.target.Hooks.MinInterval = time.Hour
	h.run()
	h.inSync(1)
	for i := range 3 {
		h.publish(fmt.Sprint(i))
		eventually(t, "applied", func() bool { return h.has("a") == fmt.Sprint(i) })
	}
	h.at("waiting to reload", func(s agent.Status) bool {
		return s.State == "reloading" && s.Applied == 4 && s.Reloaded == 1 && strings.Contains(s.Reason, "due in")
	})
	h.awaitReloads("1 0 one")
}
