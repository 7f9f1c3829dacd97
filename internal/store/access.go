package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// password reads the password, "" if there is no user.
func (cfg Config) password() (string, error) {
	if cfg.Username == "" {
		return "", nil
	}
	b, err := os.ReadFile(cfg.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("%w: password_file: %w", ErrRefused, err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// renew drops a connection that etcd refused if the password file holds another password
// by now: the next call connects with that one. Calls that others have under way end as if
// etcd had gone away.
func (c *Client) renew(etcd *clientv3.Client) {
	password, err := c.cfg.password()
	if err != nil || password == etcd.Password {
		return
	}
	c.mu.Lock()
	if c.etcd == etcd {
		c.etcd = nil
	}
	c.mu.Unlock()
	_ = etcd.Close() // Nothing waits for what it still had to say.
}

// call is Client.call, with what to do about it where etcd denies this tenant.
func (s *Store) call(ctx context.Context, op string, write bool, fn func(context.Context, *clientv3.Client) error) error {
	return s.explain(s.client.call(ctx, op, write, fn))
}

// explain adds to an error what an operator has to do about it, if etcd does not let us in.
func (s *Store) explain(err error) error {
	cfg := s.client.cfg
	switch {
	case errors.Is(err, rpctypes.ErrUserEmpty):
		return fmt.Errorf("%w; it asks who calls: set username and password_file", err)
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return fmt.Errorf("%w; correct username, or the password in %s", err, cfg.PasswordFile)
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		who := "the user of the certificate in cert_file"
		if cfg.Username != "" {
			who = fmt.Sprintf("user %q", cfg.Username)
		}
		return fmt.Errorf("%w; grant %s a role that may read %s/pub/ for an agent, read and write %s/ for a publisher, and read the key %s for both",
			err, who, s.keys.base, s.keys.base, s.keys.registration())
	}
	return err
}

// carry is call for what carries much. fn returns how many bytes it carried.
func (s *Store) carry(ctx context.Context, op string, write bool, fn func(context.Context, *clientv3.Client) (int, error)) error {
	return s.explain(s.client.carry(ctx, op, write, fn))
}
