package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/fleet"
	"github.com/confsyncd/confsyncd/internal/store"
)

const (
	// watchEvery is how often a status that is watched is gathered at most, and watchIdle how
	// often it is while nothing changes in etcd: ages grow, and directories change.
	watchEvery = 500 * time.Millisecond
	watchIdle  = 5 * time.Second
)

// watchStatus shows the status again and again until ctx ends, then returns nil.
func (a *app) watchStatus(ctx context.Context, c *config.Config, etcd *store.Client) error {
	g, ctx := errgroup.WithContext(ctx)
	changed, feeds := make(chan struct{}, 1), make(map[string]*fleet.Feed)
	known := &status{Sources: a.sourceStatus(c, nil), Targets: a.targetStatus(c, nil)}
	if reports, err := a.reports(c); err == nil { // else the first look tells
		known.Sources, known.Targets = a.sourceStatus(c, reports), a.targetStatus(c, reports)
	}
	for _, tenant := range a.tenants(known) {
		feed, s := fleet.NewFeed(), etcd.Tenant(tenant)
		feeds[s.Base()] = feed
		g.Go(func() error { return fleet.Follow(ctx, s, feed) })
		g.Go(func() error { return pass(ctx, feed, changed) })
	}
	hosts := func(ctx context.Context, s *store.Store) (fleet.Fleet, error) {
		if feed := feeds[s.Base()]; feed != nil {
			if f, ok := feed.Take(); ok && feed.Err() == nil {
				return f, nil
			}
		}
		return fleet.Read(ctx, s)
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	screen := &screen{app: a, lines: make(map[string]string)}
	g.Go(func() error {
		for {
			s, err := a.status(ctx, c, etcd, hosts)
			if ctx.Err() != nil {
				return screen.end()
			}
			if err := screen.show(s, err); err != nil {
				return err
			}
			if !awaitChange(ctx, changed, resized) {
				return screen.end()
			}
		}
	})
	return g.Wait()
}

// pass tells changed of all that a feed has that is new, until ctx ends.
func pass(ctx context.Context, feed *fleet.Feed, changed chan<- struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-feed.HeadChanged():
		case <-feed.HostsChanged():
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// awaitChange waits until there is something new to show, but not for long; it returns false
// once ctx has ended.
func awaitChange(ctx context.Context, changed <-chan struct{}, resized <-chan os.Signal) bool {
	soon, late := time.NewTimer(watchEvery), time.NewTimer(watchIdle)
	defer soon.Stop()
	defer late.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-soon.C:
	}
	select {
	case <-ctx.Done():
		return false
	case <-late.C:
	case <-changed:
	case <-resized:
	}
	return true
}

// screen shows a status in place of the one before.
type screen struct {
	app   *app
	lines map[string]string // what was said last of each tenant, if this is no terminal
	last  []byte            // what was said last, with -o json
	begun bool
	cut   bool // the last line on the terminal is not ended
}

// show shows a status and what went wrong while it was gathered.
func (s *screen) show(now *status, err error) error {
	a := s.app
	switch {
	case a.output == "json":
		return s.object(now)
	case !terminal(a.out) || os.Getenv("TERM") == "dumb":
		return s.tell(now)
	}
	text := now.text()
	if err != nil {
		text = fmt.Sprintf("%s\nconfsyncd: %v\n", text, err)
	}
	// ECMA-48: the cursor to the top, each line's rest and all below the last erased.
	erase := "\x1b[H"
	if !s.begun {
		erase, s.begun = "\x1b[2J\x1b[H", true
	}
	text = fmt.Sprintf("%s  (interrupt to end)\n\n%s", time.Now().Format(time.DateTime), text)
	text = fitting(a.out, text)
	s.cut = !strings.HasSuffix(text, "\n")
	return a.printf("%s%s\x1b[J", erase, strings.ReplaceAll(text, "\n", "\x1b[K\n"))
}

// end leaves the terminal so that what comes next begins a line.
func (s *screen) end() error {
	if !s.cut {
		return nil
	}
	return s.app.printf("\n")
}

// fitting cuts a text to what a terminal has room for.
func fitting(out io.Writer, text string) string {
	f, ok := out.(*os.File)
	if !ok {
		return text
	}
	width, height, err := term.GetSize(int(f.Fd())) //nolint:gosec // A descriptor is a small number.
	if err != nil || width < 1 || height < 2 {
		return text
	}
	lines := strings.SplitAfter(text, "\n")
	if len(lines) > height {
		lines = append(lines[:height-1], "…")
	}
	for i, line := range lines {
		if r := []rune(strings.TrimSuffix(line, "\n")); len(r) > width {
			lines[i] = string(r[:width-1]) + "…\n"
		}
	}
	return strings.Join(lines, "")
}

// object prints the status if anything but ages has changed.
func (s *screen) object(now *status) error {
	same := *now
	same.Tenants = append([]tenantStatus{}, now.Tenants...)
	same.Targets = append([]targetStatus{}, now.Targets...)
	for i := range same.Tenants {
		same.Tenants[i].AgeSeconds = 0
	}
	for i := range same.Targets {
		same.Targets[i].LagSeconds = nil
	}
	text, err := json.Marshal(same)
	if err != nil || bytes.Equal(text, s.last) {
		return err
	}
	s.last = text
	return s.app.json(now)
}

// tell prints a line for each tenant of which there is something new to say.
func (s *screen) tell(now *status) error {
	for _, t := range now.Tenants {
		line := t.line()
		if line == s.lines[t.Tenant] {
			continue
		}
		s.lines[t.Tenant] = line
		if err := s.app.printf("%s  %s\n", time.Now().Format(time.DateTime), line); err != nil {
			return err
		}
	}
	if len(now.Tenants) == 0 && !s.begun {
		s.begun = true
		return s.app.printf("%s", now.text())
	}
	return nil
}

// line says in a line what a tenant is at.
func (t tenantStatus) line() string {
	if t.Error != "" {
		return fmt.Sprintf("%s: %s", t.Tenant, t.Error)
	}
	text := fmt.Sprintf("%s: generation %d", t.Tenant, t.Generation)
	if t.Generation == 0 {
		text = t.Tenant + ": no generation"
	}
	if len(t.Channels) > 1 || len(t.Channels) == 1 && t.Channels[0].Ahead > 0 {
		text += " (" + channelsText(t.Channels) + ")"
	}
	text += fmt.Sprintf(", publisher %s", t.PublisherState)
	if t.HostsError == "" {
		text += fmt.Sprintf(", hosts %s", t.HostTotals)
	}
	const most = 3 // The line is to be read.
	named := 0
	for _, h := range t.Hosts {
		if h.State == hostFailed && named < most {
			text += fmt.Sprintf("; %s: %s", printable(h.Host), said(h.Reason))
			named++
		}
	}
	return text
}
