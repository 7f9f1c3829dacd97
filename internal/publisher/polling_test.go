//go:build !lean

package publisher_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/report"
)

// withWatches runs the test again as a child that may have so many inotify watches, and
// reports whether this is that child.
func withWatches(t *testing.T, limit string) (child bool) {
	t.Helper()
	const mark = "PUBLISHER_TEST_WATCHES"
	if os.Getenv(mark) != "" {
		if err := os.WriteFile("/proc/sys/user/max_inotify_watches", []byte(limit), 0); err != nil {
			t.Skipf("limiting watches is not permitted: %v", err)
		}
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EACCES) {
		t.Skipf("user namespaces are not permitted: %v", err)
	}
	if err != nil {
		t.Fatalf("in a user namespace: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("in a user namespace:\n%s", out)
	}
	return false
}

func TestUnwatchedDirectoriesArePublished(t *testing.T) {
	if !withWatches(t, "2") {
		return
	}
	p := newPlace(t)
	p.write("a/b/f", "one")
	p.write("c/d/f", "one")
	p.run(p.options)
	p.await(map[string]string{"a": "", "a/b": "", "a/b/f": "one", "c": "", "c/d": "", "c/d/f": "one"})

	awaitReport(t, p.options.StateDir, "live")
	reports, err := report.Read(p.options.StateDir)
	if err != nil || !strings.Contains(reports[0].Reason, "polling, because") ||
		!strings.Contains(reports[0].Reason, `"sysctl user.max_inotify_watches=`) {
		t.Errorf("reported %+v, %v", reports, err)
	}
	// The next full scan is a minute away.
	begin := time.Now()
	p.write("a/b/f", "two")
	p.write("c/d/f", "two")
	p.await(map[string]string{"a": "", "a/b": "", "a/b/f": "two", "c": "", "c/d": "", "c/d/f": "two"})
	p.write("a/b/new/f", "one")
	p.await(map[string]string{"a": "", "a/b": "", "a/b/f": "two", "a/b/new": "", "a/b/new/f": "one", "c": "", "c/d": "", "c/d/f": "two"})
	p.write("a/b/new/f", "two")
	p.await(map[string]string{"a": "", "a/b": "", "a/b/f": "two", "a/b/new": "", "a/b/new/f": "two", "c": "", "c/d": "", "c/d/f": "two"})
	t.Logf("three edits were published within %v", time.Since(begin))
}
