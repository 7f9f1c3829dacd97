package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/fleet"
	"github.com/confsyncd/confsyncd/internal/store"
)

// errMissing: too few hosts have what is waited for.
var errMissing = errors.New("too few hosts have it")

// hearing is for how long a host that refused it before the command began is given to say
// that it tries again: "confsyncd retry" may have been called just before, and hosts speak seldom.
const hearing = 15 * time.Second

// waited is what wait prints with -o json.
type waited struct {
	Tenant string `json:"tenant"`
	// Generation is the one that was asked for; 0: what each target's channel was at.
	Generation uint64  `json:"generation"`
	Reached    bool    `json:"reached"`
	Hosts      int     `json:"hosts"`  // that count
	Have       int     `json:"have"`   // of them
	Needed     int     `json:"needed"` // of them
	// Refused are those of them that do not try it again by themselves, and Impossible says that
	// they are too many.
	Refused    int     `json:"refused"`
	Impossible bool    `json:"impossible"`
	Seconds    float64 `json:"seconds"`
	// Missing are the others, the one that is furthest behind first.
	Missing []missingHost `json:"missing"`
}

type missingHost struct {
	Host       string `json:"host"`
	Life       string `json:"life"`
	State      string `json:"state"`
	Generation uint64 `json:"generation"`
	Reason     string `json:"reason"`
}

// waitFlags say what is waited for.
type waitFlags struct {
	generation uint64 // 0: what each target's channel is at
	quorum     float64
	label      string
	timeout    time.Duration
}

