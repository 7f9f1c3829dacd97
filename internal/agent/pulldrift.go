package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/store"
)

// How long, and how often, a pull looks whether files that are open for writing are
// closed.
const (
	busyPatience = 2 * time.Second
	busyLook     = 100 * time.Millisecond
)

// rereadEvery is how long a pull goes by what those before it have read.
const rereadEvery = time.Hour

// Stuck is the error of a pull that could not put all right that others changed in a
// target. Everything else is as published.
type Stuck struct {
	Paths []install.ConflictPath // in path order
}

// Error names the first path.
func (s *Stuck) Error() string {
	return fmt.Sprintf("%d not as published, which cannot be put right, such as %q: %s", len(s.Paths), s.Paths[0].Path, s.Paths[0].Why)
}

// mend puts right what others changed in the target, or with Options.ReportDrift says
// what that is. All is looked at by content, but for what this process has just written,
// and what was read within the hour and has its stamp still, see install.Target.Read.
func (a *applier) mend(ctx context.Context, view store.View, done *Pulled) error {
	begin := time.Now()
	found, err := a.drift(ctx)
	if err != nil {
		return err
	}
	if a.options.ReportDrift {
		done.Drift = found
		return nil
	}
	paths, stuck := repairable(found)
	if len(paths) > 0 {
		state := a.target.State()
		result, blocked, err := a.repair(ctx, view, paths)
		done.add(Applied{Result: result, Position: state.Position, From: state.Position.Generation, Duration: time.Since(begin)})
		if err != nil {
			return a.options.explain(err)
		}
		stuck = append(stuck, blocked...)
	}
	if len(stuck) == 0 {
		return nil
	}
	slices.SortFunc(stuck, func(a, b install.ConflictPath) int { return diff.ComparePaths(a.Path, b.Path) })
	return refuse(&Stuck{stuck}, "pull again when that is mended")
}

// drift returns what is not as the journal says. What is open for writing is given some
// time to be closed.
func (a *applier) drift(ctx context.Context) ([]install.Drifted, error) {
	for end := time.Now().Add(busyPatience); ; {
		found, err := a.target.Drift(ctx, install.Where{}, time.Since(a.target.Read()) > rereadEvery)
		busy := slices.ContainsFunc(found, func(d install.Drifted) bool { return d.Busy })
		if err != nil || !busy || a.options.ReportDrift || time.Now().After(end) {
			return found, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(busyLook):
		}
	}
}

// repairable tells what can be put right from what cannot.
func repairable(found []install.Drifted) (paths []string, stuck []install.ConflictPath) {
	for _, d := range found {
		switch {
		case d.What == install.Mounted || d.What == install.Unreadable:
			stuck = append(stuck, install.ConflictPath{Path: d.Path, Why: d.Why})
		case d.Busy:
			stuck = append(stuck, install.ConflictPath{Path: d.Path, Why: d.Why + "; it is open for writing"})
		default:
			paths = append(paths, d.Path)
		}
	}
	return paths, stuck
}

// foreseeDrift adds to a plan, which was found out for a preview, what Pull would put
// right beside it. It returns what it would not.
func (a *applier) foreseeDrift(ctx context.Context, plan *install.Plan) (stays []install.Drifted, stuck []install.ConflictPath, err error) {
	found, err := a.target.Drift(ctx, install.Where{}, false)
	if err != nil {
		return nil, nil, err
	}
	managed := a.target.State().Managed
	found = slices.DeleteFunc(found, func(d install.Drifted) bool {
		is, _ := managed.Get(d.Path)
		will, _ := plan.Want.Get(d.Path)
		return is != will // The plan itself sees to it.
	})
	if a.options.ReportDrift {
		return found, nil, nil
	}
	plan.Again, stuck = repairable(found)
	return nil, stuck, nil
}
