package publisher

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

func openBases(t *testing.T, state string, limit int64) *bases {
	t.Helper()
	root, err := os.OpenRoot(state)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	b := newBases()
	b.limit = limit
	b.open(root, false)
	t.Cleanup(b.close)
	return b
}

func mustKeep(t *testing.T, b *bases, content string) diff.Hash {
	t.Helper()
	h := diff.Sum([]byte(content))
	if err := b.keep(h, []byte(content)); err != nil {
		t.Fatal(err)
	}
	if got := b.get(h); string(got) != content {
		t.Fatalf("%d bytes came back of %d", len(got), len(content))
	}
	return h
}

func keptFiles(t *testing.T, state string) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(state, basesName))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestBasesAreBounded(t *testing.T) {
	state := t.TempDir()
	b := openBases(t, state, 16*basesBlock)
	oldest := mustKeep(t, b, "oldest")
	var all []diff.Hash
	for i := range 14 {
		all = append(all, mustKeep(t, b, strings.Repeat("x", i+1)))
	}
	if keptFiles(t, state) != 15 {
		t.Fatalf("%d files before the limit", keptFiles(t, state))
	}
	b.get(oldest) // It was just used: others go before it.
	mustKeep(t, b, strings.Repeat("large", basesBlock))
	if b.get(oldest) == nil || b.get(all[0]) != nil || b.get(all[13]) == nil {
		t.Error("others than the least recently used went")
	}
	if b.bytes > b.limit {
		t.Errorf("%d bytes are kept, the limit is %d", b.bytes, b.limit)
	}
	t.Run("over restarts", func(t *testing.T) {
		bytes, n := b.bytes, keptFiles(t, state)
		dir := filepath.Join(state, basesName)
		if err := os.WriteFile(filepath.Join(dir, oldest.String()+".new"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(dir, all[13].String()), old, old); err != nil {
			t.Fatal(err)
		}
		again := openBases(t, state, 16*basesBlock)
		mustKeep(t, again, "one more")
		if keptFiles(t, state) > n+1 || again.bytes > bytes+basesBlock {
			t.Errorf("%d files of %d bytes, were %d of %d", keptFiles(t, state), again.bytes, n, bytes)
		}
		for i := range 8 {
			mustKeep(t, again, strings.Repeat("y", i+1))
		}
		if again.get(all[13]) != nil {
			t.Error("the oldest on the disk is still there")
		}
	})
}

func TestBaseThatIsReplacedGoes(t *testing.T) {
	state := t.TempDir()
	b := openBases(t, state, basesLimit)
	h := mustKeep(t, b, "one")
	mustKeep(t, b, "two")
	for range 2 {
		if err := b.drop(h); err != nil {
			t.Fatal(err)
		}
	}
	if b.get(h) != nil || keptFiles(t, state) != 1 || b.bytes != basesBlock {
		t.Errorf("%d files, %d bytes", keptFiles(t, state), b.bytes)
	}
}

// onSmallDisk runs f on a thread that sees an empty disk of 64 KiB at dir, and ends with
// it.
func onSmallDisk(t *testing.T, dir string, f func() error) error {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount")
	}
	var mounted error
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // And never unlocked: the thread ends with the goroutine.
		mounted = unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if mounted == nil {
			mounted = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if mounted == nil {
			mounted = unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size=64k")
		}
		if mounted != nil {
			done <- nil
			return
		}
		done <- f()
	}()
	err := <-done
	if mounted != nil {
		t.Skip("no mount namespace: ", mounted)
	}
	return err
}

func TestFullDiskLeavesNoPartOfABase(t *testing.T) {
	state := t.TempDir()
	err := onSmallDisk(t, state, func() error {
		root, err := os.OpenRoot(state)
		if err != nil {
			return err
		}
		defer root.Close()
		b := newBases()
		b.open(root, false)
		defer b.close()
		small, large := []byte("small"), make([]byte, 200<<10)
		if err := b.keep(diff.Sum(large), large); !errors.Is(err, unix.ENOSPC) {
			return errors.Join(errors.New("a full disk goes unnoticed"), err)
		}
		if b.get(diff.Sum(large)) != nil || b.bytes != 0 {
			return errors.New("a part is taken for the whole")
		}
		if err := b.keep(diff.Sum(small), small); err != nil {
			return err // what did not fit is still there
		}
		entries, err := os.ReadDir(filepath.Join(state, basesName))
		if len(entries) != 1 {
			return errors.Join(errors.New("more than one file is left"), err)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
