package hook

import (
	"bytes"
	"strings"
	"unicode"

	"github.com/hashicorp/go-hclog"
)

// What of a hook's output is logged, in bytes.
const (
	maxLine   = 1 << 10
	maxOutput = 64 << 10
)

// output logs what is written to it, line by line.
type output struct {
	log     hclog.Logger
	line    bytes.Buffer
	cut     bool // the line is longer than what line holds
	logged  int
	dropped int
}

// Write never fails: a hook is not to be held up by its output.
func (o *output) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		o.add(line)
		if b = rest; whole {
			o.flush()
		}
	}
	return n, nil
}

func (o *output) add(b []byte) {
	room := max(min(maxLine-o.line.Len(), maxOutput-o.logged-o.line.Len()), 0)
	if len(b) > room {
		o.dropped += len(b) - room
		o.cut = true
		b = b[:room]
	}
	o.line.Write(b)
}

func (o *output) flush() {
	if o.line.Len() > 0 {
		o.logged += o.line.Len()
		text := printable(o.line.String())
		if o.cut {
			text += " …"
		}
		o.log.Info("hook output", "line", text)
	}
	o.line.Reset()
	o.cut = false
}

// end logs what is left.
func (o *output) end() {
	o.flush()
	if o.dropped > 0 {
		o.log.Warn("hook output was too long to be logged as a whole", "bytes", o.dropped)
	}
}

// printable keeps a terminal that shows the log from being told anything.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(strings.TrimRight(s, "\r"), "\uFFFD"))
}
