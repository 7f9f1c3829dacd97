package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/logging"
	"github.com/confsyncd/confsyncd/internal/report"
)

// diary tells the log and the report of a target what is new, and nothing twice.
type diary struct {
	options Options
	log     hclog.Logger
	told    report.Report
	wrote   bool
	trying  *logging.Episode
}

func newDiary(o Options) *diary {
	log := o.Log.With("tenant", o.Tenant, "path", o.Dir)
	return &diary{
		options: o, log: log, trying: logging.NewEpisode(log, "applying"),
		told: report.Report{Role: report.Target, Prefix: o.Prefix, Tenant: o.Tenant, Dir: o.Dir},
	}
}

// state notes what the target does, and reports whether that is new.
func (d *diary) state(state, reason string) bool {
	if d.wrote && d.told.State == state && d.told.Reason == reason {
		return false
	}
	if d.told.State != state {
		d.told.Time = time.Now()
	}
	d.told.State, d.told.Reason, d.wrote = state, reason, true
	if d.options.StateDir != "" {
		if err := report.Write(d.options.StateDir, d.told); err != nil {
			d.log.Warn("report", "error", err)
		}
	}
	return true
}

// away notes that etcd cannot be asked. The reason is logged where it is followed.
func (d *diary) away(err error, generation uint64) {
	if err == nil {
		return // not asked yet
	}
	again := d.wrote && d.told.State == "waiting"
	if d.state("waiting", "etcd cannot be followed: "+err.Error()) && !again {
		d.log.Warn("etcd is away: files are kept, and it is tried again", "generation", generation)
	}
}

// holding reports whether an operator is needed.
func (d *diary) holding() bool { return d.told.State == "holding" }

// waiting notes that there is nothing to apply yet.
func (d *diary) waiting(err error) {
	if d.state("waiting", err.Error()) {
		d.log.Info("waiting", "reason", err)
	}
}

// refused notes that an operator is needed.
func (d *diary) refused(err error) {
	if d.state("holding", err.Error()) {
		d.log.Error("holding: files are kept", "reason", err)
	}
}

// unopened notes that the target cannot be opened. What another agent works on is
// that one's to report.
func (d *diary) unopened(err error) {
	if !errors.Is(err, install.ErrLocked) {
		d.refused(err)
		return
	}
	d.trying.Failed(err)
}

// failing notes an error that may pass.
func (d *diary) failing(err error) {
	d.state("failing", err.Error())
	d.trying.Failed(err)
}

// inSync notes that the target equals the head.
func (d *diary) inSync(generation uint64) {
	d.trying.Ended()
	before := d.told.State
	if !d.state("in_sync", "") {
		return
	}
	if before != "" {
		d.log.Info("in sync", "generation", generation)
	}
	if d.options.InSync != nil {
		d.options.InSync(generation)
	}
}

// applied notes an apply.
func (d *diary) applied(done Applied) {
	args := []any{
		"generation", done.Position.Generation, "from", done.From, "created", done.Created, "changed", done.Changed,
		"deleted", done.Deleted, "adopted", done.Adopted, "corrected", done.Corrected, "kept", done.Kept,
		"bytes", done.Bytes, "duration_ms", done.Duration.Milliseconds(),
	}
	if len(done.Unmanaged) > 0 {
		args = append(args, "unmanaged", fmt.Sprintf("%.10q", done.Unmanaged))
	}
	if len(done.Left) > 0 {
		args = append(args, "left", len(done.Left))
	}
	d.log.Info("applied", args...)
	if d.options.Applied != nil {
		d.options.Applied(done)
	}
}
