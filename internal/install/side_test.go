package install

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOpen_removesWhatAKilledProbeLeft(t *testing.T) {
	other := filepath.Join(t.TempDir(), "target")
	do(t, os.Mkdir(other, 0o755))
	do(t, os.Mkdir(siblingPath(other), 0o700))
	for _, name := range probes() {
		do(t, os.Mkdir(filepath.Join(siblingPath(other), name), 0o700))
	}
	mustApply(t, mustOpen(t, optionsIn(Tree, other)), 1, files{"a": "644 a"})
	for _, name := range probes() {
		if _, err := os.Lstat(filepath.Join(siblingPath(other), name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
}
