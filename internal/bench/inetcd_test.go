//go:build bench

package bench

import (
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// InEtcd is how many keys a tenant has, and how many bytes they and their values have.
func (m *Meter) InEtcd(e *lab.Etcd, tenant string) (keys, bytes int) {
	m.Helper()
	resp, err := e.Client(m.T).Get(m.Context(), "/confsyncd/"+tenant+"/", clientv3.WithPrefix())
	m.Must(err)
	for _, kv := range resp.Kvs {
		bytes += len(kv.Key) + len(kv.Value)
	}
	return len(resp.Kvs), bytes
}
