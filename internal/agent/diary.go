package agent

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/logging"
	"github.com/confsyncd/confsyncd/internal/report"
	"github.com/confsyncd/confsyncd/internal/store"
)

// reloading is the state of a target whose files are on trial.
const reloading = "reloading"

// diary tells the log and the report of a target what is new, and nothing twice.
type diary struct {
	options Options
	log     hclog.Logger
	told    report.Report
	wrote   bool
	trying  *logging.Episode // to apply
	mending *logging.Episode // to put right what has drifted
}

func newDiary(o Options) *diary {
	log := o.Log.With("tenant", o.Tenant, "path", o.Dir)
	return &diary{
		options: o, log: log, trying: logging.NewEpisode(log, "applying"), mending: logging.NewEpisode(log, "repairing"),
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
	d.write()
	return true
}

func (d *diary) write() {
	if d.options.StateDir == "" {
		return
	}
	if err := report.Write(d.options.StateDir, d.told); err != nil {
		d.log.Warn("report", "error", err)
	}
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
func (d *diary) holding() bool {
	return d.told.State == "holding" || d.told.State == "paused" || d.told.State == "pinned" || d.told.State == "quarantined"
}

// paused notes that an operator wants nothing to be done.
func (d *diary) paused(h install.Hold) {
	if d.state("paused", fmt.Sprintf("%v; \"confsyncd resume %s\" lets it go on", h, d.options.Dir)) {
		d.log.Warn("paused: nothing is applied or repaired", "reason", h.String())
	}
}

// pinned notes that an operator wants the target to stay at a generation.
func (d *diary) pinned(h install.Hold, at uint64, head *store.Head) {
	reason := h.String()
	if at != h.Generation {
		reason += fmt.Sprintf(", and at generation %d: \"confsyncd pull --generation %d\" was not completed", at, h.Generation)
	}
	if head != nil && head.Position.Generation != at {
		reason += fmt.Sprintf("; the head is generation %d", head.Position.Generation)
	}
	again := d.wrote && d.told.State == "pinned"
	if d.state("pinned", fmt.Sprintf("%s; \"confsyncd resume %s\" lets it go on", reason, d.options.Dir)) && !again {
		d.log.Warn("pinned: no other generation is applied", "reason", h.String(), "generation", at)
	}
}

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

// quarantined notes that a hook has refused what the target is to come to.
func (d *diary) quarantined(err error) {
	d.trying.Ended()
	if d.state("quarantined", err.Error()) {
		d.log.Warn("quarantined: it is not tried again", "reason", err)
	}
}

// reloading notes that a hook runs, or is due.
func (d *diary) reloading(reason string) { d.state(reloading, reason) }

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

// inSync notes that the target is at the head, and whether it equals it. Alarms are how
// many paths something else writes again and again.
func (d *diary) inSync(generation uint64, reporting bool, alarms int) {
	d.trying.Ended()
	if d.told.DriftTotal > 0 {
		d.state("drifted", driftReason(d.told.DriftTotal, generation, reporting, alarms))
		return
	}
	d.mending.Ended()
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

func driftReason(total int, generation uint64, reporting bool, alarms int) string {
	what := fmt.Sprintf("%d paths are not as generation %d has them", total, generation)
	if total == 1 {
		what = fmt.Sprintf("one path is not as generation %d has it", generation)
	}
	if reporting {
		what += `, and stay so until a generation changes them, since drift = "report"`
	}
	if alarms > 0 {
		what += fmt.Sprintf("; %d of them something else writes again and again: find out what does, or leave them out of the selection", alarms)
	}
	return what
}

// drift notes what has drifted and is not just being put right.
func (d *diary) drift(first []string, total int) {
	if total == d.told.DriftTotal && slices.Equal(first, d.told.Drift) {
		return
	}
	d.told.Drift, d.told.DriftTotal = first, total
	if d.wrote {
		d.write()
	}
}

// drifted notes what was found to have drifted.
func (d *diary) drifted(fresh []install.Drifted) {
	words := make([]string, 0, shown)
	for _, f := range fresh[:min(len(fresh), shown)] {
		words = append(words, f.String())
	}
	d.log.Warn("drift: not as published", "paths", len(fresh), "first", strings.Join(words, "; "))
}

// repaired notes what was put right.
func (d *diary) repaired(paths []string, r install.Result, took time.Duration) {
	words := make([]string, 0, shown)
	for _, path := range paths[:min(len(paths), shown)] {
		words = append(words, strconv.Quote(path))
	}
	d.log.Info("repaired", "paths", len(paths), "first", strings.Join(words, "; "), "kept", r.Kept, "bytes", r.Bytes, "duration_ms", took.Milliseconds())
	if d.options.Repaired != nil {
		d.options.Repaired(len(paths))
	}
}

// fights notes that a path does not stay repaired.
func (d *diary) fights(path string) {
	d.log.Error("a path drifts again and again: another tool may be writing it; it is repaired ever more rarely",
		"file", path, "repairs", alarmCount, "within", alarmSpan.String())
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
