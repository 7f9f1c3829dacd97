//go:build bench

package bench

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// patience is how long a measurement may take before it has failed.
const patience = time.Minute

// Pair is a publisher and an agent that follows it, both running.
type Pair struct {
	m              *Meter
	Source, Target *lab.Host
}

// Pair starts a publisher of what is in the source's directory, and an agent.
func (m *Meter) Pair(source, target *lab.Host, publish ...string) *Pair {
	m.Helper()
	p := &Pair{m: m, Source: source, Target: target}
	m.Must(source.Start("publish", publish...))
	m.Must(target.Start("agent"))
	p.Settled()
	return p
}

// Settled waits until the target is at the newest generation.
func (p *Pair) Settled() {
	p.m.Helper()
	_, err := lab.Eventually(patience, func() error {
		s := p.Target.Report(p.m.T)
		if len(s.Targets) == 1 && s.Targets[0].Generation > 0 && s.Targets[0].Behind != nil && *s.Targets[0].Behind == 0 {
			return nil
		}
		return fmt.Errorf("%+v", s.Targets)
	})
	if err != nil {
		p.fail(err.Error())
	}
}

// fail ends the figure, and tells what the two have logged.
func (p *Pair) fail(why string) {
	p.m.Helper()
	p.m.Fatalf("%s\n%s\n%s", why, lab.Tail(p.Source.Log), lab.Tail(p.Target.Log))
}

// Applied waits until the agent has said since begin that so many paths are in place and
// durable, and returns when it said so.
func (p *Pair) Applied(begin time.Time, paths int) (at time.Time) {
	p.m.Helper()
	_, err := lab.Eventually(patience, func() error {
		b, err := os.ReadFile(p.Target.Log)
		if err != nil {
			return err
		}
		done := 0
		for line := range strings.Lines(string(b)) {
			var said struct {
				Message          string    `json:"@message"`
				Time             time.Time `json:"@timestamp"`
				Created, Changed int
			}
			if json.Unmarshal([]byte(line), &said) == nil && said.Message == "applied" && said.Time.After(begin) {
				done, at = done+said.Created+said.Changed, said.Time
			}
		}
		if done < paths {
			return fmt.Errorf("%d of %d paths are in place", done, paths)
		}
		return nil
	})
	if err != nil {
		p.fail(err.Error())
	}
	return at
}

// Arrival is what waits for a file to arrive in a directory.
type Arrival struct {
	m      *Meter
	dir    string
	events int
}

// Arrival watches a directory for files that are renamed into it, or written there. It ends
// with the figure.
func (m *Meter) Arrival(dir string) *Arrival {
	m.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	m.Must(err)
	m.Cleanup(func() { _ = unix.Close(fd) })
	_, err = unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE)
	m.Must(err)
	return &Arrival{m: m, dir: dir, events: fd}
}

// Await waits until the file has that content, and returns how long after begin an event
// said so; 0 if none did in time.
func (a *Arrival) Await(begin time.Time, name, content string) time.Duration {
	a.m.Helper()
	for {
		poll := []unix.PollFd{{Fd: int32(a.events), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, int(patience/time.Millisecond))
		if err == unix.EINTR { //nolint:errorlint // The kernel's own.
			continue
		}
		took := time.Since(begin)
		if a.m.Must(err); n == 0 {
			return 0
		}
		var buf [64 << 10]byte
		_, err = unix.Read(a.events, buf[:])
		a.m.Must(err)
		got, err := os.ReadFile(filepath.Join(a.dir, name))
		if err == nil && string(got) == content {
			return took
		}
	}
}

// Replace replaces a file by one of the same directory's file system, as editors do, and
// returns when the rename began.
func (m *Meter) Replace(dir, name, content string) time.Time {
	m.Helper()
	outside := filepath.Clean(dir) + ".new"
	m.Must(os.WriteFile(outside, []byte(content), 0o644))
	begin := time.Now()
	m.Must(os.Rename(outside, filepath.Join(dir, name)))
	return begin
}

// Rest lets the machine come to rest, and nobody's timers be in step. What is measured
// after it is what happens to an edit on a machine that had nothing to do.
func Rest() { time.Sleep(20*time.Millisecond + rand.N(30*time.Millisecond)) }
