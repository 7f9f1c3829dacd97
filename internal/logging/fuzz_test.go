package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Whatever names and errors hold, a line of the log cannot be mistaken for two, and
// nothing in it can steer a terminal.
func FuzzLine(f *testing.F) {
	file, err := os.Create(filepath.Join(f.TempDir(), "log")) // What is no file gets colours.
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	f.Fuzz(func(t *testing.T, path, message string) {
		log, err := New(file, "info", "text")
		if err != nil {
			t.Fatal(err)
		}
		log.Info("committed", "path", path, "error", errors.New(message))
		text, err := os.ReadFile(file.Name())
		if err = errors.Join(err, file.Truncate(0)); err == nil {
			_, err = file.Seek(0, io.SeekStart)
		}
		if err != nil || !utf8.Valid(text) {
			t.Fatalf("%q: %v", text, err)
		}
		for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
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
