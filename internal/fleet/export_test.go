package fleet

import (
	"slices"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
)

// Hasten makes a reporter speak more often, and look more often whether it was heard.
func (r *Reporter) Hasten(pause, recheck time.Duration) { r.pace.pause, r.recheck = pause, recheck }

// Spoken lives through news at times after begin, each of which is under way for as long as
// it takes, and settled then, and returns when something was said.
func Spoken(begin time.Time, news []time.Duration, takes time.Duration) (said []time.Duration) {
	p := pace{pause: pause, settle: settle}
	events := slices.Clone(news) // of which what is known changes
	for _, at := range news {
		events = append(events, at+takes)
	}
	slices.Sort(events)
	fresh := false // there is something to say
	for len(events) > 0 || fresh {
		now := time.Since(begin)
		for len(events) > 0 && events[0] <= now {
			events, fresh = events[1:], true
		}
		next := time.Duration(1<<63 - 1)
		if len(events) > 0 {
			next = events[0]
		}
		if fresh {
			underWay := slices.ContainsFunc(news, func(at time.Duration) bool { return at <= now && now < at+takes })
			due := p.due(time.Now(), underWay).Sub(begin)
			if due <= now {
				p.said(time.Now())
				said, fresh = append(said, now), false
				continue
			}
			next = min(next, due)
		}
		time.Sleep(next - now)
	}
	return said
}

// Join, Leave and Host are what Attend does, and what it tells.
func (r *Reporter) Join(dir string)       { r.join(dir) }
func (r *Reporter) Leave(dir string) bool { return r.leave(dir) }
func (r *Reporter) Host() codec.Host      { return r.host() }
