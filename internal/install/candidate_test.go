package install

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// What an ordinary user's agent may not look into is somebody else's, such as lost+found.
func TestCheck_leavesOutWhatCannotBeRead(t *testing.T) {
	const env = "CONFSYNCD_TEST_CANDIDATE"
	dir := os.Getenv(env)
	if dir == "" {
		runAsUser(t, env, func(dir string) {
			do(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0o700))
			do(t, os.WriteFile(filepath.Join(dir, "theirs"), nil, 0o600))
		})
		return
	}
	target := mustOpen(t, options(dir))
	checked := false
	target.o.Try.Check = func(_ context.Context, candidate string, _ diff.Position, _ Version, _ []string) error {
		checked = true
		b, err := os.ReadFile(filepath.Join(candidate, "a"))
		if string(b) != "a1" {
			t.Errorf("the candidate has %q, %v", b, err)
		}
		return err
	}
	mustApply(t, target, 1, files{"a": "644 a1"})
	if !checked {
		t.Error("nothing was checked")
	}
}
