//go:build !lean

// Package devetcdtest starts an embedded etcd for a test.
package devetcdtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/devetcd"
)

// Address returns a host:port for an etcd that is stopped and started again. Nobody else
// takes it meanwhile: it lies in 127.0.0.0/8, from which the kernel gives the ports of
// 127.0.0.1 alone to who asks for any.
func Address() string {
	return fmt.Sprintf("127.%d.%d.%d:%d", 1+rand.N(254), rand.N(256), 1+rand.N(254), 10000+rand.N(20000))
}

// Start starts an etcd that ends with the test and returns its endpoint. It does
// not fsync.
func Start(t testing.TB) string {
	t.Helper()
	return StartSmall(t, 0)
}

// StartSmall is Start with a quota in bytes; 0 is etcd's default.
func StartSmall(t testing.TB, quota int64) string {
	t.Helper()
	s, err := devetcd.Start(context.Background(), devetcd.Options{Dir: t.TempDir(), NoFsync: true, Quota: quota, Log: hclog.NewNullLogger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s.Endpoint()
}
