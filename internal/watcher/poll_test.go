package watcher

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

func TestPollsTakeATwentiethOfTheTime(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_000_000)
	for _, c := range []struct {
		name string
		cost time.Duration
		want time.Duration
	}{
		{"cheap_ones_come_every_second", 10 * time.Millisecond, time.Second},
		{"dear_ones_seldom", 3 * time.Second, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p polls
			p.plan([]string{"a/"}, at)
			if got := p.due.Sub(at); got != pollEvery {
				t.Errorf("the first is due after %v", got)
			}
			taken := p.take()
			if d := taken.dirty(); !d.Poll || !slices.Equal(d.Dirs, []string{"a/"}) {
				t.Errorf("got %+v", d)
			}
			p.plan([]string{"a/", "b/"}, at)
			if !p.due.IsZero() {
				t.Error("another is due before the first was looked at")
			}
			p.cost(c.cost, at)
			if got := p.due.Sub(at); got != c.want {
				t.Errorf("after one of %v the next is due after %v, want %v", c.cost, got, c.want)
			}
			p.plan(nil, at)
			if !p.due.IsZero() {
				t.Error("one is due although everything is watched")
			}
		})
	}
}

func TestPollsLookAtTheTopmost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		dirs, want []string
	}{
		{"nothing", nil, nil},
		{"the_root_is_all", []string{"a", ""}, []string{"/"}},
		{"what_lies_within_is_left_out", []string{"a/b/c", "a", "a-b", "a/b", "d/e"}, []string{"a/", "a-b/", "d/e/"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := make(map[string]struct{})
			for _, dir := range c.dirs {
				set[dir] = struct{}{}
			}
			if got := whole(set); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// awaitPoll returns the next poll, and says that looking at it was cheap.
func awaitPoll(t *testing.T, w *Watcher) Dirty {
	t.Helper()
	for timeout := time.After(time.Minute); ; {
		select {
		case <-w.Changed():
			if d := w.Take(); d.Poll {
				w.Polled(0)
				return d
			}
		case <-timeout:
			t.Fatal("no poll")
		}
	}
}

func TestUnwatchedDirectoriesArePolled(t *testing.T) {
	t.Parallel()
	if !inUserNamespace(t) {
		return
	}
	if err := os.WriteFile("/proc/sys/user/max_inotify_watches", []byte("2"), 0); err != nil {
		t.Skipf("limiting watches is not permitted: %v", err)
	}
	dir := t.TempDir()
	for _, sub := range []string{"a/b", "c/d"} {
		mkdir(t, filepath.Join(dir, sub))
	}
	w := start(t, Options{Dir: dir, Settle: time.Millisecond})
	wait(t, w)
	first := awaitPoll(t, w)
	if first.All || len(first.Dirs) == 0 {
		t.Errorf("polled %+v, want directories", first)
	}
	for _, d := range first.Dirs {
		if !strings.HasSuffix(d, "/") {
			t.Errorf("polled %q without what lies below it", d)
		}
	}
	awaitPoll(t, w)
	if err := os.WriteFile("/proc/sys/user/max_inotify_watches", []byte("100"), 0); err != nil {
		t.Fatal(err)
	}
	mkdir(t, filepath.Join(dir, "e")) // has the watches made anew
	for until := time.Now().Add(time.Minute); w.Degraded() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("still degraded: %v", w.Degraded())
		}
	}
	waitQuiet(t, w, pollEvery)
	if again := signalled(w, 2*pollEvery); again != "" {
		t.Error("everything is watched, and yet: " + again)
	}
}

func TestRootWithoutAnyWatchIsPolled(t *testing.T) {
	t.Parallel()
	if !inUserNamespace(t) {
		return
	}
	if err := os.WriteFile("/proc/sys/user/max_inotify_watches", []byte("0"), 0); err != nil {
		t.Skipf("limiting watches is not permitted: %v", err)
	}
	w := start(t, Options{Dir: t.TempDir()})
	wait(t, w)
	if got, want := awaitPoll(t, w), (Dirty{Dirs: []string{"/"}, Poll: true}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestWhatOtherHostsChangeIsPolled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mkdir(t, filepath.Join(dir, "a"))
	w := New(Options{Dir: dir, Settle: time.Millisecond, Log: hclog.NewNullLogger()})
	w.fsType = func(*os.File) uint32 { return unix.NFS_SUPER_MAGIC }
	runUntilTestEnds(t, w)
	wait(t, w)
	if err := w.Degraded(); err == nil || !strings.Contains(err.Error(), "polling, because NFS does not announce what other hosts change") {
		t.Errorf("degraded: %v", err)
	}
	if got, want := awaitPoll(t, w), (Dirty{Dirs: []string{"/"}, Poll: true}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// What this host changes is announced as ever.
	write(t, filepath.Join(dir, "a", "f"), "1")
	for timeout := time.After(time.Minute); ; {
		select {
		case <-w.Changed():
			if d := w.Take(); slices.Contains(d.Directories(), "a") {
				return
			}
		case <-timeout:
			t.Fatal("a local edit was not announced")
		}
	}
}

func TestRemoteFileSystems(t *testing.T) {
	t.Parallel()
	for magic, want := range map[uint32]string{
		unix.NFS_SUPER_MAGIC: "NFS", unix.CIFS_SUPER_MAGIC: "SMB", unix.SMB2_SUPER_MAGIC: "SMB", unix.V9FS_MAGIC: "9p",
		unix.FUSE_SUPER_MAGIC: "FUSE", unix.EXT4_SUPER_MAGIC: "", unix.XFS_SUPER_MAGIC: "", unix.BTRFS_SUPER_MAGIC: "",
		unix.TMPFS_MAGIC: "", unix.OVERLAYFS_SUPER_MAGIC: "",
	} {
		if got := remote(magic); got != want {
			t.Errorf("%#x: got %q, want %q", magic, got, want)
		}
	}
}
