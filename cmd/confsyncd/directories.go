package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/confsyncd/confsyncd/internal/config"
)

// sources returns what to publish: the configuration's sources, or the one that the
// flags name.
func (a *app) sources(c *config.Config, o *overrides[config.Source]) ([]config.Source, error) {
	chosen, err := choose(a, "source", c.Sources, config.DefaultSource(), o, func(s *config.Source) (tenant, dir *string) {
		return &s.Tenant, &s.Dir
	})
	if err != nil {
		return nil, err
	}
	for i := range chosen {
		if chosen[i].Publisher != "" {
			continue
		}
		if chosen[i].Publisher, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("host name: %w; give --publisher", err)
		}
	}
	whole := config.Config{StateDir: c.StateDir, Etcd: c.Etcd, Log: c.Log, Host: c.Host, Sources: chosen, Targets: c.Targets}
	return chosen, asFlags(whole.Check())
}

// targets returns what to write: the configuration's targets, or the one that the
// flags name.
func (a *app) targets(c *config.Config, o *overrides[config.Target]) ([]config.Target, error) {
	chosen, err := choose(a, "target", c.Targets, config.DefaultTarget(), o, func(t *config.Target) (tenant, dir *string) {
		return &t.Tenant, &t.Dir
	})
	if err != nil {
		return nil, err
	}
	whole := config.Config{StateDir: c.StateDir, Etcd: c.Etcd, Log: c.Log, Host: c.Host, Sources: c.Sources, Targets: chosen}
	return chosen, asFlags(append(whole.Check(), whole.CheckFiles()...))
}

// choose returns those of the configured that --tenant and --dir mean, or else a fresh
// one with both, with the other flags laid over. key returns what tells one from another.
func choose[T any](a *app, section string, configured []T, fresh T, o *overrides[T], key func(*T) (tenant, dir *string)) ([]T, error) {
	var chosen []T
	for _, t := range configured {
		tenant, dir := key(&t)
		if (!a.given("tenant") || *tenant == a.tenant) && (o.dir == "" || *dir == o.dir) {
			chosen = append(chosen, t)
		}
	}
	if len(chosen) == 0 {
		if o.dir == "" || !a.given("tenant") {
			return nil, a.nothingChosen(section, len(configured) > 0, o.dir)
		}
		tenant, dir := key(&fresh)
		*tenant, *dir = a.tenant, o.dir
		chosen = append(chosen, fresh)
	}
	for i := range chosen {
		if err := o.apply(&chosen[i]); err != nil {
			return nil, err
		}
	}
	return chosen, nil
}

// nothingChosen says why no source or target is meant by the command line.
func (a *app) nothingChosen(section string, configured bool, dir string) error {
	var has, missing []string
	if a.given("tenant") {
		has = append(has, fmt.Sprintf("tenant %q", a.tenant))
	} else {
		missing = append(missing, "--tenant")
	}
	if dir != "" {
		has = append(has, fmt.Sprintf("dir %q", dir))
	} else {
		missing = append(missing, "--dir")
	}
	if configured {
		return usage("no [[%s]] in %s has %s; give both --tenant and --dir for one that is not in the file",
			section, a.configPath, strings.Join(has, " and "))
	}
	err := fmt.Errorf("no %s is known: give %s, or write a [[%s]] into %s", section, strings.Join(missing, " and "), section, a.configPath)
	if len(has) == 0 {
		return configError{err} // all was left to the configuration
	}
	return usageError{err}
}

// asFlags returns faults as wrong use of the flags that they come from, nil if there
// are none: the configuration file was checked before.
func asFlags(faults config.Faults) error {
	if len(faults) == 0 {
		return nil
	}
	for i := range faults {
		key := faults[i].Key[strings.LastIndexByte(faults[i].Key, '.')+1:]
		key, _, _ = strings.Cut(key, "[")
		faults[i].Key = "--" + strings.ReplaceAll(key, "_", "-")
	}
	return usageError{faults}
}
