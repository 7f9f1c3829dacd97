package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/confsyncd/confsyncd/internal/config"
)

// value is a flag whose text a function reads.
type value struct {
	set  func(string) error
	kind string
}

func (v value) Set(s string) error { return v.set(s) }
func (v value) String() string     { return "" }
func (v value) Type() string       { return v.kind }

// into reads a flag's text into field.
func into[T any](field *T, kind string, read func(string) (T, error)) value {
	return value{kind: kind, set: func(s string) (err error) {
		*field, err = read(s)
		return err
	}}
}

func text(s string) (string, error) { return s, nil }

func words(s string) ([]string, error) { return strings.Split(s, ","), nil }

// count reads how many to list: 0 is all.
func count(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is no number; write one from 1, or 0 for all", s)
	}
	return int(n), nil
}

// committed reads the number of a generation that some commit has.
func committed(s string) (uint64, error) {
	g, err := strconv.ParseUint(s, 10, 64)
	if err != nil || g == 0 {
		return 0, fmt.Errorf("%q is no generation; write a number from 1, as \"confsyncd log\" lists them", s)
	}
	return g, nil
}

// absolute makes a path of the command line independent of the working directory.
func absolute(path string) (string, error) {
	if path == "" {
		return "", fmt.Errorf("an empty path")
	}
	return filepath.Abs(path)
}

// overrides are flags of one source or target: each is applied to those of the
// configuration, or to a fresh one.
type overrides[T any] struct {
	flags *pflag.FlagSet
	set   []func(*T) error
	dir   string
}

// flag adds a flag that changes a T. dest makes the flag's value for one.
func (o *overrides[T]) flag(name, help string, dest func(*T) value) {
	var scratch T
	kind := dest(&scratch).kind
	o.flags.Var(value{kind: kind, set: func(s string) error {
		var t T
		if err := dest(&t).Set(s); err != nil {
			return err
		}
		o.set = append(o.set, func(t *T) error { return dest(t).Set(s) })
		return nil
	}}, name, help)
}

func (o *overrides[T]) apply(t *T) error {
	for _, set := range o.set {
		if err := set(t); err != nil {
			return usage("%w", err)
		}
	}
	return nil
}

// sourceFlags adds a flag for every key of [[source]].
func sourceFlags(cmd *cobra.Command) *overrides[config.Source] {
	o := &overrides[config.Source]{flags: cmd.Flags()}
	type source = config.Source
	cmd.Flags().Var(into(&o.dir, "path", absolute), "dir", "directory to publish")
	o.flag("publisher", "name in the head (default the host name)", func(s *source) value { return into(&s.Publisher, "name", text) })
	o.flag("settle", "quiet time before edits are committed (default 50ms)", func(s *source) value { return into(&s.Settle, "duration", config.ParseDuration) })
	o.flag("max-delay", "commit at the latest this long after the first edit (default 2s)", func(s *source) value { return into(&s.MaxDelay, "duration", config.ParseDuration) })
	o.flag("rescan", "look at everything this often (default 60s)", func(s *source) value { return into(&s.Rescan, "duration", config.ParseDuration) })
	o.flag("busy-files", "commit nothing while one of these exists (default .confsyncd-hold,.git/index.lock)", func(s *source) value { return into(&s.BusyFiles, "paths", words) })
	o.flag("ignore", "patterns of what is not published (default .git/,*~,.*.sw?,4913,.#*,#*#)", func(s *source) value { return into(&s.Ignore, "patterns", words) })
	o.flag("symlinks", "preserve or refuse (default preserve)", func(s *source) value { return into(&s.Symlinks, "word", text) })
	o.flag("file-mode", "git: files are 0644 or 0755 by the owner's x, whatever the umask was (default as found)", func(s *source) value { return into(&s.FileMode, "word", text) })
	o.flag("max-file-size", "hold back larger files (default 16MiB)", func(s *source) value { return into(&s.MaxFileSize, "size", config.ParseSize) })
	o.flag("max-delete", "hold if more of the tree is gone at once; below 20 files: all of it (default 50%)", func(s *source) value { return into(&s.MaxDelete, "percent", config.ParsePercent) })
	o.flag("standby", "stand by while another publisher leads: of the same directory (shared), or of an equal one (copy)", func(s *source) value { return into(&s.Standby, "word", text) })
	o.flag("standby-ttl", "with --standby: lead no longer than this without a sign of life (default 10s)", func(s *source) value { return into(&s.StandbyTTL, "duration", config.ParseDuration) })
	o.flag("channels", "channels that each commit advances; the others move by \"channel promote\" (default main)", func(s *source) value { return into(&s.Channels, "names", words) })
	retentionFlags(o)
	o.flag("sweep", "remove what is not retained this often; 0s: never (default 10m)", func(s *source) value { return into(&s.Sweep, "duration", config.ParseDuration) })
	return o
}

// retentionFlags adds the flags that say what of the history is kept.
func retentionFlags(o *overrides[config.Source]) {
	type source = config.Source
	o.flag("retain-generations", "keep so many generations at least (default 1000)", func(s *source) value { return into(&s.RetainGenerations, "number", config.ParseNumber) })
	o.flag("retain-age", "keep generations that are younger (default 24h)", func(s *source) value { return into(&s.RetainAge, "duration", config.ParseDuration) })
}

// targetFlags adds a flag for every key of [[target]].
func targetFlags(cmd *cobra.Command) *overrides[config.Target] {
	o := &overrides[config.Target]{flags: cmd.Flags()}
	type target = config.Target
	cmd.Flags().Var(into(&o.dir, "path", absolute), "dir", "directory to write")
	o.flag("paths", "patterns of what to take (default everything)", func(t *target) value { return into(&t.Paths, "patterns", words) })
	o.flag("strip-prefix", "take this directory off the paths", func(t *target) value { return into(&t.StripPrefix, "path", text) })
	o.flag("mode", "what switches at once: files (each path) or tree (default files)", func(t *target) value { return into(&t.Mode, "word", text) })
	o.flag("existing", "what to do with files that differ at first contact: refuse or replace (default refuse)", func(t *target) value { return into(&t.Existing, "word", text) })
	o.flag("drift", "what to do with what others change on this host: repair or report (default repair)", func(t *target) value { return into(&t.Drift, "word", text) })
	o.flag("channel", "channel to follow (default main)", func(t *target) value { return into(&t.Channel, "name", text) })
	o.flag("owner", "who owns what is written (default who runs this)", func(t *target) value { return into(&t.Owner, "name", text) })
	o.flag("group", "group of what is written (default of who runs this)", func(t *target) value { return into(&t.Group, "name", text) })
	o.flag("file-mode", "octal mode of all files (default as published)", func(t *target) value {
		return into(&t.FileMode, "mode", func(s string) (*uint32, error) {
			m, err := config.ParseMode(s)
			return &m, err
		})
	})
	return o
}
