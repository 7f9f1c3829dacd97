//go:build !lean

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// session is what an operator has: a publisher that rolls out in stages, and hosts that
// check, reload and look after what they get.
type session struct {
	*lab.Lab
	t      *testing.T
	source *lab.Host
	hosts  []*member
}

// member is a host of a session. Its service serves what it read at its last reload.
type member struct {
	*lab.Host
	id, role string
	served   string // file with a line for each reload: the time, and the version
}

// What the hooks of all hosts are: the check refuses a tree that names the host, reload has
// the service read its file, and health fails while it serves what names the host.
const (
	checkScript  = `! grep -qx "refused-by = $0" "$CONFSYNCD_CANDIDATE/app.conf"`
	reloadScript = `echo "$(date +%s.%N) $(sed -n 's/^version = //p' "$CONFSYNCD_TARGET/app.conf")" >>"$0"`
	healthScript = `! grep -qx "broken-on = $0" "$CONFSYNCD_TARGET/app.conf"`
)

const publisherConfig = `
[[source]]
tenant = "fleet"
dir = %q
publisher = "config-1"
[source.rollout]
bake = "1s"
stage_timeout = "10m"
[[source.rollout.stage]]
label = "role=canary"
percent = "100%%"
[[source.rollout.stage]]
label = "role=web"
percent = "25%%"
`

const hostConfig = `
[host]
id = %[1]q
[host.labels]
role = %[2]q
[[target]]
tenant = "fleet"
dir = %[3]q
[target.hooks]
check = ["/bin/sh", "-c", %[4]q, %[1]q]
reload = ["/bin/sh", "-c", %[5]q, %[6]q]
health = ["/bin/sh", "-c", %[7]q, %[1]q]
health_timeout = "1s"
`

// newSession starts a publisher and hosts of three roles, and returns when all have what is
// published.
func newSession(t *testing.T) *session {
	t.Helper()
	s := &session{Lab: newLab(t), t: t}
	s.source = s.Host(t, "fleet", "source")
	s.publish("1")
	s.configure(s.source, publisherConfig, s.source.Dir)
	s.do(s.source.StartConfigured("publish"))
	for _, group := range []struct {
		role string
		size int
	}{{"canary", 3}, {"web", 12}, {"db", 5}} {
		for i := range group.size {
			id := fmt.Sprintf("%s-%d", group.role, i+1)
			h := s.Host(t, "fleet", id)
			m := &member{Host: h, id: id, role: group.role, served: filepath.Join(filepath.Dir(h.Dir), "served")}
			s.configure(h, hostConfig, id, m.role, h.Dir, checkScript, reloadScript, m.served, healthScript)
			s.do(h.StartConfigured("agent"))
			s.hosts = append(s.hosts, m)
		}
	}
	s.eventually(func() error {
		r := s.told("status", "-o", "json")
		want := fmt.Sprintf(`"host_totals":{"hosts":%[1]d,"up":%[1]d,"down":0,"duplicate":0,"current":%[1]d,`, len(s.hosts))
		if !strings.Contains(r.Out, want) {
			return fmt.Errorf("status does not say %s", want)
		}
		return nil
	})
	return s
}

func (s *session) do(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *session) eventually(what func() error) {
	s.t.Helper()
	if _, err := lab.Eventually(3*within, what); err != nil {
		s.t.Fatalf("%v\npublisher: %s\n%s", err, lab.Tail(s.source.Log), s.told("status"))
	}
}

// configure gives a host a configuration file of its own.
func (s *session) configure(h *lab.Host, format string, args ...any) {
	s.t.Helper()
	h.Config = filepath.Join(filepath.Dir(h.Dir), "confsyncd.toml")
	s.do(os.WriteFile(h.Config, fmt.Appendf(nil, format, args...), 0o600))
}

// publish replaces the file of the service.
func (s *session) publish(version string, more ...string) {
	s.t.Helper()
	text := strings.Join(append([]string{"version = " + version}, more...), "\n") + "\n"
	outside := s.source.Dir + ".new"
	s.do(errors.Join(os.WriteFile(outside, []byte(text), 0o644), os.Rename(outside, filepath.Join(s.source.Dir, "app.conf"))))
}

// told is what a command says to an operator, who has no configuration.
func (s *session) told(args ...string) lab.Ran {
	s.t.Helper()
	operator := *s.source
	operator.Config, operator.State = s.Config, s.Dir
	return operator.Command(s.t, append(args, "--tenant", "fleet")...)
}

// show logs what a command says, and returns it.
func (s *session) show(args ...string) lab.Ran {
	s.t.Helper()
	r := s.told(args...)
	s.t.Logf("$ confsyncd %s\n%v", strings.Join(args, " "), r)
	return r
}

