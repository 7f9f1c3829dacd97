package scan

import (
	"crypto/sha256"
	"hash"
	"runtime"
	"sync"
)

const (
	// stretch is how many names of a directory one goroutine looks at before the next may
	// take over: many times what it takes to begin one.
	stretch = 128
	// maxCrew bounds how many goroutines look at the same time: a disk that is not in
	// memory is glad of some more, and a machine with many processors has other work too.
	maxCrew = 8
)

// crew are the goroutines that may join a walk. It holds a token, with what its bearer
// reads with, for each that is not at work.
type crew chan *tools

// tools is what one goroutine reads with.
type tools struct {
	buf  []byte // what is read goes through it
	hash hash.Hash
}

func newTools() *tools { return &tools{buf: make([]byte, 128<<10), hash: sha256.New()} }

// newCrew returns a crew of as many as run at once, beside the walk's own goroutine.
func newCrew() crew {
	n := min(runtime.GOMAXPROCS(0), maxCrew) - 1
	c := make(crew, n)
	for range n {
		c <- newTools()
	}
	return c
}

// part is a stretch of a directory's names.
type part struct {
	names []string
	walk  *walk // that looked at it, if it was another goroutine's
	found listing
	err   error
}

// share looks at names, stretch by stretch, each on whichever goroutine is free, and
// returns what stands there in the order of names.
func (w *walk) share(in here, names []string, look func(*walk, []string) (listing, error)) (listing, error) {
	if len(names) <= stretch || cap(w.crew) == 0 {
		return look(w, names)
	}
	parts := make([]part, 0, (len(names)+stretch-1)/stretch)
	var others sync.WaitGroup
	for from := 0; from < len(names); from += stretch {
		parts = append(parts, part{names: names[from:min(from+stretch, len(names))]})
		p := &parts[len(parts)-1]
		if from+stretch < len(names) && w.fork(p, &others, look) {
			continue
		}
		if p.found, p.err = look(w, p.names); p.err != nil {
			break
		}
	}
	others.Wait()
	return w.join(in.listing(names), parts)
}

// fork has another goroutine look at a part, and reports whether one was free.
func (w *walk) fork(p *part, others *sync.WaitGroup, look func(*walk, []string) (listing, error)) bool {
	select {
	case t := <-w.crew:
		p.walk = &walk{Scanner: w.Scanner, ctx: w.ctx, tools: t, settling: make(map[string]sighting)}
		others.Go(func() {
			defer func() { w.crew <- t }()
			p.found, p.err = look(p.walk, p.names)
		})
		return true
	default:
		return false
	}
}

// join adds what the parts found to all.
func (w *walk) join(all listing, parts []part) (listing, error) {
	for _, p := range parts {
		if p.err != nil {
			return listing{}, p.err
		}
		if p.walk != nil {
			w.gather(p.walk)
		}
		all.follow(p.found)
	}
	return all, nil
}

// gather adds what another goroutine has noted.
func (w *walk) gather(o *walk) {
	w.found = append(w.found, o.found...)
	w.unleased = w.unleased || o.unleased
	w.read += o.read
	w.readBytes += o.readBytes
	for path, s := range o.settling {
		w.settling[path] = s
	}
}
