package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/fleet"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/journal"
	"github.com/confsyncd/confsyncd/internal/report"
	"github.com/confsyncd/confsyncd/internal/store"
)

// inSync is the state of a target that equalled the head when it was last looked at.
const inSync = "in_sync"

// status is what status prints with -o json.
type status struct {
	Endpoints string         `json:"endpoints"`
	Version   string         `json:"etcd_version,omitempty"` // of the server that answered
	Warning   string         `json:"warning,omitempty"`
	Tenants   []tenantStatus `json:"tenants"`
	Sources   []sourceStatus `json:"sources"`
	Targets   []targetStatus `json:"targets"`
}

type tenantStatus struct {
	Tenant     string     `json:"tenant"`
	TenantID   string     `json:"tenant_id,omitempty"`
	Generation uint64     `json:"generation"` // 0: no commit
	Commit     string     `json:"commit,omitempty"`
	Time       *time.Time `json:"time,omitempty"`
	AgeSeconds float64    `json:"age_seconds"`
	Publisher  string     `json:"publisher,omitempty"`
	Instance   string     `json:"instance,omitempty"`
	Message    string     `json:"message,omitempty"`
	Founding   uint64     `json:"founding,omitempty"`
	Keyframe   uint64     `json:"keyframe,omitempty"`
	Rollback   uint64     `json:"rollback,omitempty"`
	Error      string     `json:"error,omitempty"`
	// PublisherState is "live" or "gone"; empty if it is not known.
	PublisherState string         `json:"publisher_state,omitempty"`
	Channels       []channelState `json:"channels"`
	// Hosts are all that ever reported and were not forgotten, the one that is furthest
	// behind first.
	Hosts      []hostFacts `json:"hosts"`
	HostTotals hostTotals  `json:"host_totals"`
	HostsError string      `json:"hosts_error,omitempty"` // why hosts are not known
	// Deleted is the tombstone of a tenant that was deleted.
	Deleted *codec.Tombstone `json:"deleted,omitempty"`
}

// channelState is where a channel is.
type channelState struct {
	Channel    string `json:"channel"`
	Generation uint64 `json:"generation"`
	Ahead      uint64 `json:"ahead,omitempty"` // that a rollout lets some of its hosts have
}

type sourceStatus struct {
	Tenant string   `json:"tenant"`
	Dir    string   `json:"dir"`
	State  string   `json:"state"`
	Reason string   `json:"reason,omitempty"`
	Held   []string `json:"held,omitempty"`
	// Apart are paths that differ from the head, since others have committed beside the
	// directory: the first of ApartTotal.
	Apart      []string `json:"apart,omitempty"`
	ApartTotal int      `json:"apart_total"`
	process
}

type targetStatus struct {
	Tenant     string   `json:"tenant"`
	TenantID   string   `json:"tenant_id,omitempty"`
	Dir        string   `json:"dir"`
	State      string   `json:"state"`
	Reason     string   `json:"reason,omitempty"`
	Generation uint64   `json:"generation"` // 0: nothing was applied
	Behind     *uint64  `json:"behind"`     // generations; null if it cannot be told
	Pending    uint64   `json:"pending,omitempty"`
	Left       []string `json:"left,omitempty"`
	// Drift are paths that are not as they were published: the first of DriftTotal.
	Drift      []string `json:"drift,omitempty"`
	DriftTotal int      `json:"drift_total"`
	// Quarantined is the generation that a hook has refused here, and Reverted the one whose
	// files were put back.
	Quarantined *refusedFacts `json:"quarantined,omitempty"`
	Reverted    uint64        `json:"reverted,omitempty"`
	Paused      *holdFacts    `json:"paused,omitempty"`
	Pinned      *holdFacts    `json:"pinned,omitempty"`
	// LagSeconds is how long it has been without what it should have; null if that
	// cannot be told.
	LagSeconds *float64 `json:"lag_seconds"`
	unread     bool     // what its journal says is not known
	process
}

// process tells who said what the state is, and when.
type process struct {
	Since   *time.Time `json:"since,omitempty"` // when it came to that state
	PID     int        `json:"pid,omitempty"`
	Running bool       `json:"running"`
}

