//go:build !lean

package publisher_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/publisher"
)

// A write through a mapping whose page is dirty already raises no event and changes no
// time stamp. Such a file is published as it is where whether it is being written
// cannot be asked: here because the child may not lease what is another user's.
func TestUnseenEditsAreFoundByReadingAgain(t *testing.T) {
	const dirEnv, fd = "PUBLISHER_TEST_DIR", 3
	dir := os.Getenv(dirEnv)
	var files []*os.File
	if dir == "" {
		dir, files = foreignFile(t)
		t.Setenv(dirEnv, dir)
	}
	if !inUserNamespace(t, files...) {
		return
	}
	mapped, err := unix.Mmap(fd, 0, 3, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(mapped) }()
	copy(mapped, "one")

	p := newPlace(t)
	p.options.Dir = dir
	p.write("d/g", "g")
	for name, tt := range map[string]struct {
		every time.Duration
		ask   func(*publisher.Publisher)
		text  string
	}{
		"on demand":      {ask: (*publisher.Publisher).Rescan, text: "two"},
		"at an interval": {every: 20 * time.Millisecond, ask: func(*publisher.Publisher) {}, text: "six"},
	} {
		t.Run(name, func(t *testing.T) {
			before := string(mapped)
			o := p.options
			o.Rehash = tt.every
			pub, err := publisher.New(o)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- pub.Run(ctx) }()
			defer func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}()
			p.await(map[string]string{"d": "", "d/g": "g", "d/f": before})
			copy(mapped, tt.text)
			tt.ask(pub)
			p.await(map[string]string{"d": "", "d/g": "g", "d/f": tt.text})
		})
	}
}

// foreignFile makes a directory with the file d/f of another user on a tmpfs, whose
// dirty pages are never written back, and returns the file open for writing.
func foreignFile(t *testing.T) (dir string, files []*os.File) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to own a file that nobody may lease")
	}
	dir, err := os.MkdirTemp("/dev/shm", "confsyncd-test-")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "d", "f")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Chown(65534, 65534); err != nil {
		t.Fatal(err)
	}
	return dir, []*os.File{f}
}
