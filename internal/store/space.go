package store

import (
	"context"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Space is how much of its quota the etcd server has used that is connected to, in bytes.
type Space struct {
	Quota int64 // 0 if the server does not tell: those before 3.6
	Used  int64 // of the quota, by the file
	InUse int64 // of the file; the rest comes back with a defragmentation
}

// nearlyFull is the share of the quota, in percent, from which on an operator is warned.
const nearlyFull = 80

// NearlyFull reports whether the server will soon refuse writes.
func (s Space) NearlyFull() bool { return s.Quota > 0 && s.Used*100 >= s.Quota*nearlyFull }

// Space asks the server for its space.
func (c *Client) Space(ctx context.Context) (Space, error) {
	var space Space
	err := c.call(ctx, "ask for its space", false, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcdserverpb.NewMaintenanceClient(etcd.ActiveConnection()).Status(ctx, &etcdserverpb.StatusRequest{})
		if err != nil {
			return err
		}
		space = Space{Quota: resp.DbSizeQuota, Used: resp.DbSize, InUse: resp.DbSizeInUse}
		return nil
	})
	return space, err
}

// Space is Client.Space.
func (s *Store) Space(ctx context.Context) (Space, error) { return s.client.Space(ctx) }
