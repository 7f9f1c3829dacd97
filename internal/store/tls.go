package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"google.golang.org/grpc/credentials"

	"github.com/confsyncd/confsyncd/internal/logging"
)

// secure reports whether etcd is spoken to by TLS.
func (cfg Config) secure() bool {
	for _, e := range cfg.Endpoints {
		if strings.HasPrefix(e, "https://") || strings.HasPrefix(e, "unixs://") {
			return true
		}
	}
	return false
}

// tls reads the TLS files.
func (cfg Config) tls() (*tls.Config, error) {
	info := transport.TLSInfo{TrustedCAFile: cfg.CAFile, CertFile: cfg.CertFile, KeyFile: cfg.KeyFile, Logger: logging.Zap(cfg.Log)}
	t, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("TLS files: %w", err)
	}
	return t, nil
}

// handshakes makes each connection's TLS of the files as they are by then, so that
// certificates and authorities may be replaced while we run.
type handshakes struct {
	credentials.TransportCredentials
	cfg     Config
	trouble *trouble
}

// newHandshakes returns an error that wraps ErrRefused if the files cannot be used.
func newHandshakes(cfg Config, t *trouble) (*handshakes, error) {
	first, err := cfg.tls()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, explainTLS(cfg, err))
	}
	return &handshakes{TransportCredentials: credentials.NewTLS(first), cfg: cfg, trouble: t}, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (h *handshakes) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	t, err := h.cfg.tls()
	if err != nil {
		return nil, nil, h.trouble.note(explainTLS(h.cfg, err))
	}
	conn, info, err := credentials.NewTLS(t).ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, h.trouble.note(explainTLS(h.cfg, err))
	}
	return &judged{Conn: conn, handshakes: h}, info, nil
}

// Clone implements credentials.TransportCredentials.
func (h *handshakes) Clone() credentials.TransportCredentials {
	return &handshakes{TransportCredentials: h.TransportCredentials.Clone(), cfg: h.cfg, trouble: h.trouble}
}

// alertWithin is how long an alert is waited for that must have come before the end of the
// connection did.
const alertWithin = 100 * time.Millisecond

// judged is a connection on which the server may yet refuse our certificate: in TLS 1.3 it
// says so after the handshake (RFC 8446, section 4.4.2.4).
type judged struct {
	net.Conn
	handshakes *handshakes
	accepted   atomic.Bool // something was read
}

// Read implements net.Conn.
func (j *judged) Read(b []byte) (int, error) {
	n, err := j.Conn.Read(b)
	switch {
	case j.accepted.Load():
	case n > 0:
		j.accepted.Store(true)
		_ = j.handshakes.trouble.note(nil) // It is over.
	case isAlert(err): // And no reset or end: those may follow an alert, and would hide it.
		err = j.handshakes.trouble.note(explainTLS(j.handshakes.cfg, err))
	}
	return n, err
}

// Write implements net.Conn. A server that refused us has closed the connection, so that
// writing may fail before anybody has read why; gRPC would not read then.
func (j *judged) Write(b []byte) (int, error) {
	n, err := j.Conn.Write(b)
	if err != nil && !j.accepted.Load() {
		_ = j.Conn.SetReadDeadline(time.Now().Add(alertWithin))
		_, _ = j.Read(make([]byte, 1))
	}
	return n, err
}

// isAlert reports whether crypto/tls made err of an alert that the server sent.
func isAlert(err error) bool {
	var remote *net.OpError
	return errors.As(err, &remote) && remote.Op == "remote error"
}

// trouble is why TLS was not agreed on last, nil if it was. clientv3 loses that: it tells
// of a deadline alone.
type trouble struct {
	mu  sync.Mutex // guards err
	err error
}

// note returns err.
func (t *trouble) note(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
	return err
}

// cause adds to the error of a call that was not answered why, if TLS is why.
func (t *trouble) cause(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil || !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrAmbiguous) {
		return err
	}
	return fmt.Errorf("%w: %w", err, t.err)
}

// explainTLS adds what to do about it to an error of TLS.
func explainTLS(cfg Config, err error) error {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; put it back, or correct the path in the configuration", err)
	case errors.As(err, &unknown) && cfg.CAFile == "":
		return fmt.Errorf("%w; if that is the right server, put the certificate of its authority into a file, and name that as ca_file", err)
	case errors.As(err, &unknown):
		return fmt.Errorf("%w; if that is the right server, put the certificate of its authority into ca_file, %s", err, cfg.CAFile)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%w; renew the certificate of the etcd server, or set the clock right", err)
	case errors.As(err, &name):
		return fmt.Errorf("%w; write endpoints with a name that the server's certificate has, or give the server one with this name", err)
	case isAlert(err) && cfg.CertFile == "":
		return fmt.Errorf("%w; the etcd server asks for a certificate: name one as cert_file, and its key as key_file", err)
	case isAlert(err):
		return fmt.Errorf("%w; the etcd server refuses our certificate: renew cert_file, %s, and key_file, by an authority that it trusts", err, cfg.CertFile)
	}
	return err
}
