package notify

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// manager is a service manager that a notifier tells.
type manager struct {
	t       *testing.T
	conn    *net.UnixConn
	changed chan struct{}

	mu    sync.Mutex // guards what follows
	state State
	stuck bool // else a sign of life was seen just now
}

func newManager(t *testing.T, watchdog time.Duration) *manager {
	t.Helper()
	address := fmt.Sprintf("@confsyncd-%d-%s", os.Getpid(), t.Name())
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", address)
	t.Setenv("WATCHDOG_PID", "")
	t.Setenv("WATCHDOG_USEC", "")
	if watchdog > 0 {
		t.Setenv("WATCHDOG_USEC", fmt.Sprint(watchdog.Microseconds()))
	}
	return &manager{t: t, conn: conn, changed: make(chan struct{}, 1)}
}

func (m *manager) start() *Notifier {
	n := New(Options{Log: hclog.NewNullLogger(), Changed: m.changed, State: func() State {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.stuck {
			m.state.Beat = time.Now()
		}
		return m.state
	}})
	ctx, cancel := context.WithCancel(m.t.Context())
	ended := make(chan struct{})
	go func() {
		n.Run(ctx)
		close(ended)
	}()
	m.t.Cleanup(func() {
		cancel()
		<-ended
	})
	return n
}

func (m *manager) set(change func()) {
	m.mu.Lock()
	change()
	m.mu.Unlock()
	m.changed <- struct{}{}
}

// next returns the next message, "" if none comes within d.
func (m *manager) next(d time.Duration) string {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		m.t.Fatal(err)
	}
	b := make([]byte, 8<<10)
	k, err := m.conn.Read(b)
	if err != nil {
		return ""
	}
	return string(b[:k])
}

// until reads messages until one has the word.
func (m *manager) until(word string) string {
	m.t.Helper()
	for {
		got := m.next(time.Minute)
		if got == "" || strings.Contains(got, word) {
			if got == "" {
				m.t.Errorf("no message with %q", word)
			}
			return got
		}
	}
}

func TestStart(t *testing.T) {
	m := newManager(t, 0)
	n := m.start()
	if got := m.until("EXTEND"); strings.Contains(got, "READY") || strings.Contains(got, "WATCHDOG") {
		t.Errorf("at the start %q", got)
	}
	n.Reloading()
	n.Reloaded()
	m.set(func() { m.state.Status = "two\nREADY=1\xff" })
	if got := m.until("STATUS"); strings.Split(got, "\n")[0] != "STATUS=two READY=1?" || strings.Contains(got, "\nREADY") {
		t.Errorf("status %q", got)
	}
	m.set(func() { m.state.Ready = true })
	if got := m.until("READY"); strings.Contains(got, "EXTEND") {
		t.Errorf("when ready %q", got)
	}
	n.Reloading()
	if got := m.until("RELOADING=1"); !strings.Contains(got, "\nMONOTONIC_USEC=") {
		t.Errorf("at a reload %q", got)
	}
	n.Reloaded()
	if got := m.until("READY=1"); got != "READY=1" {
		t.Errorf("after it %q", got)
	}
	n.Stopping()
	m.until("STOPPING=1")
	m.set(func() {})
	m.until("EXTEND_TIMEOUT_USEC=")
}

func TestWatchdogIsFedOnlyWhileAllMoves(t *testing.T) {
	const watchdog = 400 * time.Millisecond
	m := newManager(t, watchdog)
	m.state.Ready = true
	m.start()
	for range 5 {
		m.until("WATCHDOG=1")
	}
	m.set(func() { m.stuck = true })
	// What was told before it got stuck, and until that is noticed.
	for stuck := time.Now(); m.next(watchdog) != ""; {
		if time.Since(stuck) > time.Minute {
			t.Fatal("a stuck daemon feeds the watchdog")
		}
	}
	m.set(func() { m.stuck = false })
	m.until("WATCHDOG=1")
}

func TestStuckStartIsNotProlonged(t *testing.T) {
	m := newManager(t, 0)
	m.state.Beat, m.stuck = time.Now().Add(-withoutWatchdog), true
	m.state.Status = "begins"
	m.start()
	if got := m.until("STATUS"); got != "STATUS=begins" {
		t.Errorf("told %q", got)
	}
}

func TestStuckWithoutAServiceManager(t *testing.T) {
	n := New(Options{Log: hclog.NewNullLogger()})
	if err := n.Stuck(time.Now().Add(-time.Minute)); err != nil {
		t.Error(err)
	}
	if err := n.Stuck(time.Now().Add(-withoutWatchdog / 2)); err == nil {
		t.Error("it is not stuck after 90 s")
	}
}
