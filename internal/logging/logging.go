// Package logging makes the process's logger, lets etcd's own log flow into it, and
// keeps repeated failures from filling it.
//
// Fields have the same names everywhere: tenant, generation, path, duration_ms,
// bytes, error. Contents of files are never logged.
package logging

import (
	"bytes"
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
	case "auto", "":
		o.JSONFormat = !terminal(w)
	default:
		return nil, fmt.Errorf("log format %q: use text, json or auto", format)
	}
	if !o.JSONFormat {
		o.Output, o.Color = valid{w}, hclog.AutoColor
	}
	return hclog.New(o), nil
}

// valid writes lines in UTF-8 alone: of values with several lines, hclog escapes what is a
// rune and lets other bytes pass, which may steer a terminal that takes them for controls.
type valid struct{ io.Writer }

func (v valid) Write(line []byte) (int, error) {
	if _, err := v.Writer.Write(bytes.ToValidUTF8(line, []byte("\uFFFD"))); err != nil {
		return 0, err
	}
	return len(line), nil
}

// SupportsColor makes hclog's AutoColor ask about what is written to.
func (v valid) SupportsColor() bool { return terminal(v.Writer) }

// terminal reports whether w is a terminal, or another character device.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
