package agent

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/watcher"
)

// watchDelay bounds how long a look waits for quiet. Each path's own quiet is waited for
// besides.
const watchDelay = 500 * time.Millisecond

// watch watches what is managed in a target, and nothing else.
type watch struct {
	*watcher.Watcher
	managed atomic.Pointer[managed]
}

// managed is what is managed, and what an apply under way is about to make so.
type managed struct{ now, coming diff.Tree }

func newWatch(dir string, log hclog.Logger) *watch {
	w := &watch{}
	w.managed.Store(&managed{})
	w.Watcher = watcher.New(watcher.Options{Dir: dir, Settle: driftSettle, MaxDelay: watchDelay, Ignore: w.ignore, Log: log})
	return w
}

// ignore tells what is not managed from what is.
func (w *watch) ignore(path string, _ bool) bool {
	first, _, _ := strings.Cut(path, "/")
	if first == diff.OwnName {
		return true
	}
	m := w.managed.Load()
	_, ok := m.now.Get(path)
	if !ok {
		_, ok = m.coming.Get(path)
	}
	return !ok
}

// expect makes what is about to be managed watched as it comes.
func (w *watch) expect(coming diff.Tree) {
	w.managed.Store(&managed{now: w.managed.Load().now, coming: coming})
}

// manage takes what is managed now. Watches are made anew if other directories are.
func (w *watch) manage(now diff.Tree) {
	before := w.managed.Swap(&managed{now: now}).now
	for _, c := range diff.Compare(before, now) {
		if c.Old.Kind != c.New.Kind && (c.Old.Kind == diff.Directory || c.New.Kind == diff.Directory) {
			w.Renew()
			return
		}
	}
}
