package config

import (
	"fmt"
	"path/filepath"
)

func (c *Config) relations() Faults {
	var faults Faults
	if _, written := c.lines["state_dir"]; written && c.StateDir == "" {
		faults = faultsOf("state_dir", directory(c.StateDir))
	}
	faults = append(faults, c.sharedTenants()...)
	faults = append(faults, c.publishedState()...)
	faults = append(faults, c.nestedTargets()...)
	return append(faults, c.loops()...)
}

// sharedTenants finds sources that publish one tenant twice.
func (c *Config) sharedTenants() Faults {
	var faults Faults
	first := map[string]string{}
	for i, s := range c.Sources {
		at := index("source", i)
		switch other := first[s.Tenant]; {
		case s.Tenant == "":
		case other == "":
			first[s.Tenant] = at
		default:
			faults = append(faults, faultsOf(at+".tenant", fault("keep one source for each tenant",
				"%s already is the tenant of %s", clip(s.Tenant), c.named(other)))...)
		}
	}
	return faults
}

// publishedState finds sources that hold the state directory: each commit
// would be a change to publish.
func (c *Config) publishedState() Faults {
	var faults Faults
	for i, s := range c.Sources {
		own := places{{dir: s.Dir}: index("source", i)}
		if own.around(place{dir: cleanDir(c.StateDir)}, "") != "" {
			faults = append(faults, faultsOf(index("source", i)+".dir", fault("set state_dir to a directory outside of it",
				"%s holds state_dir %s, and each commit would be a change to publish", clip(s.Dir), clip(c.StateDir)))...)
		}
	}
	return faults
}

// nestedTargets finds targets that are or lie in another one, of any tenant.
func (c *Config) nestedTargets() Faults {
	const remedy = "give each target a directory of its own, none inside another"
	all := places{}
	for i, t := range c.Targets {
		all.add(place{dir: t.Dir}, index("target", i))
	}
	var faults Faults
	for i, t := range c.Targets {
		at := index("target", i)
		other := all.around(place{dir: t.Dir}, at)
		if other == "" {
			continue
		}
		how := "lies in the directory of"
		if all[place{dir: t.Dir}] == other {
			how = "already is the directory of"
		}
		faults = append(faults, faultsOf(at+".dir", fault(remedy, "%s %s %s", clip(t.Dir), how, c.named(other)))...)
	}
	return faults
}

// loops finds sources and targets of one tenant that feed each other.
func (c *Config) loops() Faults {
	const remedy = "keep what is published and what is written apart"
	sources, targets := places{}, places{}
	for i, s := range c.Sources {
		sources.add(place{s.Tenant, s.Dir}, index("source", i))
	}
	for i, t := range c.Targets {
		targets.add(place{t.Tenant, t.Dir}, index("target", i))
	}
	var faults Faults
	for i, t := range c.Targets {
		if source := sources.around(place{t.Tenant, t.Dir}, ""); source != "" {
			faults = append(faults, faultsOf(index("target", i)+".dir", fault(remedy,
				"%s is or lies in the directory of %s, which publishes the same tenant", clip(t.Dir), c.named(source)))...)
		}
	}
	for i, s := range c.Sources {
		here := place{s.Tenant, s.Dir}
		if target := targets.around(here, ""); target != "" && targets[here] == "" {
			faults = append(faults, faultsOf(index("source", i)+".dir", fault(remedy,
				"%s lies in the directory of %s, which receives the same tenant", clip(s.Dir), c.named(target)))...)
		}
	}
	return faults
}

// named returns a section's name for a message, with its line if it has one.
func (c *Config) named(at string) string {
	if line := c.line(at); line > 0 {
		return fmt.Sprintf("%s (line %d)", at, line)
	}
	return at
}

// place is a directory, of one tenant or (empty) of any.
type place struct{ tenant, dir string }

// places holds the name of the first section at each place.
type places map[place]string

// add leaves out directories that are faults of their own.
func (ps places) add(p place, name string) {
	if directory(p.dir) == nil && ps[p] == "" {
		ps[p] = name
	}
}

// around returns the section, other than self, whose directory is or holds p.
func (ps places) around(p place, self string) string {
	if directory(p.dir) != nil {
		return ""
	}
	for ; p.dir != "/"; p.dir = filepath.Dir(p.dir) {
		if name := ps[p]; name != "" && name != self {
			return name
		}
	}
	return ""
}
