package store

import (
	"context"
	"sync"
	"time"
)

const (
	// restTimes is for how many times as long as a Txn of packs took etcd is left to others
	// after it, while there are others.
	restTimes = 8
	// longestRest bounds that on an etcd that is slow.
	longestRest = 2 * time.Second
	// othersFor is how long others who wrote are taken to be there still.
	othersFor = time.Second
)

// pace leaves etcd to others while packs are staged. Every write waits for those before it
// to reach the disk, and a pack takes as long as thousands of small ones. How many others
// write is told by etcd's revision, which every Txn raises by one: as long as there is
// nobody to wait, nothing is held back.
type pace struct {
	turn chan struct{} // capacity 1: held by the one Txn under way while there are others; never closed
	rest time.Time     // until when etcd is left to others; turn guards it

	mu       sync.Mutex // guards what follows
	revision int64      // that ours are counted from; 0 before the first answer
	ours     int64      // that were answered since
	others   time.Time  // when others were seen last
}

func newPace() *pace { return &pace{turn: make(chan struct{}, 1)} }

// shared reports whether others write as well.
func (p *pace) shared() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.others) < othersFor
}

// answered takes note of the revision that one of ours made.
func (p *pace) answered(revision int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.revision == 0 {
		p.revision = revision
		return
	}
	p.ours++
	// As many as are in flight may have been applied, and not answered yet.
	if revision-p.revision-p.ours > txnsInFlight {
		p.others = time.Now()
		p.revision, p.ours = revision, 0
	}
}

// do sends one Txn of packs, when it is its turn. It returns ctx's error if that ends
// before.
func (p *pace) do(ctx context.Context, send func() (revision int64, err error)) (int64, error) {
	if !p.shared() {
		revision, err := send()
		if err == nil {
			p.answered(revision)
		}
		return revision, err
	}
	if err := turn(ctx, p.turn); err != nil {
		return 0, err
	}
	defer func() { <-p.turn }()
	if err := sleep(ctx, time.Until(p.rest)); err != nil {
		return 0, err
	}
	begin := time.Now()
	revision, err := send()
	now := time.Now()
	p.rest = now.Add(min(restTimes*now.Sub(begin), longestRest))
	if err == nil {
		p.answered(revision)
	}
	return revision, err
}
