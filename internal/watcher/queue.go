package watcher

import (
	"errors"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// maxQueued is the length of a queue: that of the kernel's by default.
const maxQueued = 16384

// errQueueFull is for the log: the consumer of the queue was busy for too long.
var errQueueFull = errors.New("more events than are kept")

// queue takes events and errors off an fsnotify watcher at all times.
//
// It has a goroutine of its own because fsnotify 1.10.1 sends some errors while
// it holds the lock that Add and Close need: a goroutine that both receives and
// adds can wait for itself.
type queue struct {
	ready chan struct{} // capacity 1: take has something to return; never closed
	ended chan struct{} // closed by run

	mu     sync.Mutex
	events []fsnotify.Event // guarded by mu; at most maxQueued
	lost   error            // guarded by mu; why events are missing, the first cause
}

func newQueue() *queue {
	return &queue{ready: make(chan struct{}, 1), ended: make(chan struct{})}
}

// run returns after the watcher was closed.
func (q *queue) run(events <-chan fsnotify.Event, errs <-chan error) {
	defer close(q.ended)
	for events != nil || errs != nil {
		select {
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			q.put(e, nil)
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			q.put(fsnotify.Event{}, err)
		}
	}
}

func (q *queue) put(e fsnotify.Event, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.lost != nil: // Everything will be scanned anyway.
	case err != nil:
		q.lost = err
	case len(q.events) == maxQueued:
		q.lost = errQueueFull
	default:
		q.events = append(q.events, e)
	}
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take empties the queue. A non-nil error says that events are missing.
func (q *queue) take() ([]fsnotify.Event, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	events, lost := q.events, q.lost
	q.events, q.lost = nil, nil
	return events, lost
}
