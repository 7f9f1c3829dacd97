package fleet

import (
	"math/rand/v2"
	"time"
)

const (
	// pause is how long a host says nothing new after it has said something, at the least; at
	// the most it is twice as long.
	pause = 5 * time.Second
	// settle is how long a host gathers, at most, before it says something.
	settle = time.Second
)

// pace tells when a host that has something new to say says it. What begins everywhere at
// once, as an apply does, costs etcd no more than a put of each host in a pause, however many
// changes follow: the first are said soon, and the next ones are spread over a whole pause, since with
// a smaller spread all hosts would have spoken twice before two pauses were over.
type pace struct {
	pause, settle time.Duration

	after  time.Time     // nothing is said before
	news   time.Time     // since when there is something to say; zero if there is nothing
	done   time.Time     // since when nothing of it is under way; zero if something is
	jitter time.Duration // of this news
}

// due returns when what is new is to be said. What is under way is awaited for a pause: so
// that its outcome is the first that is said.
func (p *pace) due(now time.Time, underWay bool) time.Time {
	if p.news.IsZero() {
		p.news, p.jitter = now, rand.N(p.settle)
	}
	switch {
	case underWay:
		p.done = time.Time{}
	case p.done.IsZero():
		p.done = now
	}
	due := p.news.Add(p.pause)
	if !underWay && p.done.Before(due) {
		due = p.done
	}
	if due = due.Add(p.jitter); due.Before(p.after) {
		return p.after
	}
	return due
}

// none says that there is nothing new.
func (p *pace) none() { p.news, p.done = time.Time{}, time.Time{} }

// said says that what is new is said now.
func (p *pace) said(now time.Time) {
	p.none()
	p.after = now.Add(p.pause + rand.N(p.pause))
}
