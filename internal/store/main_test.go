//go:build !lean

package store_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests, unless this process is to be an etcd server.
func TestMain(m *testing.M) {
	if dir := os.Getenv(serverDir); dir != "" {
		os.Exit(serve(dir, os.Getenv(serverAddress)))
	}
	goleak.VerifyTestMain(m)
}
