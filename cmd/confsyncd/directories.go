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
	var chosen []config.Source
	for _, s := range c.Sources {
		if (!a.given("tenant") || s.Tenant == a.tenant) && (o.dir == "" || s.Dir == o.dir) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 && o.dir != "" && a.given("tenant") {
		s := config.DefaultSource()
		s.Tenant, s.Dir = a.tenant, o.dir
		chosen = append(chosen, s)
	}
	if len(chosen) == 0 {
		return nil, a.nothingChosen("source", len(c.Sources) > 0, o.dir)
	}
	for i := range chosen {
		s := &chosen[i]
		if err := o.apply(s); err != nil {
			return nil, err
		}
		if s.Publisher == "" {
			host, err := os.Hostname()
			if err != nil {
				return nil, fmt.Errorf("host name: %w; give --publisher", err)
			}
			s.Publisher = host
		}
	}
	whole := config.Config{StateDir: c.StateDir, Etcd: c.Etcd, Log: c.Log, Sources: chosen, Targets: c.Targets}
	return chosen, asFlags(whole.Check())
}

// targets returns what to write: the configuration's targets, or the one that the
// flags name.
func (a *app) targets(c *config.Config, o *overrides[config.Target]) ([]config.Target, error) {
	var chosen []config.Target
	for _, t := range c.Targets {
		if (!a.given("tenant") || t.Tenant == a.tenant) && (o.dir == "" || t.Dir == o.dir) {
			chosen = append(chosen, t)
		}
	}
	if len(chosen) == 0 && o.dir != "" && a.given("tenant") {
		t := config.DefaultTarget()
		t.Tenant, t.Dir = a.tenant, o.dir
		chosen = append(chosen, t)
	}
	if len(chosen) == 0 {
		return nil, a.nothingChosen("target", len(c.Targets) > 0, o.dir)
	}
	for i := range chosen {
		if err := o.apply(&chosen[i]); err != nil {
			return nil, err
		}
	}
	whole := config.Config{StateDir: c.StateDir, Etcd: c.Etcd, Log: c.Log, Sources: c.Sources, Targets: chosen}
	return chosen, asFlags(append(whole.Check(), whole.CheckFiles()...))
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
	return usage("no %s is known: give %s, or write a [[%s]] into %s", section, strings.Join(missing, " and "), section, a.configPath)
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
