package publisher

import (
	"context"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/confsyncd/confsyncd/internal/diff"
)

const (
	// readAhead bounds the contents in bytes that are read while others are compressed; one
	// that is larger is alone.
	readAhead = 2 << 20
	// fewFiles is up to how many it is not worth a goroutine.
	fewFiles = 4
)

// content is what a file that is to be committed held, or why it cannot be read.
type content struct {
	change int // its place among the changes
	bytes  []byte
	err    error
}

// read reads the contents of changes at the given places, and calls use with each, in order;
// the next ones are read meanwhile. It returns the first error of use, or ctx's.
func (p *Publisher) read(ctx context.Context, changes []diff.Change, places []int, use func(content) error) error {
	r := p.scanner.Reader()
	defer r.Close()
	one := func(i int) content {
		p.options.Beat()
		bytes, err := r.Read(changes[i].Path, changes[i].New)
		return content{i, bytes, err}
	}
	if len(places) <= fewFiles {
		for _, i := range places {
			if err := use(one(i)); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	weight := func(i int) int64 { return min(changes[i].New.Size, readAhead) }
	room := semaphore.NewWeighted(readAhead)
	contents := make(chan content, 64)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(contents)
		for _, i := range places {
			if err := room.Acquire(ctx, weight(i)); err != nil {
				return err
			}
			select {
			case contents <- one(i):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	g.Go(func() error {
		for c := range contents {
			if err := use(c); err != nil {
				return err
			}
			room.Release(weight(c.change))
		}
		return nil
	})
	return g.Wait()
}
