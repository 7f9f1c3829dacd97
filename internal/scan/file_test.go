package scan

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFileChangedWhileOpen opens a file of four bytes, changes it, and reads on.
func TestFileChangedWhileOpen(t *testing.T) {
	tests := []struct {
		name          string
		edit          func(path string) error
		read, settled error
	}{
		{"nothing happens", func(string) error { return nil }, nil, nil},
		{"it shrinks", func(p string) error { return os.Truncate(p, 2) }, errMoved, errMoved},
		{"it grows", func(p string) error { return os.Truncate(p, 6) }, errMoved, errMoved},
		{"it is written over", func(p string) error { return os.WriteFile(p, []byte("wxyz"), 0) }, nil, errMoved},
		{"its mode changes", func(p string) error { return os.Chmod(p, 0o600) }, nil, errMoved},
		{"another takes its name", func(p string) error {
			return errors.Join(os.WriteFile(p+"2", nil, 0o644), os.Rename(p+"2", p))
		}, nil, errMoved}, // By its ctime: it lost a link.
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := t.TempDir()
			p := filepath.Join(d, "f")
			if err := os.WriteFile(p, []byte("abcd"), 0o644); err != nil {
				t.Fatal(err)
			}
			f, err := openFile(unix.AT_FDCWD, p)
			if err != nil {
				t.Fatal(err)
			}
			defer f.close()
			awaitTick(t, d, f.stamp.ctime)
			if err := tt.edit(p); err != nil {
				t.Fatal(err)
			}
			if err := f.read(make([]byte, 3), func([]byte) {}); !errors.Is(err, tt.read) {
				t.Errorf("read: %v, want %v", err, tt.read)
			}
			if _, err := f.settled(); !errors.Is(err, tt.settled) {
				t.Errorf("settled: %v, want %v", err, tt.settled)
			}
		})
	}
}

// awaitTick waits until the kernel stamps changes with another time than ctime.
func awaitTick(t *testing.T, dir string, ctime int64) {
	t.Helper()
	for probe := filepath.Join(dir, "probe"); ; {
		if err := os.WriteFile(probe, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(probe, &st); err != nil {
			t.Fatal(err)
		}
		if st.Ctim.Nano() != ctime {
			return
		}
		if err := os.Remove(probe); err != nil {
			t.Fatal(err)
		}
	}
}
