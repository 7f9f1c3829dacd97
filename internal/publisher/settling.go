package publisher

import "time"

// settling is what polls have found that may not be all of an edit: no event tells of
// its end, so it waits for a look that finds nothing else. The zero settling holds
// nothing.
type settling struct {
	first, last time.Time // when looks found something new; zero if none did
}

// wait returns how long what a look found is still to wait, until it has been the same
// for settle, or for maxDelay after the first; found tells that it is something new.
func (s *settling) wait(found bool, settle, maxDelay time.Duration) time.Duration {
	now := time.Now()
	if found {
		s.last = now
		if s.first.IsZero() {
			s.first = now
		}
	}
	if s.first.IsZero() {
		return 0
	}
	wait := min(s.last.Add(settle).Sub(now), s.first.Add(max(settle, maxDelay)).Sub(now))
	if wait <= 0 {
		*s = settling{}
	}
	return wait
}
