package store

import (
	"context"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
)

// HostReport is what a host last said of itself.
type HostReport struct {
	ID   string
	Host codec.Host
	// Err is set if that could not be understood.
	Err error
	// Alive are the processes that go by its id now.
	Alive []codec.Alive
}

// Reports reads what all hosts of the tenant say of themselves, at one revision, in the
// order of their ids.
func (s *Store) Reports(ctx context.Context) ([]HostReport, error) {
	var list []HostReport
	err := s.carry(ctx, "read hosts of "+s.tenant, false, func(ctx context.Context, etcd *clientv3.Client) (bytes int, err error) {
		resp, err := etcd.Txn(ctx).Then(clientv3.OpGet(s.keys.hosts(), clientv3.WithPrefix()), clientv3.OpGet(s.keys.alive(), clientv3.WithPrefix())).Commit()
		if err != nil {
			return 0, err
		}
		list = list[:0]
		at := make(map[string]int)
		for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
			r := HostReport{ID: strings.TrimPrefix(string(kv.Key), s.keys.hosts())}
			r.Host, r.Err = codec.DecodeHost(kv.Value)
			at[r.ID] = len(list)
			list, bytes = append(list, r), bytes+len(kv.Value)
		}
		for _, kv := range resp.Responses[1].GetResponseRange().Kvs {
			id, _, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), s.keys.alive()), "/")
			if i, ok := at[id]; ok && kv.Lease != 0 {
				life, _ := codec.DecodeAlive(kv.Value) // it counts, whatever it says
				list[i].Alive = append(list[i].Alive, life)
			}
			bytes += len(kv.Value)
		}
		return bytes, nil
	})
	return list, err
}
