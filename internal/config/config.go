// Package config reads the configuration of confsyncd: one TOML file.
//
// It promises that every fault of a file is reported at once, each with its
// line, key and remedy; that a key it does not know is a fault; and that the
// value of a password-like key never appears in a report.
//
// Two caveats. After a TOML syntax error the rest of the file cannot be read,
// so that fault is reported alone. Directories are compared by their names:
// that two names lead to one directory through a symlink is not seen here.
package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// maxFile bounds the configuration file, in bytes: a wrong path (a device, a
// log) is not read to its end, and go-toml, whose time grows with the square of
// the number of keys, is done within about a second.
const maxFile = 256 << 10

// Config is one configuration, complete with defaults.
type Config struct {
	StateDir string // absolute; empty only if Default knows none
	Etcd     Etcd
	Log      Log
	HTTP     HTTP
	Host     Host
	Sources  []Source
	Targets  []Target

	// lines holds the line of every key of the file by its full name
	// ("source[0].settle"); nil if there was no file.
	lines map[string]int
}

// Etcd says how etcd is reached. Files are absolute paths, or empty.
type Etcd struct {
	Endpoints    []string // URLs with scheme, host and port; all http or all https
	Prefix       string   // begins with "/", no trailing slash
	CAFile       string
	CertFile     string
	KeyFile      string
	Username     string
	PasswordFile string
}

// Log says what is logged, and how.
type Log struct {
	Level  string // "trace", "debug", "info", "warn" or "error"
	Format string // "auto", "text" or "json"
}

// HTTP says where daemons answer for monitoring.
type HTTP struct {
	Publisher string // host and port of "publish"; empty: it does not answer
	Agent     string // of "agent"
	Pprof     bool   // profiles are given, too
}

// Source is one directory that is published.
type Source struct {
	Tenant      string
	Dir         string // absolute and clean
	Publisher   string // empty: the caller takes the host name
	Settle      time.Duration
	MaxDelay    time.Duration
	Rescan      time.Duration
	BusyFiles   []string // relative paths
	Ignore      []string // patterns
	Symlinks    string   // "preserve" or "refuse"
	FileMode    string   // "git", or empty: as found
	MaxFileSize int64    // bytes
	MaxDelete   float64  // share of the tree, 0 to 1
	Standby     string   // "shared", "copy", or empty: without an election
	StandbyTTL  time.Duration
	Channels    []string // that its commits advance
	Rollout     *Rollout // nil: channels advance at once
	// What is kept of the history: so many generations, and those that are younger.
	RetainGenerations int
	RetainAge         time.Duration
	Sweep             time.Duration // how often the rest is removed; 0: never

	Line int // of its [[source]] header; 0 if from flags
}

// Target is one directory that is kept equal to a tenant's tree.
type Target struct {
	Tenant      string
	Dir         string   // absolute and clean
	Paths       []string // patterns; nil selects everything
	StripPrefix string   // relative directory with one trailing slash, or empty
	Mode        string   // "files" or "tree"
	Existing    string   // "refuse" or "replace"
	Owner       string   // name or number; empty: who runs the agent
	Group       string   // name or number; empty: who runs the agent
	FileMode    *uint32  // permission bits; nil: as published
	Drift       string   // "repair" or "report"
	Channel     string   // that it follows
	Hooks       Hooks

	Line int // of its [[target]] header; 0 if from flags
}

// Hooks are the programs that a target's agent runs: lists of arguments, without a shell.
// The first is an absolute path, or a name. Nil runs nothing.
type Hooks struct {
	Check         []string
	CheckTimeout  time.Duration
	Reload        []string
	ReloadTimeout time.Duration
	ReloadPaths   []string // patterns, of paths in the target
	MinInterval   time.Duration
	Splay         time.Duration
	Health        []string
	HealthTimeout time.Duration
	OnFailure     string // "revert" or "keep"
}

// Default returns the configuration of an empty file: no sources, no targets.
// StateDir is empty if neither $XDG_STATE_HOME nor the home directory is known;
// that is no fault, as a flag may name it and not every command needs it.
func Default() *Config {
	return &Config{
		StateDir: defaultStateDir(),
		Etcd: Etcd{
			Endpoints: []string{"http://127.0.0.1:2379"},
			Prefix:    "/confsyncd",
		},
		Log:  Log{Level: "info", Format: "auto"},
		Host: Host{Report: true, AliveTTL: time.Minute},
	}
}

// DefaultSource returns a source that lacks only its tenant, directory and publisher.
func DefaultSource() Source {
	return Source{
		Settle:      50 * time.Millisecond,
		MaxDelay:    2 * time.Second,
		Rescan:      time.Minute,
		BusyFiles:   []string{".confsyncd-hold", ".git/index.lock"},
		Ignore:      []string{".git/", "*~", ".*.sw?", "4913", ".#*", "#*#"},
		Symlinks:    "preserve",
		MaxFileSize: 16 << 20,
		MaxDelete:   0.5,
		StandbyTTL:  10 * time.Second,
		Channels:    []string{"main"},

		RetainGenerations: 1000,
		RetainAge:         24 * time.Hour,
		Sweep:             10 * time.Minute,
	}
}

