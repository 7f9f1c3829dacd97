package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/store"
	"github.com/confsyncd/confsyncd/internal/watcher"
)

// dirty is what of a target is to be looked at.
type dirty struct {
	all, deep bool
	dirs      []string // one that ends with a slash stands for all below it
	paths     []string // in other directories
	polled    bool     // a watcher that polls wants to know what the look costs
}

func (d *dirty) add(w watcher.Dirty) {
	d.all = d.all || w.All
	d.polled = d.polled || w.Poll
	d.dirs = append(d.dirs, w.Dirs...)
	d.paths = append(d.paths, w.Paths...)
}

func (d *dirty) any() bool { return d.all || d.deep || len(d.dirs)+len(d.paths) > 0 }

// mend looks at what is dirty, and at what has drifted before, and puts right what is to
// be put right now. It returns when there is more to do.
func (a *Agent) mend(ctx context.Context, fetch bool) (time.Duration, error) {
	if a.applier.target.Interrupted() {
		return never, nil // That comes first, and is tried again.
	}
	if err := a.look(ctx); err != nil {
		return never, err
	}
	for _, path := range a.drifts.calm(time.Now()) {
		a.diary.log.Info("a path that drifted again and again is quiet", "file", path)
	}
	if a.options.ReportDrift {
		return never, nil
	}
	begin := time.Now()
	list, _ := a.drifts.ready(begin)
	var here, there []*drift
	for _, d := range list {
		if d.NeedsContent() {
			there = append(there, d)
		} else {
			here = append(here, d)
		}
	}
	err := a.repair(ctx, here)
	if fetch && err == nil {
		err = a.repair(ctx, there)
	}
	if !fetch {
		for _, d := range there {
			d.problem = "its content comes from etcd, which cannot be asked; it is put right when that is back"
		}
	}
	return a.drifts.next(begin, time.Now()), err
}

// look brings what is known of drift up to date.
func (a *Agent) look(ctx context.Context) error {
	if !a.dirty.any() && (a.options.ReportDrift || len(a.drifts.open) == 0) {
		return nil
	}
	var where install.Where
	if !a.dirty.all && !a.dirty.deep {
		where = install.Where{Dirs: slices.Concat(a.dirty.dirs, a.drifts.directories()), Paths: a.dirty.paths}
	}
	begin := time.Now()
	found, err := a.applier.target.Drift(ctx, where, a.dirty.deep)
	if a.dirty.polled {
		a.watch.Polled(time.Since(begin))
	}
	if err != nil {
		return err
	}
	if a.dirty.all || a.dirty.deep {
		a.applier.target.Remember()
	}
	a.dirty = dirty{}
	if fresh := a.drifts.update(found, time.Now()); len(fresh) > 0 {
		a.diary.drifted(fresh)
	}
	return nil
}

// repair puts paths right, and notes what became of each.
func (a *Agent) repair(ctx context.Context, list []*drift) error {
	if len(list) == 0 {
		return nil
	}
	begin := time.Now()
	var paths []string
	for _, d := range list {
		paths = append(paths, d.Path)
	}
	result, blocked, err := a.applier.repair(ctx, a.view, paths)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil
	case errors.Is(err, install.ErrGone), store.Temporary(err):
		return err // It is not the matter of a path.
	case err != nil && !errors.Is(err, install.ErrChanged):
		if errors.Is(err, store.ErrGone) {
			a.reread(ctx) // What was seen last may have been compacted since.
		}
		a.noteFailure(list, err)
		return nil
	}
	problems := map[string]string{}
	for _, b := range blocked {
		problems[b.Path] = b.Why
		a.diary.mending.Failed(fmt.Errorf("%q: %s", b.Path, b.Why), "paths", len(blocked))
	}
	for _, path := range a.applier.target.State().Suspect {
		problems[path] = "it was changed while it was written"
	}
	now := time.Now()
	repaired := slices.DeleteFunc(paths, func(path string) bool { return problems[path] != "" })
	for _, d := range list {
		if a.drifts.tried(d.Path, problems[d.Path], now) {
			a.diary.fights(d.Path)
		}
	}
	if result.Switched {
		a.watch.Renew()
	}
	if len(repaired) > 0 {
		a.diary.repaired(repaired, result, time.Since(begin))
	}
	return nil
}

func (a *Agent) noteFailure(list []*drift, err error) {
	for _, d := range list {
		a.drifts.tried(d.Path, err.Error(), time.Now())
	}
	a.diary.mending.Failed(err, "paths", len(list))
}