// rollout waits until the rollout of a generation is in a state, and returns its reason.
func (s *session) rollout(generation uint64, state string) (reason string) {
	s.t.Helper()
	s.eventually(func() error {
		r := s.told("rollout", "status", "-o", "json")
		var got struct {
			Generation    uint64
			State, Reason string
		}
		if err := json.Unmarshal([]byte(r.Out), &got); err != nil {
			return fmt.Errorf("%w: %v", err, r)
		}
		if reason = got.Reason; got.Generation != generation || got.State != state {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	return reason
}

// reported waits until a host says that it has applied a generation, and which one it refuses.
func (s *session) reported(id string, applied, quarantined uint64) {
	s.t.Helper()
	s.eventually(func() error {
		r := s.told("host", "show", id, "-o", "json")
		var got struct {
			Targets []struct{ Applied, Quarantined uint64 }
		}
		if err := json.Unmarshal([]byte(r.Out), &got); err != nil {
			return fmt.Errorf("%w: %v", err, r)
		}
		if len(got.Targets) != 1 || got.Targets[0].Applied != applied || got.Targets[0].Quarantined != quarantined {
			return fmt.Errorf("%s reports %+v", id, got)
		}
		return nil
	})
}

// reload is a moment at which a host's service began to serve a version.
type reload struct {
	at      time.Time
	version string
}

// reloads are all of a host, in order.
func (s *session) reloads(m *member) (all []reload) {
	s.t.Helper()
	b, err := os.ReadFile(m.served)
	s.do(err)
	for line := range strings.Lines(string(b)) {
		at, version, ok := strings.Cut(strings.TrimSpace(line), " ")
		seconds, err := strconv.ParseFloat(at, 64)
		if !ok || err != nil {
			s.t.Fatalf("%s: %q", m.served, line)
		}
		all = append(all, reload{time.UnixMicro(int64(seconds * 1e6)), version})
	}
	return all
}

// serves are the versions that a host's service has served, one after the other.
func (s *session) serves(m *member) string {
	s.t.Helper()
	var versions []string
	for _, r := range s.reloads(m) {
		versions = append(versions, r.version)
	}
	return strings.Join(versions, " ")
}

// all checks what each host has served so far.
func (s *session) all(want func(m *member) string) {
	s.t.Helper()
	for _, m := range s.hosts {
		if got, want := s.serves(m), want(m); got != want {
			s.t.Errorf("%s has served %q, want %q", m.id, got, want)
		}
	}
}

func (s *session) member(id string) *member {
	s.t.Helper()
	i := slices.IndexFunc(s.hosts, func(m *member) bool { return m.id == id })
	return s.hosts[i]
}

// TestSession rolls out what one host refuses, what makes another one ill, and what is good,
// on 20 hosts with three roles.
func TestSession(t *testing.T) {
	skipLong(t)
	t.Parallel()
	s := newSession(t)
	if r := s.show("wait", "--quorum", "100%", "--timeout", "2m"); r.Code != 0 {
		t.Fatal(r)
	}
	s.show("status")
	s.all(func(*member) string { return "1" })

	t.Log("a change that the check of one host refuses")
	s.publish("2", "refused-by = canary-1")
	if reason := s.rollout(2, "halted"); !strings.Contains(reason, "canary-1") {
		t.Errorf("halted for %q", reason)
	}
	s.show("rollout", "status")
	s.reported("canary-2", 2, 0)
	s.reported("canary-1", 1, 2)
	s.show("status")
	if r := s.show("wait", "--generation", "2", "--timeout", "1s"); r.Code != 1 || !strings.Contains(r.Out+r.Err, "canary-1") {
		t.Errorf("wait does not name who is missing: %v", r)
	}
	s.all(func(m *member) string {
		if m.role == "canary" && m.id != "canary-1" {
			return "1 2"
		}
		return "1"
	})

	t.Log("a change that makes a canary ill")
	s.publish("3", "broken-on = canary-2")
	if reason := s.rollout(3, "halted"); !strings.Contains(reason, "canary-2") {
		t.Errorf("halted for %q", reason)
	}
	s.show("rollout", "status")
	s.reported("canary-2", 2, 3)
	s.show("status")
	if r := s.show("wait", "--label", "role=canary", "--generation", "3", "--timeout", "1s"); r.Code != 1 || !strings.Contains(r.Out+r.Err, "canary-2") {
		t.Errorf("wait does not name who is missing: %v", r)
	}
	s.all(func(m *member) string {
		switch {
		case m.id == "canary-2":
			return "1 2 3 2"
		case m.id == "canary-1":
			return "1 3"
		case m.role == "canary":
			return "1 2 3"
		}
		return "1"
	})
	ill := s.reloads(s.member("canary-2"))
	t.Logf("canary-2 serves the old again %.2f s after it began to serve the bad one (health_timeout 1 s)", ill[3].at.Sub(ill[2].at).Seconds())

	t.Log("a good change")
	s.publish("4")
	if r := s.show("wait", "--generation", "4", "--label", "role=canary", "--quorum", "100%", "--timeout", "3m"); r.Code != 0 {
		t.Error(r)
	}
	s.rollout(4, "done")
	if r := s.show("wait", "--quorum", "100%", "--timeout", "3m"); r.Code != 0 {
		t.Error(r)
	}
	s.show("rollout", "status")
	s.show("status")
	s.staged("4")
}

// staged checks that a version came to the canaries first, then to some of role web, and then
// to all others.
func (s *session) staged(version string) {
	s.t.Helper()
	type arrival struct {
		role string
		at   time.Time
	}
	var order []arrival
	for _, m := range s.hosts {
		all := s.reloads(m)
		last := all[len(all)-1]
		if last.version != version {
			s.t.Fatalf("%s serves %s, want %s", m.id, last.version, version)
		}
		order = append(order, arrival{m.role, last.at})
	}
	slices.SortFunc(order, func(x, y arrival) int { return x.at.Compare(y.at) })
	for i, a := range order {
		want := []string{"canary"}
		switch {
		case i >= 6:
			want = []string{"web", "db"}
		case i >= 3:
			want = []string{"web"}
		}
		if !slices.Contains(want, a.role) {
			s.t.Errorf("host %d to serve %s is of role %s, want %v", i+1, version, a.role, want)
		}
	}
	s.t.Logf("generation 4 was served by the last canary %.1f s, by the last of the second stage %.1f s, and by all %.1f s after the first", order[2].at.Sub(order[0].at).Seconds(),
		order[5].at.Sub(order[0].at).Seconds(), order[len(order)-1].at.Sub(order[0].at).Seconds())
}
