//go:build !lean

package lab

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/devetcd"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
)

// What makes a process of a test binary an etcd server.
const (
	envDir     = "CONFSYNCD_LAB_ETCD_DIR"
	envAddress = "CONFSYNCD_LAB_ETCD_ADDRESS"
)

// ServeIfAsked makes this process an etcd server if Embedded started it, and does not
// return then. A TestMain calls it first.
func ServeIfAsked() {
	if dir := os.Getenv(envDir); dir != "" {
		os.Exit(serve(dir, os.Getenv(envAddress)))
	}
}

// serve is an etcd server until it is told to end.
func serve(dir, address string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Warn})
	s, err := devetcd.Start(ctx, devetcd.Options{Dir: dir, Address: address, Log: log})
	if err != nil {
		log.Error("start", "error", err)
		return 1
	}
	defer s.Close()
	select {
	case <-ctx.Done():
		return 0
	case err := <-s.Err():
		log.Error("serve", "error", err)
		return 1
	}
}

// Embedded starts the server that is built into the test's own binary, in a process of
// its own. It needs no other program.
func Embedded(t testing.TB, dir string) *Etcd {
	t.Helper()
	e := newEtcd(t, dir, devetcdtest.Address(), func(e *Etcd) (*Process, error) {
		return Start(e.Log(), []string{envDir + "=" + e.Data(), envAddress + "=" + e.Address}, os.Args[0])
	})
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	return e
}
