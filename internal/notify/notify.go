// Package notify tells the service manager what a daemon is at, as sd_notify(3) says:
// that it is ready, that it lives, what it does.
//
// # Promises
//
// The watchdog is fed, and a start or stop prolonged, only while the daemon moves: its
// loops have all shown a sign of life within half of the watchdog's time. Without a
// service manager nothing is done.
//
// # Caveats
//
// A daemon is taken for stuck after half of the watchdog's time at the earliest, and
// killed after at most one and three quarters of it.
package notify

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/logging"
)

const (
	// withoutWatchdog is the watchdog's time that is assumed where there is none.
	withoutWatchdog = 3 * time.Minute
	// paceLast bounds the time between two messages that prolong a start: systemd's
	// TimeoutStartSec is 90 s where nobody has changed it.
	paceLast = 10 * time.Second
	// longest bounds what is told of the state, in bytes.
	longest = 2000
)

// State is what the daemon is at.
type State struct {
	// Ready says that the start is over.
	Ready bool
	// Beat is the last time at which nothing in the daemon was known to be stuck.
	Beat time.Time
	// Status is for people: one line.
	Status string
}

// Options say what is told.
type Options struct {
	State func() State
	// Changed holds a token when the state may have changed.
	Changed <-chan struct{}
	Log     hclog.Logger
}

// Notifier tells the service manager.
type Notifier struct {
	options  Options
	watchdog time.Duration // 0 if there is none
	trouble  *logging.Episode

	mu        sync.Mutex // guards what follows, and the order of messages
	ready     bool       // READY was told
	reloading bool
	stopping  bool
	status    string // as told last
}

// New returns a notifier for the service manager that the environment names, if any.
func New(o Options) *Notifier {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		o.Log.Warn("the watchdog's time cannot be read, it is not fed", "error", err)
	}
	return &Notifier{options: o, watchdog: watchdog, trouble: logging.NewEpisode(o.Log, "telling the service manager")}
}

// Run tells what changes, until ctx ends.
func (n *Notifier) Run(ctx context.Context) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(min(n.patience()/2, paceLast))
	defer tick.Stop()
	for {
		n.tell()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.options.Changed:
		}
	}
}

// Reloading tells that the configuration is about to be read again.
func (n *Notifier) Reloading() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ready || n.stopping {
		return // READY after it would be taken for the end of the start
	}
	n.reloading = true
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		n.trouble.Failed(err)
		return
	}
	n.send(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

// Reloaded tells that it was.
func (n *Notifier) Reloaded() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reloading {
		n.reloading = false
		n.send(daemon.SdNotifyReady)
	}
}

// Stopping tells that the daemon is about to end.
func (n *Notifier) Stopping() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopping = true
	n.send(daemon.SdNotifyStopping)
}

// patience is how old the last sign of life may be.
func (n *Notifier) patience() time.Duration {
	if n.watchdog == 0 {
		return withoutWatchdog / 2
	}
	return n.watchdog / 2
}

// Stuck returns why a daemon is taken for stuck whose last sign of life was then, and nil
// if it is not: what the watchdog goes by, also where there is none.
func (n *Notifier) Stuck(beat time.Time) error {
	if age := time.Since(beat); age >= n.patience() {
		return fmt.Errorf("no sign of life for %v", age.Round(time.Second))
	}
	return nil
}

// tell tells what the daemon is at.
func (n *Notifier) tell() {
	now := n.options.State()
	n.mu.Lock()
	defer n.mu.Unlock()
	var lines []string
	if status := Line(now.Status); status != n.status {
		n.status = status
		lines = append(lines, "STATUS="+status)
	}
	if now.Ready && !n.ready && !n.stopping {
		n.ready = true
		lines = append(lines, daemon.SdNotifyReady)
	}
	if n.Stuck(now.Beat) == nil {
		if n.watchdog > 0 {
			lines = append(lines, daemon.SdNotifyWatchdog)
		}
		if !n.ready || n.stopping {
			lines = append(lines, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (n.patience()+2*paceLast).Microseconds()))
		}
	}
	n.send(lines...)
}

// send sends one message.
func (n *Notifier) send(lines ...string) {
	if len(lines) == 0 {
		return
	}
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		n.trouble.Failed(err)
		return
	}
	n.trouble.Ended()
}

// Line makes one line of a status: a second one would be read as another message.
func Line(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + " …"
	}
	return s
}
