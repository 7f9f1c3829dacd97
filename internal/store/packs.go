package store

import (
	"context"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/codec"
)

// readAhead is how many packs are on their way while one is being used.
const readAhead = 4

// getPack reads the stored bytes of one pack as they were at the revision. It tries again
// for a while: who reads many would have to read all of them again.
func (s *Store) getPack(ctx context.Context, ref codec.PackRef, revision int64) ([]byte, error) {
	var pace Backoff
	for tries := 1; ; tries++ {
		data, err := s.getPackOnce(ctx, ref, revision)
		if err == nil || !Temporary(err) || tries == breakAfter || pace.Wait(ctx) != nil {
			return data, err
		}
	}
}

func (s *Store) getPackOnce(ctx context.Context, ref codec.PackRef, revision int64) ([]byte, error) {
	var data []byte
	err := s.carry(ctx, "read pack "+ref.Hash.String(), false, func(ctx context.Context, etcd *clientv3.Client) (int, error) {
		resp, err := etcd.Get(ctx, s.keys.pack(ref.Hash), clientv3.WithRev(revision))
		if err != nil {
			return 0, err
		}
		data = nil
		if len(resp.Kvs) > 0 {
			data = resp.Kvs[0].Value
		}
		return len(data), nil
	})
	if err == nil && data == nil {
		err = fmt.Errorf("pack %v: %w", ref.Hash, ErrGone)
	}
	return data, err
}

// eachPack reads packs ahead of their use and hands their stored bytes to use, in
// order.
func (s *Store) eachPack(ctx context.Context, refs []codec.PackRef, revision int64, use func(codec.PackRef, []byte) error) error {
	type read struct {
		data []byte
		done chan struct{} // closed when data is set
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readAhead + 1)
	reads := make(chan *read, readAhead-1)
	g.Go(func() error {
		defer close(reads)
		for _, ref := range refs {
			r := &read{done: make(chan struct{})}
			select {
			case reads <- r:
			case <-ctx.Done():
				return ctx.Err()
			}
			g.Go(func() (err error) {
				defer close(r.done)
				r.data, err = s.getPack(ctx, ref, revision)
				return err
			})
		}
		return nil
	})
	var err error
	i := 0
	for r := range reads {
		<-r.done
		if r.data == nil {
			break // the group has the error
		}
		if err = use(refs[i], r.data); err != nil {
			break
		}
		i++
	}
	if err != nil {
		g.Go(func() error { return err })
	}
	// Nobody takes what is still to come.
	for range reads {
	}
	if groupErr := g.Wait(); err == nil {
		err = groupErr
	}
	return err
}

// completeList reads the parts of a list that lie in packs.
func (s *Store) completeList(ctx context.Context, l *codec.List, revision int64) error {
	if len(l.Parts) == 0 {
		return nil
	}
	return s.eachPack(ctx, l.Parts, revision, func(ref codec.PackRef, data []byte) error {
		return damaged(s.coder.AddPart(l, ref, data))
	})
}

// damaged adds ErrDamaged to what the codec found.
func damaged(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// fetch is the reading of contents that lie in packs.
type fetch struct {
	wants []want
}

type want struct {
	content codec.Content
	size    int64
	use     func([]byte) error
}

// add notes a content that is wanted. use is handed its bytes, which are valid during
// the call only.
func (f *fetch) add(content codec.Content, size int64, use func([]byte) error) {
	f.wants = append(f.wants, want{content: content, size: size, use: use})
}

// run reads the packs once, in order, and hands each content over. One decompressed
// pack and the content at hand are in memory at a time.
func (f *fetch) run(ctx context.Context, s *Store, revision int64) error {
	sortByPlace(f.wants)
	var order []codec.PackRef
	for _, w := range f.wants {
		for _, ref := range w.content.Packs {
			if n := len(order); n == 0 || order[n-1] != ref {
				order = append(order, ref)
			}
		}
	}
	next, done := 0, 0 // the want at hand, and how many of its packs were used
	var gathered []byte
	return s.eachPack(ctx, order, revision, func(ref codec.PackRef, stored []byte) error {
		plain, err := s.coder.DecodePack(ref, stored)
		if err != nil {
			return damaged(err)
		}
		for next < len(f.wants) && f.wants[next].content.Packs[done] == ref {
			w := &f.wants[next]
			rest := plain
			if done == 0 {
				gathered = gathered[:0]
				rest = plain[min(w.content.Offset, int64(len(plain))):]
			}
			gathered = append(gathered, rest[:min(int64(len(rest)), w.size-int64(len(gathered)))]...)
			if done++; done < len(w.content.Packs) {
				if w.content.Packs[done] == ref {
					continue // a pack may follow itself
				}
				return nil
			}
			if err := w.use(gathered); err != nil {
				return err
			}
			next, done = next+1, 0
		}
		return nil
	})
}

// sortByPlace orders contents so that those of one pack are read together, packs in
// the order in which they first appear.
func sortByPlace(wants []want) {
	first := make(map[codec.PackRef]int)
	for _, w := range wants {
		if _, ok := first[w.content.Packs[0]]; !ok {
			first[w.content.Packs[0]] = len(first)
		}
	}
	slices.SortStableFunc(wants, func(a, b want) int {
		if d := first[a.content.Packs[0]] - first[b.content.Packs[0]]; d != 0 {
			return d
		}
		return int(a.content.Offset - b.content.Offset)
	})
}
