//go:build !lean

package lab

import (
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
)

// Cluster is an etcd of one or more members, each a process of etcd's own server.
type Cluster struct {
	Members []*Etcd
	Peers   []string // addresses, by member
	// Ways are what members reach each other through, with ClusterOptions.Parted; by the
	// member that is reached.
	Ways  []*Proxy
	Token string // what tells its members from others'
	// Options may be changed while all members are stopped.
	Options ClusterOptions
}

// ClusterOptions say what a cluster is made of.
type ClusterOptions struct {
	Program string      // path of etcd's server
	Members int         // 0: one
	Flags   []string    // besides those of addresses and data
	TLS     *tls.Config // for clients, if Flags make the members speak it
	Parted  bool        // members reach each other through proxies
}

// NewCluster makes a cluster that is not started, in a directory of its own. It ends
// with the test.
func NewCluster(t testing.TB, dir string, o ClusterOptions) *Cluster {
	t.Helper()
	c := &Cluster{Options: o, Token: filepath.Base(dir)}
	for i := range max(1, o.Members) {
		c.Peers = append(c.Peers, devetcdtest.Address())
		if o.Parted {
			c.Ways = append(c.Ways, NewProxy(t, "http://"+c.Peers[i]))
		}
		e := newEtcd(t, filepath.Join(dir, fmt.Sprint("member", i)), devetcdtest.Address(), func(e *Etcd) (*Process, error) {
			return Start(e.Log(), nil, c.Options.Program, c.Args(i)...)
		})
		e.TLS = o.TLS
		c.Members = append(c.Members, e)
	}
	return c
}

// Args are the flags of one member's server.
func (c *Cluster) Args(i int) []string {
	e := c.Members[i]
	return append([]string{
		"--name", fmt.Sprint("member", i), "--data-dir", e.Data(),
		"--listen-client-urls", e.Endpoint(), "--advertise-client-urls", e.Endpoint(),
		"--listen-peer-urls", "http://" + c.Peers[i], "--initial-advertise-peer-urls", "http://" + c.peer(i),
		"--initial-cluster", c.Initial(), "--initial-cluster-token", c.Token, "--initial-cluster-state", "new",
		"--heartbeat-interval", "50", "--election-timeout", "500", "--log-level", "warn",
	}, c.Options.Flags...)
}

// peer is where others reach a member.
func (c *Cluster) peer(i int) string {
	if c.Ways != nil {
		return c.Ways[i].Address()
	}
	return c.Peers[i]
}

// Initial is the list of members that etcd's programs take.
func (c *Cluster) Initial() string {
	var names []string
	for i := range c.Peers {
		names = append(names, fmt.Sprintf("member%d=http://%s", i, c.peer(i)))
	}
	return strings.Join(names, ",")
}

// Endpoints is what clients are given, with commas between.
func (c *Cluster) Endpoints() string {
	var all []string
	for _, e := range c.Members {
		all = append(all, e.Endpoint())
	}
	return strings.Join(all, ",")
}

// Start starts all members that are stopped and waits until they serve.
func (c *Cluster) Start() error {
	var errs []error
	for _, e := range c.Members {
		if e.Running == nil {
			errs = append(errs, e.Launch())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, e := range c.Members {
		errs = append(errs, e.Await())
	}
	return errors.Join(errs...)
}

// Kill ends all members that run.
func (c *Cluster) Kill() error {
	var errs []error
	for _, e := range c.Members {
		if e.Running != nil {
			errs = append(errs, e.Kill())
		}
	}
	return errors.Join(errs...)
}

// Leader returns the index of the member that leads.
func (c *Cluster) Leader(t testing.TB) int {
	t.Helper()
	for i, e := range c.Members {
		if e.Running == nil {
			continue
		}
		cl := e.Client(t)
		status, err := cl.Status(t.Context(), e.Endpoint())
		if err == nil && status.Leader == status.Header.MemberId {
			return i
		}
	}
	t.Fatal("no member leads")
	return -1
}

// Client returns a client of all members that ends with the test.
func (c *Cluster) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	first := c.Members[0]
	cl, err := clientv3.New(clientv3.Config{
		Endpoints: strings.Split(c.Endpoints(), ","), TLS: first.TLS, Username: first.User, Password: first.Password, DialTimeout: 5 * time.Second,
		DialOptions: bounded(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return cl
}
