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

// rehasher reads all files again beside the steps, which it does not hold up: edits
// that leave every time stamp as it was are found by that alone.
type rehasher struct {
	trees chan diff.Tree // capacity 1: what is to be compared next; never closed
	found chan []string  // paths that hold something else; never closed
}

func newRehasher() *rehasher {
	return &rehasher{trees: make(chan diff.Tree, 1), found: make(chan []string)}
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
			if len(found) == 0 {
				continue // A directory that cannot be opened is the next scan's matter.
			}
			select {
			case <-ctx.Done():
			case r.found <- found:
			}
		}
	}
}

// rehashWait returns when to read all files again, jittered by a tenth: many sources
// may have begun at once.
func (o Options) rehashWait() time.Duration {
	every := o.Rehash
	if every <= 0 {
		every = rehashEvery
	}
	return every*9/10 + rand.N(every/5+1)
}

// distrust has the next scan read paths again.
func (d *daemon) distrust(paths []string) {
	dirs := make([]string, len(paths))
	for i, path := range paths {
		d.scanner.Distrust(path)
		dirs[i] = diff.Parent(path)
	}
	d.note(watcher.Dirty{Dirs: dirs})
}
