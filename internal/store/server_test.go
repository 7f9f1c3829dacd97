//go:build !lean

package store_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/devetcd"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
)

// What makes a process of this test binary an etcd server.
const (
	serverDir     = "CONFSYNCD_STORE_ETCD_DIR"
	serverAddress = "CONFSYNCD_STORE_ETCD_ADDRESS"
)

// serve is an etcd server until it is killed. The kernel keeps what it wrote.
func serve(dir, address string) int {
	s, err := devetcd.Start(context.Background(), devetcd.Options{Dir: dir, Address: address, NoFsync: true, Log: hclog.NewNullLogger()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stderr, <-s.Err())
	return 1
}

// server is an etcd in a process of its own, on an address that stays the same.
type server struct {
	*testing.T
	dir, address string
	cmd          *exec.Cmd
	said         bytes.Buffer
}

// startServer starts a server that ends with the test.
func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{T: t, dir: t.TempDir(), address: devetcdtest.Address()}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) endpoint() string { return "http://" + s.address }

// start starts the server and waits until it serves.
func (s *server) start() {
	s.Helper()
	s.said.Reset()
	s.cmd = exec.Command(os.Args[0])
	s.cmd.Env = append(os.Environ(), serverDir+"="+s.dir, serverAddress+"="+s.address)
	s.cmd.Stderr = &s.said
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	for end := time.Now().Add(heals); ; time.Sleep(10 * time.Millisecond) {
		resp, err := client.Get(s.endpoint() + "/health")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("health: %s", resp.Status)
		}
		if time.Now().After(end) {
			s.kill()
			s.Fatalf("etcd: %v: %s", err, strings.TrimSpace(s.said.String()))
		}
	}
}

// kill ends the server at once.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // It may have ended.
	_ = s.cmd.Wait()         // It was killed.
	s.cmd = nil
}
