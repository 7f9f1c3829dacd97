//go:build !lean

package store_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// TestMain runs the tests, unless this process is to be an etcd server.
func TestMain(m *testing.M) {
	lab.ServeIfAsked()
	goleak.VerifyTestMain(m)
}
