package store

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// storedRecord is a record as it is stored, and the generation that its key says.
type storedRecord struct {
	generation  uint64
	modRevision int64
	data        []byte
}

// storedRecords reads the first records between two generations, at most limit of them.
func (s *Store) storedRecords(ctx context.Context, view View, from, to uint64, limit int64) ([]storedRecord, error) {
	var page []storedRecord
	err := s.carry(ctx, "read records of "+s.tenant, false, func(ctx context.Context, etcd *clientv3.Client) (bytes int, err error) {
		resp, err := etcd.Get(ctx, s.keys.log(from), clientv3.WithRange(s.keys.log(to)+"\x00"), clientv3.WithRev(view.revision), clientv3.WithLimit(limit))
		if err != nil {
			return 0, err
		}
		page = page[:0]
		for _, kv := range resp.Kvs {
			bytes += len(kv.Value)
			if generation, ok := s.keys.generation(string(kv.Key)); ok {
				page = append(page, storedRecord{generation, kv.ModRevision, kv.Value})
			}
		}
		return bytes, nil
	})
	return page, err
}

// firstSince returns the oldest record that was made at or after a time, by the clocks of
// those who made them; ok is false if there is none. Where clocks were set back it is one of
// those at which such times begin.
func (s *Store) firstSince(ctx context.Context, view View, at time.Time) (first storedRecord, ok bool, err error) {
	// Below from all are older; first, if ok, is not.
	for from, to := uint64(0), view.Head.Position.Generation+1; from < to; {
		middle := from + (to-from)/2
		page, err := s.storedRecords(ctx, view, middle, to-1, 1)
		switch {
		case err != nil:
			return first, false, err
		case len(page) == 0:
			to = middle
			continue
		}
		r, err := s.coder.DecodeRecord(page[0].data)
		if err != nil {
			return first, false, damagedUnlessNewer(err)
		}
		if r.Time.Before(at) {
			from = page[0].generation + 1
		} else {
			first, ok, to = page[0], true, middle
		}
	}
	return first, ok, nil
}

// putBefore returns a revision that etcd had before a time, by the clocks of those who
// made records; 0 if none is known.
func (s *Store) putBefore(ctx context.Context, view View, at time.Time) (int64, error) {
	first, ok, err := s.firstSince(ctx, view, at)
	if err != nil {
		return 0, err
	}
	below := view.Head.Position.Generation
	if ok {
		if first.generation == 0 {
			return 0, nil
		}
		below = first.generation - 1
	}
	generation, there, err := s.nearest(ctx, view, 0, below, clientv3.SortDescend)
	if err != nil || !there {
		return 0, err
	}
	page, err := s.storedRecords(ctx, view, generation, generation, 1)
	if err != nil || len(page) == 0 {
		return 0, err
	}
	return page[0].modRevision, nil
}
