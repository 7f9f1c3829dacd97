//go:build !lean

// Package devetcd runs an etcd server inside the process, for "confsyncd dev" and
// the tests. The build tag lean leaves it out.
package devetcd

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/confsyncd/confsyncd/internal/logging"
)

// Options say where and how the server runs.
type Options struct {
	// Dir holds its data. It is made where it is missing.
	Dir string
	// Address is where clients are served, as host:port; empty: a free port on the
	// loopback address.
	Address string
	// NoFsync trades the data's safety for speed: for tests alone.
	NoFsync bool
	// Quota bounds the data in bytes; 0 is etcd's default.
	Quota int64
	Log   hclog.Logger
}

// Server is a running etcd with one member.
type Server struct {
	etcd *embed.Etcd
}

// Start starts a server and waits until it serves. Close must be called to end it.
func Start(ctx context.Context, o Options) (*Server, error) {
	cfg := embed.NewConfig()
	cfg.Dir = o.Dir
	cfg.Name = "dev"
	// A single member needs no patience with others.
	cfg.TickMs, cfg.ElectionMs = 10, 100
	cfg.UnsafeNoFsync = o.NoFsync
	cfg.QuotaBackendBytes = o.Quota
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logging.Zap(o.Log))
	client := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	if o.Address != "" {
		client.Host = o.Address
	}
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("start etcd in %s: %w", o.Dir, err)
	}
	s := &Server{etcd: e}
	select {
	case <-e.Server.ReadyNotify():
		return s, nil
	case err := <-e.Err():
		e.Close()
		return nil, fmt.Errorf("start etcd in %s: %w", o.Dir, err)
	case <-ctx.Done():
		e.Close()
		return nil, ctx.Err()
	case <-time.After(30 * time.Second):
		e.Close()
		return nil, fmt.Errorf("start etcd in %s: not ready after 30 s", o.Dir)
	}
}

// Endpoint returns the URL for clients.
func (s *Server) Endpoint() string {
	return "http://" + s.etcd.Clients[0].Addr().String()
}

// Err returns a channel on which the server reports that it cannot go on.
func (s *Server) Err() <-chan error { return s.etcd.Err() }

// Close ends the server and waits until it has ended. Clients should be closed
// before.
func (s *Server) Close() { s.etcd.Close() }
