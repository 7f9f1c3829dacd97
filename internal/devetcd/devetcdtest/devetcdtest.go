//go:build !lean

// Package devetcdtest starts an embedded etcd for a test.
package devetcdtest

import (
	"context"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/devetcd"
)

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
