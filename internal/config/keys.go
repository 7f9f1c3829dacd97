package config

import "time"

// section is a table of the file: its keys, and the rules between them.
type section interface {
	// keys lists the known keys, each bound to its field.
	keys() []key
	// relations returns the faults that no key has alone. Fields that could
	// not be read are empty, and must not lead to faults of other keys.
	relations() Faults
}

// key is a known key of a section.
type key struct {
	name string
	cell
}

func (c *Config) keys() []key {
	return []key{
		{"state_dir", text(&c.StateDir, optional(directory))},
		{"etcd", table(&c.Etcd)},
		{"log", table(&c.Log)},
		{"http", table(&c.HTTP)},
		{"host", table(&c.Host)},
		{"source", tables(&c.Sources, DefaultSource)},
		{"target", tables(&c.Targets, DefaultTarget)},
	}
}

func (e *Etcd) keys() []key {
	return []key{
		{"endpoints", list(&e.Endpoints, endpoint)},
		{"prefix", text(&e.Prefix, keyPrefix)},
		{"ca_file", text(&e.CAFile, optional(absoluteFile))},
		{"cert_file", text(&e.CertFile, optional(absoluteFile))},
		{"key_file", text(&e.KeyFile, optional(absoluteFile))},
		{"username", text(&e.Username, optional(userName))},
		{"password_file", text(&e.PasswordFile, optional(secretFile))},
	}
}

func (l *Log) keys() []key {
	return []key{
		{"level", text(&l.Level, oneOf("trace", "debug", "info", "warn", "error"))},
		{"format", text(&l.Format, oneOf("auto", "text", "json"))},
	}
}

func (h *HTTP) keys() []key {
	return []key{
		{"publisher", text(&h.Publisher, optional(listenAddress))},
		{"agent", text(&h.Agent, optional(listenAddress))},
		{"pprof", boolean(&h.Pprof)},
	}
}

func (s *Source) keys() []key {
	return []key{
		{"tenant", text(&s.Tenant, TenantName)},
		{"dir", text(&s.Dir, directory)},
		{"publisher", text(&s.Publisher, optional(printable))},
		{"settle", duration(&s.Settle, atLeast(0))},
		{"max_delay", duration(&s.MaxDelay, atLeast(time.Millisecond))},
		{"rescan", duration(&s.Rescan, atLeast(time.Second))},
		{"busy_files", list(&s.BusyFiles, relativePath)},
		{"ignore", list(&s.Ignore, ignorePattern)},
		{"symlinks", text(&s.Symlinks, oneOf("preserve", "refuse"))},
		{"file_mode", text(&s.FileMode, oneOf("git", ""))},
		{"max_file_size", size(&s.MaxFileSize, fileSize)},
		{"max_delete", percent(&s.MaxDelete, share)},
		{"standby", text(&s.Standby, oneOf("shared", "copy", ""))},
		{"standby_ttl", duration(&s.StandbyTTL, leaseTime)},
		{"retain_generations", whole(&s.RetainGenerations, generations)},
		{"retain_age", duration(&s.RetainAge, atLeast(0))},
		{"sweep", duration(&s.Sweep, sweepTime)},
		{"channels", list(&s.Channels, channelName)},
		{"rollout", maybe(&s.Rollout, DefaultRollout)},
	}
}

func (t *Target) keys() []key {
	return []key{
		{"tenant", text(&t.Tenant, TenantName)},
		{"dir", text(&t.Dir, directory)},
		{"paths", list(&t.Paths, pathPattern)},
		{"strip_prefix", text(&t.StripPrefix, optional(stripPrefix))},
		{"mode", text(&t.Mode, oneOf("files", "tree"))},
		{"existing", text(&t.Existing, oneOf("refuse", "replace"))},
		{"owner", text(&t.Owner, optional(printable))},
		{"group", text(&t.Group, optional(printable))},
		{"file_mode", mode(&t.FileMode, permissions)},
		{"drift", text(&t.Drift, oneOf("repair", "report"))},
		{"channel", text(&t.Channel, channelName)},
		{"hooks", table(&t.Hooks)},
	}
}

func (h *Hooks) keys() []key {
	return []key{
		{"check", list(&h.Check, argument)},
		{"check_timeout", duration(&h.CheckTimeout, atLeast(time.Millisecond))},
		{"reload", list(&h.Reload, argument)},
		{"reload_timeout", duration(&h.ReloadTimeout, atLeast(time.Millisecond))},
		{"reload_paths", list(&h.ReloadPaths, pathPattern)},
		{"min_interval", duration(&h.MinInterval, atLeast(0))},
		{"splay", duration(&h.Splay, atLeast(0))},
		{"health", list(&h.Health, argument)},
		{"health_timeout", duration(&h.HealthTimeout, atLeast(time.Millisecond))},
		{"on_failure", text(&h.OnFailure, oneOf("revert", "keep"))},
	}
}
