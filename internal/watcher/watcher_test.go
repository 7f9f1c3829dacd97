package watcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

// scanUntil stands for a consumer: it looks at the file only after a signal that
// names its directory.
func scanUntil(t *testing.T, w *Watcher, path, want string) {
	t.Helper()
	dir, err := filepath.Rel(w.o.Dir, filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	timeout := time.After(time.Minute)
	for {
		select {
		case <-w.Changed():
			if d := w.Take(); !d.All && !slices.Contains(d.Directories(), dir) {
				continue
			}
			if got, err := os.ReadFile(path); err == nil && string(got) == want {
				return
			}
		case <-timeout:
			t.Fatalf("%s was written and no signal followed", path)
		}
	}
}

// A watch set that is kept and added to misses these in about every second run.
func TestEveryWriteIsSeen(t *testing.T) {
	t.Parallel()
	const runs = 60
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "")
	w := start(t, Options{Dir: dir, Settle: 0})
	<-w.Changed()

	t.Run("first_file_in_a_new_directory", func(t *testing.T) {
		for i := range runs {
			sub := filepath.Join(dir, fmt.Sprintf("new%d", i))
			mkdir(t, sub)
			write(t, filepath.Join(sub, "f"), "1")
			scanUntil(t, w, filepath.Join(sub, "f"), "1")
			write(t, filepath.Join(sub, "f"), "2")
			scanUntil(t, w, filepath.Join(sub, "f"), "2")
		}
	})
	t.Run("below_a_renamed_directory", func(t *testing.T) {
		for i := range runs {
			from, to := filepath.Join(dir, fmt.Sprintf("from%d", i)), filepath.Join(dir, fmt.Sprintf("to%d", i))
			mkdir(t, filepath.Join(from, "sub"))
			write(t, filepath.Join(from, "sub", "f"), "1")
			scanUntil(t, w, filepath.Join(from, "sub", "f"), "1")
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(to, "sub", "f"), "2")
			scanUntil(t, w, filepath.Join(to, "sub", "f"), "2")
			for _, f := range []string{"f", "sub/f", "f", "sub/f"} {
				text := fmt.Sprint(f, i)
				write(t, filepath.Join(to, f), text)
				scanUntil(t, w, filepath.Join(to, f), text)
			}
		}
	})
}

func TestEventsAreMerged(t *testing.T) {
	t.Parallel()
	const settle = 300 * time.Millisecond
	undisturbed(t, func() string {
		dir := t.TempDir()
		mkdir(t, filepath.Join(dir, "sub"))
		w := start(t, Options{Dir: dir, Settle: settle, MaxDelay: time.Minute})
		wait(t, w)
		begin := time.Now()
		for i := range 10 {
			write(t, filepath.Join(dir, "sub", "f"), fmt.Sprint(i))
			write(t, filepath.Join(dir, "f"), fmt.Sprint(i))
			time.Sleep(settle / 10)
		}
		<-w.Changed()
		if took := time.Since(begin); took < settle {
			t.Errorf("signalled after %v, before it was quiet for %v", took, settle)
		}
		if got, want := w.Take(), (Dirty{Paths: []string{"f", "sub/f"}}); !reflect.DeepEqual(got, want) {
			return fmt.Sprintf("got %+v, want %+v", got, want)
		}
		return signalled(w, 2*settle)
	})
}

// signalled says what w signals within d, if anything.
func signalled(w *Watcher, d time.Duration) string {
	select {
	case <-w.Changed():
		return fmt.Sprintf("signalled again: %+v", w.Take())
	case <-time.After(d):
		return ""
	}
}

// What is copied into a new directory must count as activity although no watch
// was there when the directory was made.
func TestDirectoryCopiedInIsOneSignal(t *testing.T) {
	t.Parallel()
	const settle = 300 * time.Millisecond
	undisturbed(t, func() string {
		dir := t.TempDir()
		w := start(t, Options{Dir: dir, Settle: settle, MaxDelay: time.Minute})
		wait(t, w)
		mkdir(t, filepath.Join(dir, "new", "sub"))
		for i := range 20 {
			time.Sleep(settle / 10)
			write(t, filepath.Join(dir, "new", "sub", fmt.Sprint(i)), "1")
		}
		<-w.Changed()
		if d := w.Take(); !d.All {
			return fmt.Sprintf("got %+v, want all", d)
		}
		return signalled(w, 2*settle)
	})
}

