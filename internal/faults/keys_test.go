//go:build faults

package faults

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// Keys are the certificates of a World whose etcd speaks TLS. Each party has a directory
// of its own with ca.pem, cert.pem and key.pem: "server", "lab", and the hosts by name.
type Keys struct {
	w         *World
	dir       string
	hosts     []string // where the servers and the ways to them are
	Authority *lab.Authority
}

func newKeys(w *World) *Keys {
	w.Helper()
	k := &Keys{w: w, dir: w.TempDir()}
	k.Authority = k.authority("ca")
	for _, party := range []string{"server", "lab"} {
		k.trust(party, k.Authority)
		k.issue(party, k.Authority, tomorrow())
	}
	return k
}

// serve gives the servers of a cluster that is not started their certificate.
func (k *Keys) serve(c *lab.Cluster) {
	k.w.Helper()
	k.hosts = []string{"127.0.0.1"} // of proxies
	for _, m := range c.Members {
		host, _, err := net.SplitHostPort(m.Address)
		k.w.do(err)
		k.hosts = append(k.hosts, host)
	}
	k.issue("server", k.Authority, tomorrow())
}

func tomorrow() time.Time { return time.Now().Add(24 * time.Hour) }

// authority makes an authority.
func (k *Keys) authority(name string) *lab.Authority {
	k.w.Helper()
	a, err := lab.NewAuthority(name)
	k.w.do(err)
	return a
}

func (k *Keys) file(party, name string) string { return filepath.Join(k.dir, party, name) }

// trust lets a party trust authorities.
func (k *Keys) trust(party string, authorities ...*lab.Authority) {
	k.w.Helper()
	var pem []byte
	for _, a := range authorities {
		pem = append(pem, a.PEM...)
	}
	k.w.do(os.MkdirAll(filepath.Join(k.dir, party), 0o700))
	k.w.do(lab.Place(k.file(party, "ca.pem"), pem))
}

// distrust takes away what a party trusts.
func (k *Keys) distrust(party string) {
	k.w.Helper()
	k.w.do(os.Remove(k.file(party, "ca.pem")))
}

// issue gives a party a certificate in place of the one that it has: for all hosts, unless
// some are named.
func (k *Keys) issue(party string, by *lab.Authority, end time.Time, hosts ...string) {
	k.w.Helper()
	if hosts == nil {
		hosts = k.hosts
	}
	k.w.do(by.Issue(k.file(party, "cert.pem"), k.file(party, "key.pem"), end, hosts...))
}

// server are the flags of etcd's server.
func (k *Keys) server() []string {
	return []string{
		"--cert-file", k.file("server", "cert.pem"), "--key-file", k.file("server", "key.pem"),
		"--trusted-ca-file", k.file("server", "ca.pem"), "--client-cert-auth",
	}
}

// client is what a party in this process speaks with.
func (k *Keys) client(party string) *tls.Config {
	k.w.Helper()
	pem, err := os.ReadFile(k.file(party, "ca.pem"))
	k.w.do(err)
	pair, err := tls.LoadX509KeyPair(k.file(party, "cert.pem"), k.file(party, "key.pem"))
	k.w.do(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

// equip gives a host certificates, and a configuration that names them.
func (k *Keys) equip(h *lab.Host, party string) {
	k.w.Helper()
	k.trust(party, k.Authority)
	k.issue(party, k.Authority, tomorrow())
	k.w.Configure(h, fmt.Sprintf("[etcd]\nca_file = %q\ncert_file = %q\nkey_file = %q\n",
		k.file(party, "ca.pem"), k.file(party, "cert.pem"), k.file(party, "key.pem")))
}
