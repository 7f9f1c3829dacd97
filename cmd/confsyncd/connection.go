package main

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"reflect"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/fleet"
	"github.com/confsyncd/confsyncd/internal/metrics"
	"github.com/confsyncd/confsyncd/internal/store"
)

// connection is what all services of a daemon share. With another one all of them are
// made anew.
type connection struct {
	// number tells it from the daemon's others.
	number   int
	settings shared
	log      hclog.Logger
	etcd     *store.Client
	metrics  *metrics.Metrics // the daemon's, whatever its connection

	mu        sync.Mutex // guards what follows
	reporters map[string]*fleet.Reporter
}

// shared are the settings that all services depend on.
type shared struct {
	etcd     config.Etcd
	log      config.Log
	host     config.Host
	stateDir string
	// files are the hashes of the password and the CA: whoever replaces them and asks for
	// a reload wants them to count now, not with the next refusal or connection.
	files [2][sha256.Size]byte
}

// connect returns the connection of a configuration: the one there is, if it is the
// same. It does not ask etcd yet.
func (a *app) connect(c *config.Config, before *connection) (*connection, error) {
	settings := shared{etcd: c.Etcd, log: c.Log, host: c.Host, stateDir: c.StateDir}
	for i, path := range []string{c.Etcd.PasswordFile, c.Etcd.CAFile} {
		if path == "" {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, configError{err}
		}
		settings.files[i] = sha256.Sum256(b)
	}
	number, figures := 1, (*metrics.Metrics)(nil)
	if before != nil {
		if reflect.DeepEqual(before.settings, settings) {
			return before, nil
		}
		number, figures = before.number+1, before.metrics
	}
	if figures == nil {
		figures = metrics.New(programVersion())
	}
	log, err := a.logger(c, true)
	if err != nil {
		return nil, configError{err}
	}
	return &connection{number: number, settings: settings, log: log, etcd: client(c, log), metrics: figures, reporters: make(map[string]*fleet.Reporter)}, nil
}

func (c *connection) close() error { return c.etcd.Close() }
