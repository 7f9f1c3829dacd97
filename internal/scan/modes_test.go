package scan_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
)

func gitModes(o *scan.Options) { o.GitModes = true }

func TestGitModes(t *testing.T) {
	d := t.TempDir()
	write(t, d, "a/plain", "x")
	write(t, d, "a/secret", "x")
	write(t, d, "a/script", "x")
	write(t, d, "a/others", "x")
	write(t, d, "a/setuid", "x")
	link(t, d, "link", "a")
	modes := func(of map[string]uint32) {
		t.Helper()
		for path, mode := range of {
			must(t, unix.Chmod(filepath.Join(d, path), mode))
		}
	}
	modes(map[string]uint32{"a": 0o700, "a/secret": 0o600, "a/script": 0o700, "a/others": 0o655, "a/setuid": 0o4755})
	want := entries{
		"a": dir(0o755), "a/plain": file(0o644, "x"), "a/secret": file(0o644, "x"), "a/script": file(0o755, "x"),
		"a/others": file(0o644, "x"), "a/setuid": file(0o755, "x"), "link": symlink("a"),
	}
	s := newScanner(t, d, settled, gitModes)
	first := mustScan(t, s, diff.Tree{}, nil)
	wantTree(t, first.Tree, want)

	t.Run("a chmod that git would not see changes nothing", func(t *testing.T) {
		modes(map[string]uint32{"a": 0o775, "a/plain": 0o664, "a/script": 0o711})
		if res := mustScan(t, s, first.Tree, nil); res.Tree.Digest() != first.Tree.Digest() {
			t.Error(diff.Compare(first.Tree, res.Tree))
		}
	})
	t.Run("the owner's x does", func(t *testing.T) {
		must(t, os.Chmod(filepath.Join(d, "a/plain"), 0o744))
		want["a/plain"] = file(0o755, "x")
		wantTree(t, mustScan(t, s, first.Tree, []string{"a"}).Tree, want)
	})
	t.Run("a directory that is only passed through", func(t *testing.T) {
		write(t, d, "a/b/f", "x")
		mustScan(t, s, first.Tree, nil)
		must(t, os.Chmod(filepath.Join(d, "a"), 0o700))
		must(t, os.Chmod(filepath.Join(d, "a/b"), 0o700))
		want["a/b"], want["a/b/f"] = dir(0o755), file(0o644, "x")
		wantTree(t, mustScan(t, s, first.Tree, []string{"a/b"}).Tree, want)
	})
}
