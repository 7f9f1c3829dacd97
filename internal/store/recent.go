package store

import "container/list"

// recent keeps the byte slices that were used last, up to limit bytes of them.
type recent[K comparable] struct {
	limit int
	bytes int
	used  *list.List // of *kept[K], the last used first
	by    map[K]*list.Element
}

type kept[K comparable] struct {
	key  K
	data []byte
}

func newRecent[K comparable](limit int) *recent[K] {
	return &recent[K]{limit: limit, used: list.New(), by: make(map[K]*list.Element)}
}

func (r *recent[K]) get(key K) ([]byte, bool) {
	e, ok := r.by[key]
	if !ok {
		return nil, false
	}
	r.used.MoveToFront(e)
	return e.Value.(*kept[K]).data, true
}

// put keeps data, which must not be changed any more, unless it is too much by itself.
func (r *recent[K]) put(key K, data []byte) {
	if _, ok := r.get(key); ok || len(data) > r.limit {
		return
	}
	r.by[key] = r.used.PushFront(&kept[K]{key, data})
	for r.bytes += len(data); r.bytes > r.limit; {
		last := r.used.Remove(r.used.Back()).(*kept[K])
		delete(r.by, last.key)
		r.bytes -= len(last.data)
	}
}
