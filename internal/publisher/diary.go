package publisher

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/report"
	"github.com/confsyncd/confsyncd/internal/scan"
)

// longHeld is from when on a path that is held for the moment is worth a line.
const longHeld = 10 * time.Second

// diary tells the log and the report of a source what is new, and nothing twice.
type diary struct {
	options Options
	log     hclog.Logger
	told    report.Report
	wrote   bool
	paths   map[string]scan.Reason // held paths that were logged
	all     int                    // held paths
	since   time.Time              // when the busy file was first in the way; zero if none is
	warned  bool                   // of it
}

func newDiary(o Options) *diary {
	return &diary{
		options: o, log: o.Log.With("tenant", o.Tenant), paths: make(map[string]scan.Reason),
		told: report.Report{Role: report.Source, Prefix: o.Prefix, Tenant: o.Tenant, Dir: o.Dir},
	}
}

// live notes that the head equals the directory, but for held paths, and for what others
// have committed beside it.
func (d *diary) live(held int, beside string, more ...error) {
	var reasons []string
	state := "live"
	if beside != "" {
		state, reasons = "beside", []string{beside}
	}
	if held > 0 {
		reasons = append(reasons, fmt.Sprintf("%d paths are held back", held))
	}
	for _, err := range more {
		if err != nil {
			reasons = append(reasons, err.Error())
		}
	}
	d.state(state, strings.Join(reasons, "; "))
}

// state notes what the source does, and why it waits if it does.
func (d *diary) state(state, reason string) {
	if state != "busy" {
		d.since, d.warned = time.Time{}, false
	}
	if d.wrote && d.told.State == state && d.told.Reason == reason {
		return
	}
	if state == "holding" {
		d.log.Warn("holding: nothing is published", "path", d.options.Dir, "reason", reason)
	} else if state == "beside" && d.told.State != "beside" {
		d.log.Warn("directory and head differ: edits are published", "path", d.options.Dir, "reason", reason)
	} else if d.told.State == "beside" && state == "live" {
		d.log.Info("directory and head are equal again", "path", d.options.Dir)
	} else if state == "standby" {
		d.log.Info("standing by", "path", d.options.Dir, "reason", reason)
	} else if d.told.State == "holding" && state == "live" {
		d.log.Info("live again", "path", d.options.Dir)
	}
	if d.told.State != state {
		d.told.Time = time.Now()
	}
	d.told.State, d.told.Reason, d.wrote = state, reason, true
	d.write()
}

func (d *diary) write() {
	if err := report.Write(d.options.StateDir, d.told); err != nil {
		d.log.Error("report", "error", err)
	}
}

// busy notes that a busy file keeps us from publishing.
func (d *diary) busy(err error) {
	d.state("busy", err.Error())
	if d.since.IsZero() {
		d.since = time.Now()
	}
	if !d.warned && time.Since(d.since) > busyWarn {
		d.warned = true
		d.log.Warn("nothing is published", "reason", err, "for", time.Since(d.since).Round(time.Second).String())
	}
}

// held notes which paths are held back.
func (d *diary) held(held []scan.Held) {
	now := make(map[string]scan.Reason, len(held))
	for _, h := range held {
		if h.Reason.Temporary() && time.Since(h.Since) < longHeld {
			continue
		}
		now[h.Path] = h.Reason
		if d.paths[h.Path] != h.Reason {
			d.log.Warn("held back: its committed version stays", heldArgs(h)...)
		}
	}
	for path := range d.paths {
		if _, still := now[path]; !still {
			d.log.Info("no longer held back", "path", path)
		}
	}
	d.paths, d.all = now, len(held)
	const most = 20
	if list := describe(held[:min(len(held), most)]); !slices.Equal(list, d.told.Held) {
		d.told.Held, d.wrote = list, false
	}
}

// heldArgs are the fields of a line about a held path.
func heldArgs(h scan.Held) []any {
	args := []any{"path", h.Path, "reason", h.Reason.String(), "remedy", h.Reason.Remedy()}
	if h.Err != nil {
		args = append(args, "error", h.Err)
	}
	if h.Reason.Temporary() {
		args = append(args, "for", time.Since(h.Since).Round(time.Second).String())
	}
	return args
}

// committed notes a commit.
func (d *diary) committed(c Commit) {
	created, changed, deleted := c.Counts()
	d.log.Info("committed", "generation", c.Position.Generation, "commit", c.Position.Commit.String(),
		"created", created, "changed", changed, "deleted", deleted, "bytes", c.Bytes, "founding", c.Founding, "duration_ms", c.Duration.Milliseconds())
	if d.options.Committed != nil {
		d.options.Committed(c)
	}
}
