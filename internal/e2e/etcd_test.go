//go:build !lean

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/devetcd"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
)

// What makes a process of this test binary an etcd server.
const (
	envDir     = "CONFSYNCD_E2E_ETCD_DIR"
	envAddress = "CONFSYNCD_E2E_ETCD_ADDRESS"
)

// serveEtcd is an etcd server until it is told to end.
func serveEtcd(dir, address string) int {
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

// etcd is an etcd server in a process of its own, on an address that stays the same.
type etcd struct {
	dir     string // holds data, and log
	address string
	running *process // nil while it is stopped
}

// newEtcd starts a server that ends with the test.
func newEtcd(t testing.TB, dir string) *etcd {
	t.Helper()
	e := &etcd{dir: dir, address: devetcdtest.Address()}
	if err := errors.Join(os.MkdirAll(dir, 0o700), e.start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if e.running != nil {
			_ = e.running.kill()
		}
	})
	return e
}

func (e *etcd) endpoint() string { return "http://" + e.address }

func (e *etcd) data() string { return filepath.Join(e.dir, "data") }

// start starts the server and waits until it serves.
func (e *etcd) start() error {
	p, err := startProcess(filepath.Join(e.dir, "log"), []string{envDir + "=" + e.data(), envAddress + "=" + e.address}, os.Args[0])
	if err != nil {
		return err
	}
	e.running = p
	_, err = eventually(20*time.Second, func() error {
		resp, err := http.Get(e.endpoint() + "/health")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("etcd's health: %s", resp.Status)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w, see %s", err, tail(p.log))
	}
	return nil
}

// kill ends the server without a chance to tidy up.
func (e *etcd) kill() error {
	p := e.running
	e.running = nil
	return p.kill()
}

// wipe throws all data of the stopped server away.
func (e *etcd) wipe() error { return os.RemoveAll(e.data()) }

// save copies the data of the stopped server.
func (e *etcd) save(to string) error { return os.CopyFS(to, os.DirFS(e.data())) }

// restore puts the data of the stopped server back to a copy.
func (e *etcd) restore(from string) error {
	return errors.Join(e.wipe(), os.CopyFS(e.data(), os.DirFS(from)))
}

// client returns a client that ends with the test.
func (e *etcd) client(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{e.endpoint()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
