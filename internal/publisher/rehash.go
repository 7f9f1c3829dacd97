package publisher

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
	"github.com/confsyncd/confsyncd/internal/watcher"
)

// rehashEvery is how often all files are read again if nothing else is asked for.
const rehashEvery = time.Hour

// rehashSoon is how long a publisher leaves that to later in any case: first comes what waits
// for its start.
const rehashSoon = 10 * time.Second

// rehasher reads all files again beside the steps, which it does not hold up: edits
// that leave every time stamp as it was are found by that alone.
type rehasher struct {
	trees chan diff.Tree // capacity 1: what is to be compared next; never closed
	found chan rehashed  // never closed
}

// rehashed is what reading all files again has found.
type rehashed struct {
	began time.Time
	paths []string // that hold something else
}

func newRehasher() *rehasher {
	return &rehasher{trees: make(chan diff.Tree, 1), found: make(chan rehashed)}
}

// ask has the files compared with the tree, unless that is about to be done.
func (r *rehasher) ask(tree diff.Tree) {
	select {
	case r.trees <- tree:
	default:
	}
}

// run works until ctx ends, then returns nil.
func (r *rehasher) run(ctx context.Context, o Options) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case tree := <-r.trees:
			begin := time.Now()
			found, err := scan.Rehash(ctx, o.Dir, tree)
			if ctx.Err() != nil {
				return nil
			}
			o.Log.Debug("read all files again", "tenant", o.Tenant, "path", o.Dir, "differ", len(found),
				"duration_ms", time.Since(begin).Milliseconds(), "error", err)
			if err != nil {
				continue // A directory that cannot be opened is the next scan's matter.
			}
			select {
			case <-ctx.Done():
			case r.found <- rehashed{begin, found}:
			}
		}
	}
}

// rehashEvery returns how often all files are read again.
func (o Options) rehashEvery() time.Duration {
	if o.Rehash <= 0 {
		return rehashEvery
	}
	return o.Rehash
}

// rehashWait returns when to read all files again that were last read at a time, jittered by
// a tenth: many sources may have begun at once. It is not at the very start.
func (o Options) rehashWait(last time.Time) time.Duration {
	every := o.rehashEvery()
	return max(every*9/10+rand.N(every/5+1)-max(0, time.Since(last)), min(every, rehashSoon))
}

// readAgain has all files read again, and returns when to do so next.
func (d *daemon) readAgain() time.Duration {
	if d.scanned == (diff.Tree{}) {
		return rehashSoon // It is not known yet what they are to hold.
	}
	d.rehash.ask(d.scanned)
	return d.options.rehashWait(time.Now())
}

// rehashed notes that all files were read again, and has the next scan read those once more
// that hold something else.
func (d *daemon) rehashed(r rehashed) {
	d.scanner.Verified(r.began)
	dirs := make([]string, len(r.paths))
	for i, path := range r.paths {
		d.scanner.Distrust(path)
		dirs[i] = diff.Parent(path)
	}
	d.note(watcher.Dirty{Dirs: dirs})
}
