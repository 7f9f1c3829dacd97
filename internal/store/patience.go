package store

import (
	"sync"
	"time"
)

// longest bounds how long a call may take that carries much.
const longest = 60 * time.Second

// patience is how long those calls may take that carry much: callTimeout, until a call did
// not get through in that time, and then twice as long each time. So a link on which a
// MiB takes half a minute is slow and not dead; on any other, an answer that was lost is
// waited for no longer than that of a small call.
type patience struct {
	mu   sync.Mutex    // guards last
	last time.Duration // that was enough, or was not
}

// limit returns how long the next call may take.
func (p *patience) limit() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return min(max(2*p.last, callTimeout), longest)
}

// took notes that a call took so long, or as long as it might and was not done.
func (p *patience) took(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = d
}
