//go:build !lean

package publisher_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/report"
)

func TestUnwatchedDirectoriesArePublished(t *testing.T) {
	if !inUserNamespace(t) {
		return
	}
	if err := os.WriteFile("/proc/sys/user/max_inotify_watches", []byte("2"), 0); err != nil {
		t.Skipf("limiting watches is not permitted: %v", err)
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

func TestPolledEditsAreOneChangesetOnceQuiet(t *testing.T) {
	if !inUserNamespace(t) {
		return
	}
	if err := os.WriteFile("/proc/sys/user/max_inotify_watches", []byte("1"), 0); err != nil {
		t.Skipf("limiting watches is not permitted: %v", err)
	}
	p := newPlace(t)
	p.options.Settle, p.options.MaxDelay = time.Second, 30*time.Second
	want := map[string]string{"a": ""}
	edit := func(i int) {
		path := fmt.Sprint("a/", i)
		want[path] = "one"
		p.write(path, "one")
	}
	edit(0)
	p.run(p.options)
	p.await(want)
	awaitReport(t, p.options.StateDir, "live")
	most, last := uint64(2), time.Now()
	for i := range 15 {
		time.Sleep(200 * time.Millisecond) // The polls are a second apart.
		edit(i + 1)
		if time.Since(last) >= p.options.Settle {
			most++ // On a machine that stood still for so long.
		}
		last = time.Now()
	}
	if v := p.await(want); v.Position().Generation > most {
		t.Errorf("the edits are generations 2 to %d, want 2 to %d", v.Position().Generation, most)
	}
}