func (a *app) statusCommand() *cobra.Command {
	var maxLag time.Duration
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the head, the publisher, the hosts, and this machine's targets",
		Long: `Status shows what the newest generation of each tenant is, who published it, where
the channels are, and what the hosts have, the one that is furthest behind first;
and for the sources and targets of this machine what they do and how far behind
they are. It exits with 4 if etcd does not answer, and shows then what is known
without it.

With --watch it goes on until it is interrupted: on a terminal it shows all anew
whenever anything changes, else it prints a line for each tenant that has changed,
or, with -o json, an object.

With --max-lag it exits with 1 if a target has been behind for longer, and names it:
since the first generation that it lacks was committed, whatever the reason, a pause
and a pin included; or, where that cannot be told, since its agent has been saying
that all is not well, or has ended.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			log, err := a.logger(c, false)
			if err != nil {
				return configError{err}
			}
			if maxLag < 0 {
				return usage("--max-lag %v is negative; give a duration such as 5m", maxLag)
			}
			etcd := client(c, log)
			if watch {
				if cmd.Flags().Changed("max-lag") {
					return usage("--max-lag ends with an exit code, and --watch does not end: use one of them")
				}
				return firstError(a.watchStatus(cmd.Context(), c, etcd), etcd.Close())
			}
			s, err := a.status(cmd.Context(), c, etcd, fleet.Read)
			if s != nil {
				if printErr := a.printStatus(s); printErr != nil {
					return printErr
				}
				if cmd.Flags().Changed("max-lag") {
					err = firstError(s.late(maxLag), err)
				}
			}
			return firstError(err, etcd.Close())
		},
	}
	cmd.Flags().Var(into(&maxLag, "duration", config.ParseDuration), "max-lag", "exit with 1 if a target has been behind for longer, such as 5m")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on, and show what changes")
	return cmd
}

// fleetOf returns what is known of a tenant's hosts.
type fleetOf func(context.Context, *store.Store) (fleet.Fleet, error)

// status gathers what is known. With an error of etcd it returns what is known
// without it.
func (a *app) status(ctx context.Context, c *config.Config, etcd *store.Client, hosts fleetOf) (*status, error) {
	reports, reportsErr := a.reports(c)
	var err error
	s := &status{Endpoints: etcd.Endpoints(), Tenants: []tenantStatus{}, Sources: a.sourceStatus(c, reports), Targets: a.targetStatus(c, reports)}
	for _, name := range a.tenants(s) {
		t := tenantStatus{Channels: []channelState{}, Hosts: []hostFacts{}}
		tenantErr := withPatience(ctx, etcd, func(ctx context.Context) error {
			return t.see(ctx, name, etcd.Tenant(name), hosts)
		})
		t.Tenant = name
		if tenantErr != nil {
			t.Error = tenantErr.Error()
			err = firstError(err, tenantErr)
		}
		s.Tenants = append(s.Tenants, t)
		if errors.Is(tenantErr, errEtcdAway) || ctx.Err() != nil {
			break // no other tenant will fare better
		}
	}
	for i := range s.Targets {
		s.Targets[i].compare(s.Tenants)
	}
	a.waits(ctx, s, etcd)
	if _, failing := etcd.Failing(); failing == nil && len(s.Tenants) > 0 {
		if s.Version, _ = etcd.ServerVersion(ctx); s.Version != "" { // that it is not told is no failure
			s.Warning = store.Outdated(s.Version)
		}
	}
	return s, errors.Join(err, reportsErr)
}

// reports returns what daemons and commands said on this machine. An ordinary user who
// named no state_dir means the services' too. That those cannot be read is a warning.
func (a *app) reports(c *config.Config) ([]report.Report, error) {
	reports, err := report.Read(c.StateDir)
	if a.given("state-dir") || c.StateDir == packagedStateDir || c.StateDir != config.Default().StateDir {
		return reports, err
	}
	services, servicesErr := report.Read(packagedStateDir)
	if servicesErr != nil {
		fmt.Fprintf(a.err, "confsyncd: not all that the services say can be read: %v; root may\n", servicesErr)
	}
	return append(reports, services...), err
}

// tenants returns the names of the tenants that are meant or known here, sorted.
func (a *app) tenants(s *status) []string {
	if a.given("tenant") {
		return []string{a.tenant}
	}
	var names []string
	for _, x := range s.Sources {
		names = append(names, x.Tenant)
	}
	for _, x := range s.Targets {
		names = append(names, x.Tenant)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// see fills in what etcd knows of a tenant.
func (t *tenantStatus) see(ctx context.Context, name string, s *store.Store, hosts fleetOf) error {
	return s.WithHead(ctx, func(view store.View) (err error) {
		if view.Err != nil {
			return view.Err
		}
		f, err := hosts(ctx, s)
		switch {
		case errors.Is(err, store.ErrRefused):
			t.HostsError = err.Error() // Who may read the head need not be allowed to read more.
		case err != nil:
			return err
		default:
			t.Hosts = hostsOf(name, f)
			t.HostTotals = totalsOf(t.Hosts)
		}
		if view.Head == nil {
			t.Deleted, err = deletionOf(ctx, s)
			return err
		}
		if err == nil {
			t.PublisherState = "gone"
			if _, live := f.Publishes(); live {
				t.PublisherState = "live"
			}
		}
		return t.seeHead(ctx, s, view)
	})
}

func (t *tenantStatus) seeHead(ctx context.Context, s *store.Store, view store.View) error {
	h := view.Head
	t.TenantID, t.Generation, t.Commit = h.Position.Tenant.String(), h.Position.Generation, h.Position.Commit.String()
	t.Publisher, t.Instance, t.Founding, t.Keyframe = h.Publisher, h.Instance, h.Founding, h.Keyframe.Generation
	t.Rollback = h.Rollback
	t.Channels = nil
	for _, c := range h.AllChannels() {
		at := channelState{Channel: c.Name, Generation: c.Generation}
		if h.Ahead != nil && h.Ahead.Channel == c.Name {
			at.Ahead = h.Ahead.Generation
		}
		t.Channels = append(t.Channels, at)
	}
	r, _, err := s.Record(ctx, view, h.Position.Generation)
	if err != nil {
		return err
	}
	t.Time, t.Message, t.AgeSeconds = &r.Time, r.Message, time.Since(r.Time).Seconds()
	return nil
}

// sourceStatus lists the sources that were ever published from here, and the
// configuration's.
func (a *app) sourceStatus(c *config.Config, reports []report.Report) []sourceStatus {
	list := []sourceStatus{}
	known := make(map[string]bool)
	for _, r := range reports {
		if r.Role == report.Source && r.Prefix == c.Etcd.Prefix && a.meant(r.Tenant) {
			known[r.Tenant+"\x00"+r.Dir] = true
			list = append(list, sourceStatus{Tenant: r.Tenant, Dir: r.Dir, State: r.State, Reason: r.Reason, Held: r.Held, Apart: r.Apart, ApartTotal: r.ApartTotal, process: reporter(r)})
		}
	}
	for _, s := range c.Sources {
		if !known[s.Tenant+"\x00"+s.Dir] && a.meant(s.Tenant) {
			list = append(list, sourceStatus{Tenant: s.Tenant, Dir: s.Dir, State: "unknown", Reason: "no publisher has run with this state_dir"})
		}
	}
	slices.SortFunc(list, func(x, y sourceStatus) int { return strings.Compare(x.Tenant+"\x00"+x.Dir, y.Tenant+"\x00"+y.Dir) })
	return list
}

// targetStatus lists the targets that registered here, and the configuration's, with
// what their own journals say.
func (a *app) targetStatus(c *config.Config, reports []report.Report) []targetStatus {
	list := []targetStatus{}
	known := make(map[string]bool)
	for _, r := range reports {
		if r.Role == report.Target && r.Prefix == c.Etcd.Prefix && a.meant(r.Tenant) {
			known[r.Tenant+"\x00"+r.Dir] = true
			list = append(list, journalState(targetStatus{
				Tenant: r.Tenant, Dir: r.Dir, State: r.State, Reason: r.Reason, Drift: r.Drift, DriftTotal: r.DriftTotal, process: reporter(r),
			}))
		}
	}
	for _, t := range c.Targets {
		if !known[t.Tenant+"\x00"+t.Dir] && a.meant(t.Tenant) {
			list = append(list, journalState(targetStatus{Tenant: t.Tenant, Dir: t.Dir, State: "unknown", Reason: "no agent has run with this state_dir"}))
		}
	}
	slices.SortFunc(list, func(x, y targetStatus) int { return strings.Compare(x.Tenant+"\x00"+x.Dir, y.Tenant+"\x00"+y.Dir) })
	return list
}

// reporter tells of the process that wrote a report. It may have ended since, killed
// or not: then another process may have its number, but hardly under the same name.
func reporter(r report.Report) process {
	p := process{Since: &r.Time, PID: r.PID}
	theirs, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", r.PID))
	ours, ourErr := os.ReadFile("/proc/self/comm")
	p.Running = err == nil && ourErr == nil && bytes.Equal(theirs, ours) && r.PID != os.Getpid()
	return p
}

func (a *app) meant(tenant string) bool { return !a.given("tenant") || tenant == a.tenant }

func journalState(t targetStatus) targetStatus {
	state, pending, err := install.ReadState(t.Dir)
	switch {
	case errors.Is(err, journal.ErrNone):
		if t.State == inSync || t.State == "drifted" {
			t.State, t.Reason = "unknown", "its journal is gone, so nothing there is managed any more; \"confsyncd forget\" takes it off this list"
		}
		return t
	case errors.Is(err, fs.ErrPermission) && t.Since != nil, err != nil && t.Running && t.Reason != "":
		t.unread = true
		return t // what its agent said stands
	case err != nil:
		t.State, t.Reason, t.unread = "unreadable", err.Error(), true
		return t
	}
	t.TenantID, t.Generation, t.Left = state.Position.Tenant.String(), state.Position.Generation, state.Left
	if pending != nil {
		t.Pending = pending.Position.Generation
	}
	if proof, err := install.ReadProof(t.Dir); err == nil {
		t.proof(proof, state)
	}
	holds, err := install.ReadHolds(t.Dir)
	if err == nil {
		t.hold(holds)
	}
	return t
}

// hold takes what an operator holds the target by, which stands whether an agent runs or
// not.
func (t *targetStatus) hold(h install.Holds) {
	t.Paused, t.Pinned = holdFactsOf(h.Pause), holdFactsOf(h.Pin)
	switch {
	case h.Pause != nil && t.State != "paused":
		t.State, t.Reason = "paused", h.Pause.String()
	case h.Pause == nil && h.Pin != nil && t.State != "pinned":
		t.State, t.Reason = "pinned", h.Pin.String()
	case h.Pause == nil && t.State == "paused", h.Pin == nil && t.State == "pinned":
		t.State, t.Reason = "unknown", "it was "+t.State+" until lately, and nobody has told since"
	}
}

// applied returns the generation whose files the target has: after a revert not the one
// that its journal is at.
func (t *targetStatus) applied() uint64 {
	if t.Reverted > 0 {
		return t.Reverted
	}
	return t.Generation
}

// compare works out how far behind the head a target is.
func (t *targetStatus) compare(tenants []tenantStatus) {
	for _, head := range tenants {
		if head.Tenant == t.Tenant && head.Generation > 0 && t.Generation > 0 && t.TenantID != head.TenantID {
			if t.State == inSync {
				t.State = "unknown" // nobody runs to tell
			}
			if t.Reason == "" {
				t.Reason = "the tenant in etcd has the id " + head.TenantID + ", the target is of " + t.TenantID
			}
		}
		if t.unread || head.Tenant != t.Tenant || head.Generation == 0 || t.TenantID != "" && t.Generation > 0 && t.TenantID != head.TenantID || head.Generation < t.Generation {
			continue
		}
		behind := head.Generation - t.applied()
		t.Behind = &behind
		if behind > 0 && t.State == inSync {
			t.State = "behind" // it is not told yet, or nobody runs to tell
		}
	}
}
