package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/confsyncd/confsyncd/internal/logging"
)

// Etcd is an etcd server in a process of its own, on an address that stays the same.
type Etcd struct {
	Dir     string // holds data, and log
	Address string
	Running *Process // nil while it is stopped

	// TLS is what clients have to speak with it; nil for plain text.
	TLS *tls.Config
	// User and Password are whom Client asks as; empty while it asks for no user.
	User, Password string

	// launch starts the process.
	launch func(e *Etcd) (*Process, error)
}

// newEtcd makes a server that is not started, and ends with the test.
func newEtcd(t testing.TB, dir, address string, launch func(e *Etcd) (*Process, error)) *Etcd {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	e := &Etcd{Dir: dir, Address: address, launch: launch}
	t.Cleanup(func() {
		if e.Running != nil {
			_ = e.Running.Kill()
		}
	})
	return e
}

// Endpoint is what clients are given.
func (e *Etcd) Endpoint() string { return e.scheme() + "://" + e.Address }

func (e *Etcd) scheme() string {
	if e.TLS != nil {
		return "https"
	}
	return "http"
}

// Data is the directory of its data.
func (e *Etcd) Data() string { return filepath.Join(e.Dir, "data") }

// Log is the file that it logs to.
func (e *Etcd) Log() string { return filepath.Join(e.Dir, "log") }

// Launch starts the server, and does not wait for it.
func (e *Etcd) Launch() (err error) {
	e.Running, err = e.launch(e)
	return err
}

// Start starts the server and waits until it serves.
func (e *Etcd) Start() error {
	if err := e.Launch(); err != nil {
		return err
	}
	return e.Await()
}

// Await waits until the server answers, as part of a cluster that has a leader.
func (e *Etcd) Await() error {
	_, err := Eventually(30*time.Second, func() error {
		c, err := e.Dial(e.User, e.Password) // With a user it asks already.
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		status, err := c.Status(ctx, e.Endpoint())
		if err == nil && status.Leader == 0 {
			err = errors.New("no leader")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%w, see %s", err, Tail(e.Log()))
	}
	return nil
}

// Kill ends the server without a chance to tidy up.
func (e *Etcd) Kill() error {
	p := e.Running
	e.Running = nil
	return p.Kill()
}

// Stop ends the server as systemd would. How it says that it was ended is its own business.
func (e *Etcd) Stop() error {
	p := e.Running
	e.Running = nil
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	<-p.Ended
	return nil
}

// Wipe throws all data of the stopped server away.
func (e *Etcd) Wipe() error { return os.RemoveAll(e.Data()) }

// Save copies the data of the stopped server.
func (e *Etcd) Save(to string) error { return os.CopyFS(to, os.DirFS(e.Data())) }

// Restore puts the data of the stopped server back to a copy.
func (e *Etcd) Restore(from string) error {
	return errors.Join(e.Wipe(), os.CopyFS(e.Data(), os.DirFS(from)))
}

// Dial returns a client, for a user if one is named.
func (e *Etcd) Dial(user, password string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: []string{e.Endpoint()}, TLS: e.TLS, Username: user, Password: password, DialTimeout: 5 * time.Second,
		Logger: logging.Zap(hclog.NewNullLogger()), DialOptions: bounded(),
	})
}

// bounded ends calls that have no deadline after a minute, which without one may wait for
// ever: for a leader that was killed, say.
func bounded() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if _, ok := ctx.Deadline(); !ok {
			bound, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			ctx = bound
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	})}
}

// Client returns a client that ends with the test.
func (e *Etcd) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := e.Dial(e.User, e.Password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
