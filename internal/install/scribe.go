package install

import (
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

const (
	// scribeFiles and scribeBytes are how much one goroutine stages at a time.
	scribeFiles = 64
	scribeBytes = 256 << 10
)

// scribes stage contents in goroutines of their own, a batch at a time, while the next are
// fetched.
type scribes struct {
	s      *stage
	group  errgroup.Group
	idle   chan *batch // those that nobody is at work on; capacity workers
	batch  *batch      // the next; nil: none
	failed atomic.Bool // the group has an error
}

// batch is what one goroutine stages: the contents of some steps, one after another.
type batch struct {
	steps []int
	ends  []int // of each step's content
	bytes []byte
}

// scribes returns those that work for a stage. They must be waited for.
func (s *stage) scribes() *scribes {
	n := workers() // Asked once: the runtime may change GOMAXPROCS.
	c := &scribes{s: s, idle: make(chan *batch, n)}
	for range n {
		c.idle <- &batch{}
	}
	return c
}

// write stages a content for each of the steps, now or later. The error may be that of
// another content.
func (c *scribes) write(steps []int, b []byte) error {
	for _, i := range steps {
		if c.s.each || len(b) > scribeBytes {
			if err := c.s.write(i, b); err != nil {
				return err
			}
			continue
		}
		if c.failed.Load() {
			return c.group.Wait()
		}
		c.s.w.t.o.Beat()
		c.s.w.result.Bytes += int64(len(b))
		c.add(i, b)
	}
	return nil
}

func (c *scribes) add(i int, b []byte) {
	if c.batch != nil && (len(c.batch.steps) == scribeFiles || len(c.batch.bytes)+len(b) > scribeBytes) {
		c.flush()
	}
	if c.batch == nil {
		c.batch = <-c.idle
	}
	c.batch.steps = append(c.batch.steps, i)
	c.batch.bytes = append(c.batch.bytes, b...)
	c.batch.ends = append(c.batch.ends, len(c.batch.bytes))
}

// flush has the batch staged.
func (c *scribes) flush() {
	b := c.batch
	c.batch = nil
	c.group.Go(func() error {
		err := c.stage(b)
		if err != nil {
			c.failed.Store(true)
		}
		b.steps, b.ends, b.bytes = b.steps[:0], b.ends[:0], b.bytes[:0]
		c.idle <- b
		return err
	})
}

func (c *scribes) stage(b *batch) error {
	var next *cursor
	if c.s.next != nil {
		next = c.s.w.t.cursorIn(c.s.next.root)
		defer next.close()
	}
	from := 0
	for k, i := range b.steps {
		if err := c.s.put(next, i, b.bytes[from:b.ends[k]]); err != nil {
			return err
		}
		from = b.ends[k]
	}
	return nil
}

// wait stages what is left, and waits until all is staged.
func (c *scribes) wait() error {
	if c.batch != nil {
		c.flush()
	}
	return c.group.Wait()
}