func TestMaxDelayEndsTheWaitForQuiet(t *testing.T) {
	t.Parallel()
	const maxDelay = 300 * time.Millisecond
	dir := t.TempDir()
	w := start(t, Options{Dir: dir, Settle: 200 * time.Millisecond, MaxDelay: maxDelay})
	<-w.Changed()
	w.Take()
	begin := time.Now()
	for time.Since(begin) < time.Minute {
		write(t, filepath.Join(dir, "f"), "1")
		select {
		case <-w.Changed():
			if took := time.Since(begin); took < maxDelay {
				t.Errorf("signalled after %v of unrest, want %v", took, maxDelay)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatal("no signal during unrest")
}

func TestBatchDue(t *testing.T) {
	t.Parallel()
	at := func(ms int) time.Time { return time.UnixMilli(1_000_000 + int64(ms)) }
	for _, c := range []struct {
		name             string
		last             int
		settle, maxDelay time.Duration
		want             int
	}{
		{"one_event", 0, 50 * time.Millisecond, 2 * time.Second, 50},
		{"a_later_event_prolongs", 40, 50 * time.Millisecond, 2 * time.Second, 90},
		{"max_delay_ends_it", 1990, 50 * time.Millisecond, 2 * time.Second, 2000},
		{"max_delay_below_settle_counts_as_settle", 40, 50 * time.Millisecond, 0, 50},
		{"settle_0_is_due_at_once", 40, 0, 2 * time.Second, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b batch
			b.touch(at(0))
			b.touch(at(c.last))
			if got := b.due(c.settle, c.maxDelay); !got.Equal(at(c.want)) {
				t.Errorf("due at %v, want %v", got.Sub(at(0)), time.Duration(c.want)*time.Millisecond)
			}
		})
	}
}

func TestManyDirtyDirectoriesBecomeAll(t *testing.T) {
	t.Parallel()
	var s dirtySet
	for i := range maxDirs {
		s.add(fmt.Sprint(i))
	}
	if d := s.dirty(); d.All || len(d.Dirs) != maxDirs {
		t.Errorf("at the limit: all %v, %d directories", d.All, len(d.Dirs))
	}
	s.add("0")
	if s.all {
		t.Error("a directory counted twice")
	}
	s.add("more")
	if d := s.dirty(); !d.All || d.Dirs != nil {
		t.Errorf("beyond the limit: all %v, %d directories", d.All, len(d.Dirs))
	}
}

func TestManyNamesBecomeTheirDirectory(t *testing.T) {
	t.Parallel()
	var s dirtySet
	for i := range maxNames {
		s.addName("d", fmt.Sprint(i))
	}
	s.addName("", "f")
	if d := s.dirty(); len(d.Paths) != maxNames+1 || d.Dirs != nil {
		t.Errorf("at the limit: %+v", d)
	}
	var all dirtySet
	all.merge(s)
	s.addName("d", "more")
	want := Dirty{Dirs: []string{"d"}, Paths: []string{"f"}}
	if d := s.dirty(); !reflect.DeepEqual(d, want) {
		t.Errorf("beyond the limit: %+v, want %+v", d, want)
	}
	all.merge(s)
	if d := all.dirty(); !reflect.DeepEqual(d, want) {
		t.Errorf("merged: %+v, want %+v", d, want)
	}
	s.add("")
	s.addName("", "g")
	if got := s.dirty().Directories(); !slices.Equal(got, []string{"", "d"}) {
		t.Errorf("directories: %q", got)
	}
}

func TestTakeKeepsNothingAndLosesNothing(t *testing.T) {
	t.Parallel()
	w := New(Options{Dir: "/nowhere", Log: hclog.NewNullLogger()})
	for _, dir := range []string{"b", "a"} {
		var s dirtySet
		s.add(dir)
		w.signal(s)
	}
	if got, want := w.Take(), (Dirty{Dirs: []string{"a", "b"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	select {
	case <-w.Changed():
		t.Error("a token is left after Take")
	default:
	}
	if got := w.Take(); !reflect.DeepEqual(got, Dirty{}) {
		t.Errorf("taken twice: %+v", got)
	}
}

func TestLostEventsMakeTheWatchesAnew(t *testing.T) {
	t.Parallel()
	for _, lost := range []error{fsnotify.ErrEventOverflow, errors.New("read: input/output error")} {
		t.Run(strings.ReplaceAll(lost.Error(), " ", "_"), func(t *testing.T) {
			opened := make(chan *fsnotify.Watcher, 10)
			dir := t.TempDir()
			w := New(Options{Dir: dir, Settle: time.Millisecond, Log: hclog.NewNullLogger()})
			w.opened = func(fs *fsnotify.Watcher) { opened <- fs }
			runUntilTestEnds(t, w)
			wait(t, w)
			(<-opened).Errors <- lost
			if d := wait(t, w); !d.All {
				t.Errorf("got %+v, want all", d)
			}
			if len(opened) != 1 {
				t.Errorf("made anew %d times, want once", len(opened))
			}
			if got, want := w.Health(), (Health{Directories: 1, Overflows: 1}); got != want {
				t.Errorf("health %+v, want %+v", got, want)
			}
			write(t, filepath.Join(dir, "f"), "1")
			if got, want := wait(t, w), (Dirty{Dirs: []string{""}}); !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// The consumer's Ignore holds Run up while more events come than are kept.
func TestFloodBecomesAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	asked, held := make(chan struct{}, 1), make(chan struct{})
	opened := make(chan *fsnotify.Watcher, 10)
	w := New(Options{Dir: dir, Log: hclog.NewNullLogger(), Ignore: func(string, bool) bool {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-held
		return false
	}})
	w.opened = func(fs *fsnotify.Watcher) { opened <- fs }
	runUntilTestEnds(t, w)
	wait(t, w)
	flood := <-opened
	flood.Events <- fsnotify.Event{Name: filepath.Join(dir, "f"), Op: fsnotify.Write}
	<-asked
	for i := range maxQueued + 100 {
		flood.Events <- fsnotify.Event{Name: filepath.Join(dir, fmt.Sprint(i%2)), Op: fsnotify.Write}
	}
	write(t, filepath.Join(dir, "f"), "1")
	close(held)
	if d := wait(t, w); !d.All {
		t.Errorf("got %+v, want all", d)
	}
	if len(opened) == 0 {
		t.Error("the watches were not made anew")
	}
}

func TestOneRemakeForManyDirectories(t *testing.T) {
	t.Parallel()
	undisturbed(t, func() string {
		dir := t.TempDir()
		opened := make(chan *fsnotify.Watcher, 1000)
		w := New(Options{Dir: dir, Settle: 200 * time.Millisecond, MaxDelay: time.Minute, Log: hclog.NewNullLogger()})
		w.opened = func(fs *fsnotify.Watcher) { opened <- fs }
		runUntilTestEnds(t, w)
		wait(t, w)
		<-opened
		for i := range 200 {
			mkdir(t, filepath.Join(dir, fmt.Sprint(i%10), fmt.Sprint(i)))
		}
		if d := wait(t, w); !d.All || len(opened) != 1 {
			return fmt.Sprintf("got %+v and %d remakes, want all and one", d, len(opened))
		}
		return ""
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w := New(Options{Dir: t.TempDir(), Log: hclog.NewNullLogger()})
	if err := w.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestWatchesExhausted(t *testing.T) {
	t.Parallel()
	if !inUserNamespace(t) {
		return
	}
	limit := func(n int) {
		t.Helper()
		if err := os.WriteFile("/proc/sys/user/max_inotify_watches", []byte(fmt.Sprint(n)), 0); err != nil {
			t.Skipf("limiting watches is not permitted: %v", err)
		}
	}
	limit(5)
	dir := t.TempDir()
	for i := range 9 {
		mkdir(t, filepath.Join(dir, fmt.Sprint(i)))
	}
	var log bytes.Buffer
	w := New(Options{Dir: dir, Settle: time.Millisecond, Log: hclog.New(&hclog.LoggerOptions{Output: &log})})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()

	wait(t, w)
	err := w.Degraded()
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "5 of 10 directories") ||
		!strings.Contains(err.Error(), `polling, because`) || !strings.Contains(err.Error(), `raise the limit with "sysctl user.max_inotify_watches=524288"`) {
		t.Errorf("degraded: %v", err)
	}
	if h := w.Health(); h.Directories != 5 || !h.Polled {
		t.Errorf("health %+v", h)
	}
	write(t, filepath.Join(dir, "f"), "1") // The root is watched still.
	waitFor(t, w, func(d Dirty) bool { return slices.Contains(d.Directories(), "") })
	mkdir(t, filepath.Join(dir, "10")) // Another remake of the same episode.
	waitFor(t, w, func(d Dirty) bool { return d.All })
	limit(100)
	mkdir(t, filepath.Join(dir, "11"))
	waitFor(t, w, func(Dirty) bool { return w.Degraded() == nil })
	if h := w.Health(); h.Directories != 12 || h.Polled {
		t.Errorf("health %+v", h)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v", err)
	}
	if n := strings.Count(log.String(), "[WARN]"); n != 1 {
		t.Errorf("%d warnings, want one:\n%s", n, &log)
	}
	if n := strings.Count(log.String(), "[INFO]"); n != 1 {
		t.Errorf("%d notes that it is over, want one:\n%s", n, &log)
	}
}

func TestInotifyInstancesExhausted(t *testing.T) {
	t.Parallel()
	if !inUserNamespace(t) {
		return
	}
	limit := func(n int) {
		t.Helper()
		if err := os.WriteFile("/proc/sys/user/max_inotify_instances", []byte(fmt.Sprint(n)), 0); err != nil {
			t.Skipf("limiting instances is not permitted: %v", err)
		}
	}
	limit(0)
	w := start(t, Options{Dir: t.TempDir()})
	wait(t, w)
	if err := w.Degraded(); !errors.Is(err, unix.EMFILE) || !strings.Contains(err.Error(), `"sysctl user.max_inotify_instances=1024"`) {
		t.Errorf("degraded: %v", err)
	}
	limit(10)
	waitFor(t, w, func(d Dirty) bool { return d.All })
	if err := w.Degraded(); err != nil {
		t.Errorf("still degraded: %v", err)
	}
}
