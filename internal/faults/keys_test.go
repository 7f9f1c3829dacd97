//go:build faults

package faults

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// loopback is where all servers are.
const loopback = "127.0.0.1"

// Keys are the certificates of a World whose etcd speaks TLS. Each party has a directory
// of its own with ca.pem, cert.pem and key.pem: "server", "lab", and the hosts by name.
type Keys struct {
	w         *World
	dir       string
	Authority *lab.Authority
}

func newKeys(w *World) *Keys {
	w.Helper()
	k := &Keys{w: w, dir: w.TempDir()}
	k.Authority = k.authority("ca")
	for _, party := range []string{"server", "lab"} {
		k.trust(party, k.Authority)
		k.issue(party, k.Authority, loopback, time.Now().Add(12*time.Hour))
	}
	return k
}

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

// issue gives a party a certificate in place of the one that it has.
func (k *Keys) issue(party string, by *lab.Authority, host string, end time.Time) {
	k.w.Helper()
	k.w.do(by.Issue(k.file(party, "cert.pem"), k.file(party, "key.pem"), host, end))
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
	k.issue(party, k.Authority, loopback, time.Now().Add(12*time.Hour))
	k.w.Configure(h, fmt.Sprintf("[etcd]\nca_file = %q\ncert_file = %q\nkey_file = %q\n",
		k.file(party, "ca.pem"), k.file(party, "cert.pem"), k.file(party, "key.pem")))
}
