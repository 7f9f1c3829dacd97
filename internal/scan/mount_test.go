package scan_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
)

// inMountNamespace runs f on a thread with a mount namespace of its own, which ends
// with it.
func inMountNamespace(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // And never unlocked: the thread ends with the goroutine.
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Skip("no mount namespace: ", err)
	}
}

func TestMounts(t *testing.T) {
	inMountNamespace(t, func() {
		d := t.TempDir()
		m := filepath.Join(d, "m")
		check := func(err error) bool {
			if err != nil {
				t.Error(err)
			}
			return err == nil
		}
		mount := func() bool { return check(unix.Mount("tmpfs", m, "tmpfs", 0, "mode=0755")) }
		put := func(content string) bool {
			return check(os.WriteFile(filepath.Join(m, "f"), []byte(content), 0o644))
		}
		s := newScanner(t, d)
		committed := diff.Tree{}
		expect := func(when, content string, held bool) {
			res, err := s.Scan(t.Context(), committed, nil)
			if !check(err) {
				return
			}
			if e, _ := res.Tree.Get("m/f"); e != file(0o644, content) {
				t.Errorf("%s m/f is %+v", when, e)
			}
			if got := len(res.Held) == 1 && res.Held[0].Reason == scan.Remounted; got != held {
				t.Errorf("%s held are %+v", when, res.Held)
			}
			committed = res.Tree
		}
		if !check(os.Mkdir(m, 0o755)) {
			return
		}
		if _, err := s.Scan(t.Context(), committed, nil); !check(err) || !mount() || !put("1") {
			return
		}
		expect("mounted over an empty directory", "1", false)
		if !check(unix.Unmount(m, 0)) {
			return
		}
		expect("unmounted", "1", true)
		expect("still unmounted", "1", true)
		if !mount() || !put("2") {
			return
		}
		expect("mounted again", "2", false)
		if !check(unix.Unmount(m, 0)) || !put("3") {
			return
		}
		s = newScanner(t, d)
		expect("in a new scanner", "3", false)
		if !mount() || !put("4") {
			return
		}
		expect("mounted over entries", "3", true)
		if !check(unix.Unmount(m, 0)) {
			return
		}
		expect("uncovered again", "3", false)
	})
}

// TestBindMounts mounts directories of the same file system, which the device does not
// tell apart.
func TestBindMounts(t *testing.T) {
	inMountNamespace(t, func() {
		d, other := t.TempDir(), t.TempDir()
		m := filepath.Join(d, "m")
		check := func(err error) bool {
			if err != nil {
				t.Error(err)
			}
			return err == nil
		}
		bind := func() bool { return check(unix.Mount(other, m, "", unix.MS_BIND, "")) }
		s := newScanner(t, d)
		committed := diff.Tree{}
		expect := func(when, content string, held bool) {
			res, err := s.Scan(t.Context(), committed, nil)
			if !check(err) {
				return
			}
			if e, _ := res.Tree.Get("m/f"); e != file(0o644, content) {
				t.Errorf("%s m/f is %+v", when, e)
			}
			if got := len(res.Held) == 1 && res.Held[0].Reason == scan.Remounted; got != held {
				t.Errorf("%s held are %+v", when, res.Held)
			}
			committed = res.Tree
		}
		if !check(os.Mkdir(m, 0o755)) || !check(os.WriteFile(filepath.Join(m, "f"), []byte("under"), 0o644)) {
			return
		}
		expect("before", "under", false)
		if !bind() {
			return
		}
		expect("mounted over entries", "under", true)
		if !check(unix.Unmount(m, 0)) {
			return
		}
		expect("uncovered", "under", false)
		if !bind() || !check(os.WriteFile(filepath.Join(m, "f"), []byte("bound"), 0o644)) {
			return
		}
		s = newScanner(t, d)
		expect("mounted from the beginning", "bound", false)
		if !check(unix.Unmount(m, 0)) {
			return
		}
		expect("unmounted", "bound", true)
		if !bind() {
			return
		}
		expect("mounted again", "bound", false)
	})
}
