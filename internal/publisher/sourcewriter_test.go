package publisher

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
)

// Between the look at a path and its change somebody may save another version there.
func TestSourceWriterLeavesWhatWasEditedMeanwhile(t *testing.T) {
	file := diff.Entry{Kind: diff.File, Mode: 0o644}
	for name, tt := range map[string]struct {
		change diff.Change
		do     func(*sourceWriter, diff.Change) error
	}{
		"replaced": {diff.Change{Path: "a", Old: file, New: file}, func(w *sourceWriter, c diff.Change) error { return w.exchange(0, c) }},
		"created":  {diff.Change{Path: "a", New: file}, func(w *sourceWriter, c diff.Change) error { return w.put(0, c) }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(path, content string) {
				t.Helper()
				if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755), os.WriteFile(filepath.Join(dir, path), []byte(content), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			write("a", "what somebody saved")
			write(next(0), "the head's")
			write(sourceKept+"/now/a", "what was published")
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			w := &sourceWriter{root: root, kept: sourceKept + "/now"}
			if err := tt.do(w, tt.change); !errors.Is(err, scan.ErrChanged) {
				t.Errorf("the error is %v", err)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(b) != "what somebody saved" {
				t.Errorf("there is %q, %v", b, err)
			}
		})
	}
}
