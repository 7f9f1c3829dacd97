//go:build !lean

package devetcd_test

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/devetcd"
)

func TestDataOutlivesTheServer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	o := devetcd.Options{Dir: t.TempDir(), Log: hclog.NewNullLogger()}
	for run, want := range []int64{0, 1} {
		s, err := devetcd.Start(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Get(ctx, "k")
		if err != nil || got.Count != want {
			t.Fatalf("run %d: %d keys, want %d (%v)", run, got.Count, want, err)
		}
		if _, err := c.Put(ctx, "k", "v"); err != nil {
			t.Fatal(err)
		}
		c.Close()
		s.Close()
	}
}
