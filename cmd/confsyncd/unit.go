package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/confsyncd/confsyncd/internal/config"
)

// sandbox is what a unit must be allowed beyond its file: a drop-in.
type sandbox struct {
	unit      string   // its name
	writes    []string // directories that the daemon writes, besides its own
	reads     []string // directories that it only reads
	stateDir  string
	treeModes bool // some target switches as a whole
}

// packagedStateDir is what the units make and may write.
const packagedStateDir = "/var/lib/confsyncd"

// sandboxOf returns what the unit of a kind, "agent" or "publisher", needs.
func sandboxOf(kind string, c *config.Config) (sandbox, error) {
	s := sandbox{unit: "confsyncd-" + kind + ".service", stateDir: c.StateDir}
	switch kind {
	case "agent":
		for _, t := range c.Targets {
			s.writes = append(s.writes, writable(t))
			s.treeModes = s.treeModes || t.Mode == "tree"
		}
	case "publisher":
		for _, source := range c.Sources {
			s.reads = append(s.reads, source.Dir)
		}
	default:
		return s, usage("--unit %s: use agent or publisher", kind)
	}
	return s, nil
}

// writable returns the directory that the agent must be able to write for a target: in
// tree mode the target itself is exchanged in its parent.
func writable(t config.Target) string {
	if t.Mode == "tree" {
		return filepath.Dir(t.Dir)
	}
	return t.Dir
}

// dropIn returns the drop-in's text. Directories that are missing at the start are no
// fault of the unit (the "-"): the daemon says so itself.
func (s sandbox) dropIn() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# For /etc/systemd/system/%s.d/directories.conf, then \"systemctl daemon-reload\"\n# and a restart. Print it again when directories in the configuration change.\n", s.unit)
	writes := slices.Clone(s.writes)
	if s.stateDir != packagedStateDir {
		writes = append(writes, s.stateDir)
	}
	all := distinct(append(slices.Clone(writes), s.reads...))
	if len(all) > 0 {
		b.WriteString("[Unit]\n")
	}
	for _, dir := range all {
		fmt.Fprintf(&b, "RequiresMountsFor=%s\n", unitPath(dir))
	}
	b.WriteString("\n[Service]\n")
	if s.treeModes {
		b.WriteString("# The parents, since mode = \"tree\" exchanges the whole directory.\n")
	}
	for _, dir := range distinct(writes) {
		fmt.Fprintf(&b, "ReadWritePaths=%s\n", unitPath("-"+dir))
	}
	if slices.ContainsFunc(all, within("/home", "/root", "/run/user")) {
		b.WriteString("ProtectHome=read-only\n")
	}
	if slices.ContainsFunc(all, within("/tmp", "/var/tmp")) {
		b.WriteString("PrivateTmp=no\n")
	}
	return b.String()
}

func distinct(dirs []string) []string {
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// within reports whether a directory is one of the tops, or below one.
func within(tops ...string) func(dir string) bool {
	return func(dir string) bool {
		return slices.ContainsFunc(tops, func(top string) bool { return dir == top || strings.HasPrefix(dir, top+"/") })
	}
}

// unitPath writes a path as unit files want it: see systemd.syntax(7) on quoting, and
// systemd.unit(5) on "%".
func unitPath(path string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("/._-+,=@:", r)
	}
	if strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(path) {
		switch c := path[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '%':
			b.WriteString("%%")
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// unlisted returns the targets' directories that none of the listed ones covers.
func (s sandbox) unlisted(listed []string) []string {
	var missing []string
	for _, dir := range distinct(slices.Clone(s.writes)) {
		if !slices.ContainsFunc(listed, func(top string) bool { return top == "/" || within(top)(dir) }) {
			missing = append(missing, dir)
		}
	}
	return missing
}
