package main

import (
	"cmp"
	"os"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/fleet"
)

// hostID returns the id that this host goes by.
func hostID(c *config.Config) string {
	name, _ := os.Hostname() // without one it has an id that others may have too, and that is told
	return cmp.Or(c.Host.ID, name, "localhost")
}

// reporter returns what tells of all targets of a tenant that this daemon looks after.
func (c *connection) reporter(tenant string) *fleet.Reporter {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.reporters[tenant]; r != nil {
		return r
	}
	host := c.settings.host
	name, _ := os.Hostname() // only told
	r := fleet.NewReporter(fleet.Options{
		Off: !host.Report, Tenant: tenant, Store: c.etcd.Tenant(tenant), ID: hostID(&config.Config{Host: host}), Labels: host.Labels, Name: name,
		TTL: host.AliveTTL, Version: programVersion(), StateDir: c.settings.stateDir, Log: c.log,
	})
	c.reporters[tenant] = r
	return r
}

// sign returns the sign of life of a publisher of a tenant.
func (c *connection) sign(tenant string) *fleet.Sign {
	host := c.settings.host
	name, _ := os.Hostname() // only told
	return fleet.NewSign(fleet.Options{Off: !host.Report, Tenant: tenant, Store: c.etcd.Tenant(tenant), Name: name, TTL: host.AliveTTL, Log: c.log})
}

// hostTarget is what is told of a target.
func hostTarget(t config.Target, s agent.Status) codec.HostTarget {
	h := codec.HostTarget{
		Dir: t.Dir, Channel: t.Channel, State: cmp.Or(s.State, "begins"), Reason: s.Reason,
		Seen: s.Seen, Applied: s.Applied, Reloaded: s.Reloaded, Quarantined: s.Quarantined, Hook: s.Hook, Drift: s.Drift,
	}
	if !s.Position.IsZero() {
		h.TenantID = s.Position.Tenant.String()
	}
	return h
}
