// Package logging makes the process's logger, lets etcd's own log flow into it, and
// keeps repeated failures from filling it.
//
// Fields have the same names everywhere: tenant, generation, path, duration_ms,
// bytes, error. Contents of files are never logged.
package logging

import (
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/go-hclog"
)

// New returns a logger that writes to w. The level is one of trace, debug, info,
// warn, error; the format is text, json, or auto: text on a terminal, else json.
func New(w io.Writer, level, format string) (hclog.Logger, error) {
	l := hclog.LevelFromString(level)
	if l == hclog.NoLevel {
		return nil, fmt.Errorf("log level %q: use trace, debug, info, warn or error", level)
	}
	o := &hclog.LoggerOptions{Name: "confsyncd", Level: l, Output: w, TimeFormat: "2006-01-02T15:04:05.000Z07:00"}
	switch format {
	case "json":
		o.JSONFormat = true
	case "text":
		o.Color = hclog.AutoColor
	case "auto", "":
		o.JSONFormat = !terminal(w)
		o.Color = hclog.AutoColor
	default:
		return nil, fmt.Errorf("log format %q: use text, json or auto", format)
	}
	return hclog.New(o), nil
}

// terminal reports whether w is a terminal, or another character device.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
