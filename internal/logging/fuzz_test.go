package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Whatever names and errors hold, a line of the log cannot be mistaken for two, and
// nothing in it can steer a terminal.
func FuzzLine(f *testing.F) {
	f.Fuzz(func(t *testing.T, path, message string) {
		var text bytes.Buffer
		log, err := New(&text, "info", "text")
		if err != nil {
			t.Fatal(err)
		}
		log.Info("committed", "path", path, "error", errors.New(message))
		if !utf8.Valid(text.Bytes()) {
			t.Errorf("%q is no UTF-8", text.String())
		}
		for i, line := range strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n") {
			if i > 0 && !strings.HasPrefix(line, "  ") {
				t.Errorf("a line that begins as one of its own: %q", line)
			}
			for _, r := range line {
				if r != '\t' && !unicode.IsPrint(r) {
					t.Errorf("%q in the line %q", r, line)
				}
			}
		}
		var out bytes.Buffer
		if log, err = New(&out, "info", "json"); err != nil {
			t.Fatal(err)
		}
		log.Info("committed", "path", path, "error", errors.New(message))
		var decoded map[string]any
		if err := json.Unmarshal(out.Bytes(), &decoded); err != nil || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
			t.Errorf("%q: %v", out.String(), err)
		}
		if utf8.ValidString(path) && decoded["path"] != path {
			t.Errorf("%q is logged as %q", path, decoded["path"])
		}
	})
}
