package config

import (
	"fmt"
	"net"
	"strings"
)

func (e *Etcd) relations() Faults {
	var faults Faults
	add := func(key, remedy, format string, args ...any) {
		faults = append(faults, faultsOf(key, fault(remedy, format, args...))...)
	}
	if len(e.Endpoints) == 0 {
		add("endpoints", `write at least one, such as "https://etcd-1:2379"`, "is empty")
	}
	plain, secure := withScheme(e.Endpoints, "http://"), withScheme(e.Endpoints, "https://")
	if plain != "" && secure != "" {
		add("endpoints", "use https for all, or http for all", "%s and %s mix http and https", clip(secure), clip(plain))
	}
	for _, pair := range []struct {
		key, value, other, otherValue string
	}{
		{"cert_file", e.CertFile, "key_file", e.KeyFile},
		{"key_file", e.KeyFile, "cert_file", e.CertFile},
		{"username", e.Username, "password_file", e.PasswordFile},
		{"password_file", e.PasswordFile, "username", e.Username},
	} {
		if pair.value == "" && pair.otherValue != "" {
			add(pair.key, "add "+pair.key+", or remove "+pair.other, "is missing, but %s is there", pair.other)
		}
	}
	return faults
}

// withScheme returns the first sound endpoint with that scheme, or "".
func withScheme(endpoints []string, scheme string) string {
	for _, e := range endpoints {
		if strings.HasPrefix(e, scheme) && endpoint(e) == nil {
			return e
		}
	}
	return ""
}

func (l *Log) relations() Faults { return nil }

func (h *HTTP) relations() Faults {
	if _, port, err := net.SplitHostPort(h.Agent); err != nil || h.Agent != h.Publisher || port == "0" {
		return nil
	}
	return faultsOf("agent", fault("give each daemon a port of its own", "%s is the publisher's address too", clip(h.Agent)))
}

// mostChannels is how many a tenant may have: every host gets all of them with every commit.
const mostChannels = 16

func (s *Source) relations() Faults {
	var faults Faults
	if len(s.Channels) > mostChannels {
		faults = faultsOf("channels", fault(fmt.Sprintf("write at most %d", mostChannels), "has %d names", len(s.Channels)))
	}
	if s.MaxDelay <= 0 || s.Settle <= s.MaxDelay {
		return faults
	}
	return append(faults, faultsOf("settle", fault(
		fmt.Sprintf("write settle = %q or less, or max_delay = %q or more", s.MaxDelay, s.Settle),
		"%s is longer than max_delay, which is %s", s.Settle, s.MaxDelay))...)
}

func (t *Target) relations() Faults {
	if t.Paths != nil && len(t.Paths) == 0 {
		return faultsOf("paths", fault(`leave paths out for everything, or write patterns such as "nginx/**"`, "is empty and selects nothing"))
	}
	if t.StripPrefix == "" || stripPrefix(t.StripPrefix) != nil {
		return nil
	}
	all := t.StripPrefix + "**"
	if t.Paths == nil {
		return faultsOf("strip_prefix", fault(fmt.Sprintf("add paths = [%q]", all),
			"paths selects everything, and files outside %s would have nowhere to go", clip(t.StripPrefix)))
	}
	var faults Faults
	for i, p := range t.Paths {
		if pathPattern(p) == nil && !strings.HasPrefix(literalHead(p), t.StripPrefix) {
			faults = append(faults, faultsOf(index("paths", i), fault(
				fmt.Sprintf("begin it with the prefix, as in %q, or give it a [[target]] of its own", all),
				"%s does not begin with strip_prefix %s, and its files would have nowhere to go", clip(p), clip(t.StripPrefix)))...)
		}
	}
	return faults
}
