package config

import (
	"strings"
	"time"
)

// Host says what this host tells of itself.
type Host struct {
	ID       string // empty: the caller takes the host name
	Labels   map[string]string
	Report   bool          // to other hosts, through etcd
	AliveTTL time.Duration // for how long it counts as up without a sign of life
}

func (h *Host) keys() []key {
	return []key{
		{"id", text(&h.ID, optional(hostName))},
		{"labels", pairs(&h.Labels, hostLabel)},
		{"report", boolean(&h.Report)},
		{"alive_ttl", duration(&h.AliveTTL, leaseTime)},
	}
}

func (h *Host) relations() Faults { return nil }

// hostName is the rule of an id, which is a part of keys in etcd.
func hostName(s string) error {
	if strings.Contains(s, "/") || printable(s) != nil {
		return fault(`write a name such as "web-1.example.com"`, "%s is no id of a host", clip(s))
	}
	return nil
}
