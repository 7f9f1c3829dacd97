package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/confsyncd/confsyncd/internal/config"
)

// given reports whether a global flag was given, or set in the environment.
func (a *app) given(name string) bool { return a.flags.Changed(name) }

// load reads the configuration file and lays the global flags over it. Without
// --config a missing file is an empty one. The error is a configError if the file has
// faults, a usageError if a flag or the environment brought them.
func (a *app) load() (*config.Config, error) {
	c, err := config.Load(a.configPath)
	switch {
	case errors.Is(err, fs.ErrNotExist) && a.given("config"):
		return nil, missingConfig(a.configPath)
	case errors.Is(err, fs.ErrNotExist):
		c = config.Default()
	case err != nil:
		return nil, configError{err}
	}
	overlays := a.overlays(c)
	for _, o := range overlays {
		if o.field != nil && a.given(o.flag) {
			*o.field = a.flags.Lookup(o.flag).Value.String()
		}
	}
	if a.given("endpoints") {
		c.Etcd.Endpoints = strings.Split(a.endpoints, ",")
	}
	if a.given("state-dir") {
		if c.StateDir, err = absolute(a.stateDir); err != nil {
			return nil, usage("%s: %w", a.source("state-dir"), err)
		}
	}
	if c.StateDir == "" {
		return nil, configError{errors.New("state_dir: neither $XDG_STATE_HOME nor the home directory is known; give --state-dir")}
	}
	// The file alone has no faults: these came over it.
	if faults := c.Check(); len(faults) > 0 {
		return nil, usageError{a.named(faults, overlays)}
	}
	if faults := c.CheckFiles(); len(faults) > 0 {
		return nil, configError{fmt.Errorf("%s:\n%w", a.configPath, a.named(faults, overlays))}
	}
	return c, nil
}

func missingConfig(path string) error {
	return configError{fmt.Errorf("there is no configuration file %s; write it, or name another with --config", path)}
}

// overlay is a key of the configuration file that a global flag replaces.
type overlay struct {
	flag, key string
	field     *string // nil where it is not just text
}

func (a *app) overlays(c *config.Config) []overlay {
	return []overlay{
		{"endpoints", "etcd.endpoints", nil},
		{"state-dir", "state_dir", nil},
		{"cacert", "etcd.ca_file", &c.Etcd.CAFile},
		{"cert", "etcd.cert_file", &c.Etcd.CertFile},
		{"key", "etcd.key_file", &c.Etcd.KeyFile},
		{"user", "etcd.username", &c.Etcd.Username},
		{"prefix", "etcd.prefix", &c.Etcd.Prefix},
		{"log-level", "log.level", &c.Log.Level},
		{"log-format", "log.format", &c.Log.Format},
	}
}

// named makes faults name the flag or the environment variable that the value came
// from, instead of the key that it replaced.
func (a *app) named(faults config.Faults, overlays []overlay) config.Faults {
	for i, f := range faults {
		key, _, _ := strings.Cut(f.Key, "[")
		for _, o := range overlays {
			if o.key == key && a.given(o.flag) {
				faults[i].Key, faults[i].Line = a.source(o.flag), 0
			}
		}
	}
	return faults
}

// source returns where a global flag's value came from: the flag, or the environment.
func (a *app) source(flag string) string {
	if name := a.origin[flag]; name != "" {
		return name
	}
	return "--" + flag
}
