package scan

import (
	"crypto/sha256"
	"hash"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// shared is from how many names on a directory is looked at by several goroutines. Each
	// takes a stretch of them at a time, of which there are many: a name may be that of a
	// file, or of a large tree.
	shared    = 128
	stretches = 32
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
	found listing
	err   error
}

// share looks at names, stretch by stretch, with whoever of the crew is free, and returns
// what stands there in the order of names.
func (w *walk) share(in here, names []string, look func(*walk, []string) (listing, error)) (listing, error) {
	if len(names) <= shared || cap(w.crew) == 0 {
		return look(w, names)
	}
	var parts []part
	for names := range slices.Chunk(names, max(1, len(names)/stretches)) {
		parts = append(parts, part{names: names})
	}
	var next atomic.Int32
	work := func(w *walk) {
		for i := int(next.Add(1)) - 1; i < len(parts); i = int(next.Add(1)) - 1 {
			p := &parts[i]
			p.found, p.err = look(w, p.names)
		}
	}
	var others sync.WaitGroup
	hands := w.call()
	for _, o := range hands {
		others.Go(func() {
			work(o)
			w.crew <- o.tools
		})
	}
	work(w)
	others.Wait()
	for _, o := range hands {
		w.gather(o)
	}
	all := in.listing(names)
	for _, p := range parts {
		if p.err != nil {
			return listing{}, p.err
		}
		all.follow(p.found)
	}
	return all, nil
}

// call returns a walk for each of the crew that is free.
func (w *walk) call() (hands []*walk) {
	for {
		select {
		case t := <-w.crew:
			hands = append(hands, &walk{Scanner: w.Scanner, ctx: w.ctx, tools: t, settling: make(map[string]sighting)})
		default:
			return hands
		}
	}
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
