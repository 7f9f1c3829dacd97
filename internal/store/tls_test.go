package store_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/lab"
	"github.com/confsyncd/confsyncd/internal/store"
)

// secured is an etcd behind TLS, and a client's files.
type secured struct {
	*testing.T
	dir       string
	authority *lab.Authority
	config    store.Config
	// forget ends all connections.
	forget func()
}

// secure starts an etcd behind TLS that asks for certificates.
func secure(t *testing.T) *secured {
	t.Helper()
	s := &secured{T: t, dir: t.TempDir()}
	s.authority = s.newAuthority()
	s.write("ca.pem", s.authority.PEM)
	s.issue("server", s.authority, time.Hour, "127.0.0.1")
	s.issue("client", s.authority, time.Hour)
	s.config = store.Config{
		Prefix: "/confsyncd", CAFile: s.file("ca.pem"), CertFile: s.file("client.pem"), KeyFile: s.file("client.key"), Log: hclog.NewNullLogger(),
	}
	_, target, _ := strings.Cut(devetcdtest.Start(t), "://")
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		NextProtos: []string{"h2"}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(s.file("server.pem"), s.file("server.key"))
			return &c, err
		},
		VerifyConnection: func(c tls.ConnectionState) error {
			return c.PeerCertificates[0].CheckSignatureFrom(s.authority.Certificate())
		},
	})
	s.do(err)
	s.config.Endpoints = []string{"https://" + l.Addr().String()}
	forward(t, l, target, s)
	return s
}

// forward leads connections of a listener to a target until the test ends.
func forward(t *testing.T, l net.Listener, target string, s *secured) {
	t.Helper()
	conns := make(chan net.Conn, 100)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", target)
			if err != nil {
				c.Close()
				continue
			}
			conns <- c
			conns <- to
			for _, way := range [][2]net.Conn{{c, to}, {to, c}} {
				go func() {
					_, _ = io.Copy(way[0], way[1])
					way[0].Close()
					way[1].Close()
				}()
			}
		}
	}()
	s.forget = func() {
		for {
			select {
			case c := <-conns:
				c.Close()
			default:
				return
			}
		}
	}
	t.Cleanup(s.forget)
}

func (s *secured) do(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *secured) file(name string) string { return filepath.Join(s.dir, name) }

func (s *secured) write(name string, content []byte) {
	s.Helper()
	s.do(lab.Place(s.file(name), content))
}

func (s *secured) newAuthority() *lab.Authority {
	s.Helper()
	a, err := lab.NewAuthority("test")
	s.do(err)
	return a
}

func (s *secured) issue(name string, by *lab.Authority, valid time.Duration, hosts ...string) {
	s.Helper()
	s.do(by.Issue(s.file(name+".pem"), s.file(name+".key"), time.Now().Add(valid), hosts...))
}

// answers waits until the client reaches etcd.
func (s *secured) answers(c *store.Client) {
	s.Helper()
	_, err := lab.Eventually(20*time.Second, func() error {
		_, err := c.Tenant("prod").View(s.Context())
		return err
	})
	s.do(err)
}

// says waits until the client says all the words of why it does not reach etcd.
func (s *secured) says(c *store.Client, words ...string) {
	s.Helper()
	_, err := lab.Eventually(time.Minute, func() error {
		_, err := c.Tenant("prod").View(s.Context())
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				return fmt.Errorf("got %q, want %q", fmt.Sprint(err), words)
			}
		}
		return nil
	})
	s.do(err)
}

func TestTLSFilesAreReadAtEachHandshake(t *testing.T) {
	faults := []struct {
		name  string
		wrong func(s *secured)
		words []string
		right func(s *secured)
	}{
		{
			"another authority", func(s *secured) { s.write("ca.pem", s.newAuthority().PEM) },
			[]string{"unknown authority", "put the certificate of its authority into ca_file"},
			func(s *secured) { s.write("ca.pem", s.authority.PEM) },
		},
		{
			"a file that is missing", func(s *secured) { s.do(os.Remove(s.file("ca.pem"))) },
			[]string{"ca.pem: no such file", "put it back"},
			func(s *secured) { s.write("ca.pem", s.authority.PEM) },
		},
		{
			"a server's certificate that has expired", func(s *secured) { s.issue("server", s.authority, -time.Minute, "127.0.0.1") },
			[]string{"has expired", "renew the certificate of the etcd server"},
			func(s *secured) { s.issue("server", s.authority, time.Hour, "127.0.0.1") },
		},
		{
			"a server's certificate for another name", func(s *secured) { s.issue("server", s.authority, time.Hour, "elsewhere.example") },
			[]string{"x509", "write endpoints with a name that the server's certificate has"},
			func(s *secured) { s.issue("server", s.authority, time.Hour, "127.0.0.1") },
		},
		{
			"a client's certificate that the server does not like", func(s *secured) { s.issue("client", s.newAuthority(), time.Hour) },
			[]string{"remote error", "renew cert_file"},
			func(s *secured) { s.issue("client", s.authority, time.Hour) },
		},
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s := secure(t)
			c := store.NewClient(s.config)
			defer c.Close()
			s.answers(c)
			f.wrong(s)
			s.forget()
			s.says(c, f.words...)
			f.right(s)
			s.answers(c)
		})
	}
}
