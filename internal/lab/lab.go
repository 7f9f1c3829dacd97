package lab

import (
	"os"
	"path/filepath"
	"testing"
)

// Lab is an etcd, and hosts around it.
type Lab struct {
	Dir     string // holds all of the hosts
	Config  string // an empty file: nothing that this machine's own says gets in
	Program string // path of the confsyncd that is tested
	Etcd    *Etcd
}

// New makes a lab with an etcd and no hosts, which ends with the test.
func New(t testing.TB, program string, etcd *Etcd) *Lab {
	t.Helper()
	l := &Lab{Dir: t.TempDir(), Program: program, Etcd: etcd}
	l.Config = filepath.Join(l.Dir, "confsyncd.toml")
	if err := os.WriteFile(l.Config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return l
}