func (a *app) waitCommand() *cobra.Command {
	f := waitFlags{quorum: 1, timeout: time.Minute}
	cmd := &cobra.Command{
		Use:   "wait",
		Short: "Wait until the hosts have what is published",
		Long: `Wait returns when a share of the tenant's hosts has applied a generation, or a newer
one, has reloaded, and is well; exit 1 if that is not so in time, and then it lists
the hosts that are missing, and why. Without --generation each target is to come to
what its channel, or a rollout, has for it when the command begins.

A host whose check, reload or health has refused it does not try it again until a
newer generation comes, or an operator says so ("confsyncd retry DIR" there). So if
too many have for the others to be enough, wait ends at once, with exit 1 too.

Hosts that are down count, until "confsyncd host forget ID". Of two processes with
one id neither counts as having anything. It waits for the first host if there is
none.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.timeout < 0 {
				return usage("--timeout %v is negative; give a duration such as 60s", f.timeout)
			}
			return a.wait(cmd.Context(), f)
		},
	}
	cmd.Flags().Var(into(&f.generation, "generation", committed), "generation", "the generation to wait for (default what the channels are at)")
	cmd.Flags().Var(into(&f.quorum, "share", config.ParsePercent), "quorum", "the share of the hosts that must have it, such as 95% (default 100%)")
	cmd.Flags().Var(into(&f.label, "label", parseLabel), "label", "only hosts with this label count, such as role=web")
	cmd.Flags().Var(into(&f.timeout, "duration", config.ParseDuration), "timeout", "how long to wait (default 60s)")
	return cmd
}

func (a *app) wait(ctx context.Context, f waitFlags) error {
	return a.lookAtHosts(ctx, func(ctx context.Context, l *look, first fleet.Fleet) error {
		begin, bar := time.Now(), a.progress()
		before := f.refused(first, first)
		var result waited
		done := func(now fleet.Fleet) bool {
			if first.View.Head == nil {
				first.View = now.View
			}
			result = f.count(l.tenant, first, now)
			bar.count(fmt.Sprintf("hosts with %s", f.what()), result.Have, max(result.Needed, 1))
			refused := f.refused(first, now)
			if result.Refused = len(refused); time.Since(begin) < hearing {
				maps.DeleteFunc(refused, func(id string, _ bool) bool { return before[id] })
			}
			result.Impossible = !result.Reached && result.Hosts-len(refused) < result.Needed
			return result.Reached || result.Impossible
		}
		var err error
		if !done(first) {
			err = f.until(ctx, l.store, done)
		}
		bar.end()
		if err != nil {
			return err
		}
		result.Seconds = time.Since(begin).Seconds()
		return a.printWaited(f, result)
	})
}

// until follows the fleet until done says so, or the time is up.
func (f waitFlags) until(ctx context.Context, s *store.Store, done func(fleet.Fleet) bool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	timeout, tick := time.NewTimer(f.timeout), time.NewTicker(time.Second) // The bar shows that time passes.
	defer timeout.Stop()
	defer tick.Stop()
	feed := fleet.NewFeed()
	var g errgroup.Group
	g.Go(func() error { return fleet.Follow(ctx, s, feed) })
	defer func() { _ = g.Wait() }() // It returns nil, once it is stopped.
	defer stop()
	for {
		now, ok := feed.Take()
		switch {
		case ok && now.View.Err != nil:
			return now.View.Err
		case ok && done(now):
			return nil
		case errors.Is(feed.Err(), store.ErrRefused):
			return feed.Err()
		}
		select {
		case <-feed.HeadChanged():
		case <-feed.HostsChanged():
		case <-tick.C:
		case <-timeout.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// what names what is waited for.
func (f waitFlags) what() string {
	if f.generation == 0 {
		return "what is published"
	}
	return fmt.Sprintf("generation %d", f.generation)
}

// wanted tells what a host is to come to: what it was to come to first.
func (f waitFlags) wanted(first fleet.Fleet, h fleet.Host) fleet.Wanted {
	if f.generation == 0 && first.View.Head != nil {
		return fleet.Current(first.View.Head.Head, h)
	}
	return fleet.At("", f.generation)
}

// refused returns the ids of the hosts that count and have refused what they are to come to.
func (f waitFlags) refused(first, now fleet.Fleet) map[string]bool {
	ids := make(map[string]bool)
	for _, h := range labeled(now.Hosts, f.label) {
		if h.Refuses(f.wanted(first, h)) {
			ids[h.ID] = true
		}
	}
	return ids
}

// count tells how far the hosts are now; what they are to come to is what it was first.
func (f waitFlags) count(tenant string, first, now fleet.Fleet) waited {
	result := waited{Tenant: tenant, Generation: f.generation, Missing: []missingHost{}}
	counted := labeled(now.Hosts, f.label)
	states := make(map[string]hostFacts, len(counted))
	for _, h := range counted {
		state, reason := judged(h, f.wanted(first, h))
		states[h.ID] = hostFacts{State: state, Reason: reason}
	}
	now.Hosts = counted
	for _, h := range hostsOf(tenant, now) {
		if s := states[h.Host]; s.State != hostCurrent {
			result.Missing = append(result.Missing, missingHost{Host: h.Host, Life: h.Life, State: s.State, Generation: h.Generation, Reason: s.Reason})
		}
	}
	result.Hosts, result.Have = len(counted), len(counted)-len(result.Missing)
	// A little less than a whole host is none: 95% of 20 are 19, whatever the product is.
	result.Needed = int(math.Ceil(f.quorum*float64(result.Hosts) - 1e-9))
	result.Reached = result.Hosts > 0 && result.Have >= result.Needed && first.View.Head != nil
	return result
}

func (a *app) printWaited(f waitFlags, r waited) error {
	if a.output == "json" {
		if err := a.json(r); err != nil {
			return err
		}
	} else {
		var b strings.Builder
		fmt.Fprintf(&b, "%s: %d of %d hosts have %s, %d needed, %.1f s\n", r.Tenant, r.Have, r.Hosts, f.what(), r.Needed, r.Seconds)
		for _, h := range r.Missing {
			reason := h.Reason
			if h.Life != string(fleet.Up) && h.State == hostFailed {
				reason = h.Life + ", " + reason
			}
			fmt.Fprintf(&b, "  %s: %s\n", printable(h.Host), said(reason))
		}
		if err := a.printf("%s", b.String()); err != nil {
			return err
		}
	}
	switch {
	case r.Reached:
		return nil
	case r.Hosts == 0:
		return fmt.Errorf("%w after %v: no host%s has reported; see that agents run, and may write hosts/ and alive/", errMissing, f.timeout, f.withLabel())
	}
	if r.Impossible {
		return fmt.Errorf("%w, and too many have refused it: %d of %d, %d needed; publish a newer generation, or \"confsyncd retry DIR\" on a host tries it again",
			errMissing, r.Refused, r.Hosts, r.Needed)
	}
	return fmt.Errorf("%w after %v: %d of %d, %d needed; \"confsyncd host forget ID\" takes one that is gone out of the count", errMissing, f.timeout, r.Have, r.Hosts, r.Needed)
}

func (f waitFlags) withLabel() string {
	if f.label == "" {
		return ""
	}
	return " with label " + f.label
}