// DefaultTarget returns a target that lacks only its tenant and directory.
func DefaultTarget() Target {
	return Target{
		Mode: "files", Existing: "refuse", Drift: "repair", Channel: "main",
		Hooks: Hooks{CheckTimeout: 30 * time.Second, ReloadTimeout: 30 * time.Second, ReloadPaths: allPaths(), HealthTimeout: 10 * time.Second, OnFailure: "revert"},
	}
}

// defaultStateDir follows the XDG Base Directory Specification for ordinary
// users; it has relative values of $XDG_STATE_HOME ignored.
func defaultStateDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/confsyncd"
	}
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "confsyncd")
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return ""
	}
	return filepath.Join(home, ".local/state/confsyncd")
}

// Load reads and checks the file at path. The error wraps Faults, or an
// fs error such as fs.ErrNotExist, and names the path.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close() //nolint:errcheck // Nothing was written.
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c, faults := parse(data)
	if len(faults) > 0 {
		if c != nil {
			// All at once. Without other faults the caller looks, once flags are laid over.
			faults = append(faults, c.CheckFiles()...).sorted()
		}
		return nil, fmt.Errorf("%s:\n%w", path, faults)
	}
	return c, nil
}

// Parse reads and checks the text of a configuration file. It looks at
// nothing but the text, and at the environment for the default state
// directory; CheckFiles looks at the disk. The error is of type Faults.
func Parse(data []byte) (*Config, error) {
	c, faults := parse(data)
	if len(faults) > 0 {
		return nil, faults
	}
	return c, nil
}

// parse is Parse. With faults the configuration, if there is any, lacks the values
// that they are about.
func parse(data []byte) (*Config, Faults) {
	if len(data) > maxFile {
		return nil, Faults{{Problem: "the file is larger than 256 KiB", Remedy: "name a confsyncd configuration file"}}
	}
	doc, faults := parseDocument(data)
	if doc == nil {
		return nil, faults
	}
	c := Default()
	r := newReader()
	r.section(doc, c)
	c.lines = r.lines
	for i := range c.Sources {
		c.Sources[i].Line = c.line(index("source", i))
	}
	for i := range c.Targets {
		c.Targets[i].Line = c.line(index("target", i))
	}
	faults = append(faults, r.faults...)
	faults = append(faults, r.withoutRejected(c.Check())...)
	faults = append(faults, missedByUs(data, faults)...)
	return c, faults.sorted()
}

// Check returns every fault of the configuration's values, and nil if there is
// none; it brings directories and prefixes to their normal form. Call it again
// after flags or the environment have replaced values of a file. A replaced
// value is still reported at the line that its key has in the file.
func (c *Config) Check() Faults {
	c.StateDir = cleanDir(c.StateDir)
	c.HTTP.normalise()
	for i := range c.Sources {
		c.Sources[i].normalise()
	}
	for i := range c.Targets {
		c.Targets[i].normalise()
	}
	return c.placed(check(c))
}

// Check returns every fault of the source's values, and nil if there is none.
// Keys are those of the file ("max_delay"), lines are 0. It cleans Dir.
func (s *Source) Check() Faults {
	s.normalise()
	return check(s)
}

// Check returns every fault of the target's values, and nil if there is none.
// Keys are those of the file ("strip_prefix"), lines are 0. It cleans Dir and
// ends StripPrefix with one slash.
func (t *Target) Check() Faults {
	t.normalise()
	return check(t)
}

func (h *HTTP) normalise() { h.Publisher, h.Agent = withHost(h.Publisher), withHost(h.Agent) }

func (s *Source) normalise() { s.Dir = cleanDir(s.Dir) }

func (t *Target) normalise() {
	t.Dir = cleanDir(t.Dir)
	t.StripPrefix = withSlash(t.StripPrefix)
	t.Hooks.normalise()
}

// check runs the rules of all keys of s, then those between keys.
func check(s section) Faults {
	var faults Faults
	for _, k := range s.keys() {
		for _, f := range k.check() {
			f.Key = k.name + f.Key
			faults = append(faults, f)
		}
	}
	return append(faults, s.relations()...)
}

// placed fills in the lines of faults.
func (c *Config) placed(faults Faults) Faults {
	for i := range faults {
		faults[i].Line = c.line(faults[i].Key)
	}
	return faults.sorted()
}

// line returns the line of a key, or of the nearest table around it, or 0.
func (c *Config) line(key string) int {
	for ; key != ""; key = parent(key) {
		if line, ok := c.lines[key]; ok {
			return line
		}
	}
	return 0
}
