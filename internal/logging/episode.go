package logging

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Episode logs a failure that repeats: when it begins, then at growing intervals,
// and when it ends, with how often it happened. Another error is the same failure
// as long as it has not ended.
type Episode struct {
	log     hclog.Logger
	subject string

	mu    sync.Mutex // guards what follows
	count int
	since time.Time
	next  time.Time
	gap   time.Duration
}

const (
	firstGap = 10 * time.Second
	lastGap  = 10 * time.Minute
)

// NewEpisode returns an Episode. The subject says what fails: "read head".
func NewEpisode(log hclog.Logger, subject string) *Episode {
	return &Episode{log: log, subject: subject}
}

// Failed notes a failure and logs it if it is the first, or if the last line is
// long enough ago. The args are key and value pairs, as hclog takes them.
func (e *Episode) Failed(err error, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	e.count++
	switch {
	case e.count == 1:
		e.since, e.gap = now, firstGap
		e.log.Warn(e.subject+" failed", append(args, "error", err)...)
	case now.Before(e.next):
		return
	default:
		e.gap = min(3*e.gap, lastGap)
		e.log.Warn(e.subject+" still fails", append(args, "error", err, "times", e.count, "for", now.Sub(e.since).Round(time.Second).String())...)
	}
	e.next = now.Add(e.gap)
}

// Ended notes that all is well. It logs only if a failure preceded.
func (e *Episode) Ended() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.count == 0 {
		return
	}
	e.log.Info(e.subject+" works again", "times", e.count, "for", time.Since(e.since).Round(time.Millisecond).String())
	e.count = 0
}
