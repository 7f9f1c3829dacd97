package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/logging"
)

// callTimeout bounds one call to etcd that carries little.
const callTimeout = 5 * time.Second

// littleBytes is up to what a call carries little.
const littleBytes = 64 << 10

// Config says how etcd is reached.
type Config struct {
	Endpoints []string
	// Prefix is what all keys begin with; it begins with a slash and ends without.
	Prefix string
	// CAFile, CertFile and KeyFile are PEM files; they are read again at each
	// handshake, so that certificates may be replaced.
	CAFile, CertFile, KeyFile string
	// PasswordFile is read again when etcd refuses a call, so that the password may be
	// changed.
	Username, PasswordFile string
	Log                    hclog.Logger
}

// Client is a process's connection to etcd. Its methods may be called from several
// goroutines.
type Client struct {
	cfg     Config
	coder   *codec.Coder
	breaker *breaker
	carried patience    // with calls that carry much
	oldest  map[int]int // supported patches, see Outdated
	// patience is how long a commit is sent again and read back.
	patience time.Duration
	trouble  *trouble // of TLS

	connecting chan struct{} // capacity 1: held by the one call that makes the connection; never closed

	mu      sync.Mutex       // guards what follows
	etcd    *clientv3.Client // made by the first call
	closed  bool
	version string // of the server that was asked last
}

// NewClient returns a Client. It reads no file and does not connect yet; the first
// call does.
func NewClient(cfg Config) *Client {
	return &Client{
		cfg: cfg, coder: codec.NewCoder(), breaker: newBreaker(), oldest: oldest(), patience: commitPatience, trouble: &trouble{},
		connecting: make(chan struct{}, 1),
	}
}

// Close ends the connection.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.etcd == nil {
		return nil
	}
	err := c.etcd.Close()
	c.etcd = nil
	return err
}

// Endpoints returns the addresses, for messages.
func (c *Client) Endpoints() string { return strings.Join(c.cfg.Endpoints, ",") }

// Failing reports since when, and with what error, every call has failed to reach
// etcd; the error is nil if the last one reached it.
func (c *Client) Failing() (since time.Time, err error) {
	c.breaker.mu.Lock()
	defer c.breaker.mu.Unlock()
	if c.breaker.failures == 0 {
		return time.Time{}, nil
	}
	return c.breaker.since, c.breaker.last
}

// Calls are what became of a client's calls to etcd.
type Calls struct {
	Made   uint64
	Failed uint64 // to reach etcd
	// Broken says that so many have failed in a row that one at a time is tried.
	Broken bool
}

// Calls counts the calls that were made.
func (c *Client) Calls() Calls {
	b := c.breaker
	b.mu.Lock()
	defer b.mu.Unlock()
	return Calls{Made: b.calls, Failed: b.failed, Broken: b.failures >= breakAfter}
}

// connect returns the connection, which it makes when first needed: with a user
// name, making it asks etcd for a token and so fails while etcd is away.
func (c *Client) connect(ctx context.Context) (*clientv3.Client, error) {
	if etcd := c.connected(); etcd != nil {
		return etcd, nil
	}
	if err := turn(ctx, c.connecting); err != nil {
		return nil, err
	}
	defer func() { <-c.connecting }()
	if etcd := c.connected(); etcd != nil {
		return etcd, nil // by the call that was waited for
	}
	etcdConfig, err := c.etcdConfig()
	if err != nil {
		return nil, err
	}
	beat(ctx)
	etcd, err := clientv3.New(etcdConfig)
	if err != nil {
		return nil, classify("connect to "+c.Endpoints(), false, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed { // Meanwhile: nobody would ever end this connection.
		return nil, errors.Join(fmt.Errorf("%w: the client was closed", ErrUnreachable), etcd.Close())
	}
	c.etcd = etcd
	return etcd, nil
}

// connected returns the connection, nil if there is none.
func (c *Client) connected() *clientv3.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.etcd
}

func (c *Client) etcdConfig() (clientv3.Config, error) {
	cfg := clientv3.Config{
		Endpoints:   c.cfg.Endpoints,
		DialTimeout: callTimeout,
		// The server punishes pings more frequent than 5 s, and any without a stream.
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
		// Our own retries know which calls may be sent again.
		MaxUnaryRetries: 2,
		Logger:          logging.Zap(c.cfg.Log),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			// The default lets up to 120 s go by before an etcd that is back is tried.
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.5, Jitter: 0.5, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		})},
	}
	var err error
	cfg.Username = c.cfg.Username
	if cfg.Password, err = c.cfg.password(); err != nil || !c.cfg.secure() {
		return cfg, err
	}
	handshakes, err := newHandshakes(c.cfg, c.trouble)
	if err != nil {
		return cfg, err
	}
	// Those that clientv3 would make of a tls.Config, it would make once.
	cfg.DialOptions = append(cfg.DialOptions, grpc.WithTransportCredentials(handshakes))
	return cfg, nil
}

// call makes one call to etcd with a deadline of its own. The error wraps one of
// the sentinels that tell what became of it.
func (c *Client) call(ctx context.Context, op string, write bool, fn func(context.Context, *clientv3.Client) error) error {
	return c.callWithin(ctx, callTimeout, op, write, fn)
}

// carry is call for what carries much: contents, or many records. How long it may take
// follows from how long the last ones took. fn returns how many bytes it carried.
func (c *Client) carry(ctx context.Context, op string, write bool, fn func(context.Context, *clientv3.Client) (int, error)) error {
	limit := c.carried.limit()
	return c.callWithin(ctx, limit, op, write, func(ctx context.Context, etcd *clientv3.Client) error {
		begin := time.Now()
		bytes, err := fn(ctx, etcd)
		switch {
		case err == nil && bytes > littleBytes:
			c.carried.took(time.Since(begin))
		case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
			c.carried.took(min(time.Since(begin), limit))
		}
		return err
	})
}

// callWithin makes one call that may take so long.
func (c *Client) callWithin(ctx context.Context, limit time.Duration, op string, write bool, fn func(context.Context, *clientv3.Client) error) error {
	beat(ctx)
	err := c.breaker.do(ctx, func() (bool, error) {
		etcd, err := c.connect(ctx)
		if err != nil {
			return !errors.Is(err, ErrUnreachable), c.trouble.cause(err)
		}
		callCtx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		if err := fn(callCtx, etcd); err != nil {
			err = c.trouble.cause(classify(op, write, err))
			if errors.Is(err, ErrRefused) {
				c.renew(etcd)
			}
			return !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrAmbiguous), err
		}
		return true, nil
	})
	if err != nil && ctx.Err() != nil && !errors.Is(err, ErrAmbiguous) {
		return ctx.Err()
	}
	return err
}
