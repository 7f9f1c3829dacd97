//go:build !lean

package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/report"
	"github.com/confsyncd/confsyncd/internal/store"
)

// place is a directory, an etcd, and a publisher between them.
type place struct {
	*testing.T
	store   *store.Store
	options publisher.Options
}

func newPlace(t *testing.T) *place { return newPlaceAt(t, devetcdtest.Start(t)) }

func newPlaceAt(t *testing.T, endpoint string) *place {
	c := store.NewClient(store.Config{Endpoints: []string{endpoint}, Prefix: "/confsyncd", Log: hclog.NewNullLogger()})
	t.Cleanup(func() { c.Close() })
	s := c.Tenant("prod")
	return &place{T: t, store: s, options: publisher.Options{
		Prefix: "/confsyncd", Tenant: "prod", Dir: t.TempDir(), Name: "config-1", Settle: 5 * time.Millisecond, MaxDelay: time.Second,
		Rescan: time.Minute, BusyFiles: []string{".confsyncd-hold"}, Ignore: []string{"*.new"}, MaxFileSize: 1 << 20, MaxDelete: 0.5,
		StateDir: t.TempDir(), Store: s, Log: hclog.NewNullLogger(),
	}}
}

// write puts a file in its place at once. What it is called before is ignored.
func (p *place) write(path, content string) {
	p.Helper()
	path = filepath.Join(p.options.Dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte(content), 0o644); err != nil {
		p.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		p.Fatal(err)
	}
}

func (p *place) remove(path string) {
	p.Helper()
	if err := os.RemoveAll(filepath.Join(p.options.Dir, path)); err != nil {
		p.Fatal(err)
	}
}

// push pushes with options of its own.
func (p *place) push(o publisher.Options, po publisher.PushOptions) (*publisher.Commit, error) {
	p.Helper()
	pub, err := publisher.New(o)
	if err != nil {
		p.Fatal(err)
	}
	return pub.Push(p.Context(), po)
}

func (p *place) mustPush() *publisher.Commit {
	p.Helper()
	c, err := p.push(p.options, publisher.PushOptions{})
	if err != nil {
		p.Fatal(err)
	}
	return c
}

// run runs the daemon until the test ends or the returned function is called.
func (p *place) run(o publisher.Options) (stop func()) {
	p.Helper()
	pub, err := publisher.New(o)
	if err != nil {
		p.Fatal(err)
	}
	ctx, cancel := context.WithCancel(p.Context())
	done := make(chan error, 1)
	go func() { done <- pub.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			p.Error(err)
		}
	}
	p.Cleanup(stop)
	return stop
}

// head returns the version at the head with its contents by path.
func (p *place) head() (*store.Version, map[string]string) {
	p.Helper()
	view, err := p.store.View(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	if view.Head == nil {
		return nil, nil
	}
	v, err := p.store.Resolve(p.Context(), store.Have{}, view)
	if err != nil {
		p.Fatal(err)
	}
	byHash := make(map[diff.Hash]string)
	var want []diff.Entry
	for _, e := range v.Tree.All() {
		if e.HasContent() {
			want = append(want, e)
		}
	}
	if err := v.Fetch(p.Context(), want, nil, func(e diff.Entry, b []byte) error { byHash[e.Hash] = string(b); return nil }); err != nil {
		p.Fatal(err)
	}
	files := make(map[string]string)
	for path, e := range v.Tree.All() {
		files[path] = byHash[e.Hash]
	}
	return v, files
}

// await waits until the head holds just these files.
func (p *place) await(want map[string]string) *store.Version {
	p.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		v, got := p.head()
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return v
		}
		if time.Now().After(deadline) {
			p.Fatalf("head holds %v, want %v", got, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestPush(t *testing.T) {
	p := newPlace(t)
	p.write("a", "one")
	p.write("d/b", strings.Repeat("b", 100<<10))
	if c := p.mustPush(); c == nil || c.Position.Generation != 1 || len(c.Changes) != 3 || !c.Founding {
		t.Fatalf("first push: %+v", c)
	}
	if c := p.mustPush(); c != nil {
		t.Fatalf("a push of nothing new made generation %d", c.Position.Generation)
	}
	p.write("a", "two")
	if err := os.Rename(filepath.Join(p.options.Dir, "d/b"), filepath.Join(p.options.Dir, "d/c")); err != nil {
		t.Fatal(err)
	}
	if c := p.mustPush(); c.Position.Generation != 2 || c.Bytes != 3 || c.Founding {
		t.Fatalf("a push of an edit and a move: %+v", c)
	}
	p.await(map[string]string{"a": "two", "d": "", "d/c": strings.Repeat("b", 100<<10)})

	t.Run("goes on without its memory", func(t *testing.T) {
		o := p.options
		o.StateDir = t.TempDir()
		p.write("a", "three")
		if c, err := p.push(o, publisher.PushOptions{}); err != nil || c.Position.Generation != 3 {
			t.Fatalf("%+v, %v", c, err)
		}
	})
	t.Run("is refused under another name", func(t *testing.T) {
		o := p.options
		o.Name, o.StateDir = "config-2", t.TempDir()
		p.write("a", "four")
		if _, err := p.push(o, publisher.PushOptions{}); !errors.Is(err, publisher.ErrConflict) {
			t.Fatal(err)
		}
		o.TakeOver = true
		if c, err := p.push(o, publisher.PushOptions{}); err != nil || c.Position.Generation != 4 {
			t.Fatalf("%+v, %v", c, err)
		}
	})
	t.Run("dry run commits nothing", func(t *testing.T) {
		p.write("a", "five")
		o := p.options
		o.TakeOver = true
		c, err := p.push(o, publisher.PushOptions{DryRun: true})
		if err != nil || len(c.Changes) != 1 {
			t.Fatalf("%+v, %v", c, err)
		}
		if v, _ := p.head(); v.Position().Generation != 4 {
			t.Fatalf("head is at generation %d", v.Position().Generation)
		}
	})
}

func TestPushRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		edit  func(*place)
		allow publisher.Allow
		says  string
	}{
		"deletions beyond max_delete": {
			edit: func(p *place) {
				for i := range 16 {
					p.remove(fmt.Sprintf("f%d", i))
				}
			},
			allow: publisher.Allow{Delete: true}, says: "16 of 30 files would be deleted",
		},
		"an emptied tree": {
			edit: func(p *place) {
				for i := range 30 {
					p.remove(fmt.Sprintf("f%d", i))
				}
			},
			allow: publisher.Allow{Delete: true}, says: "30 of 30",
		},
		"a file over the limit": {
			edit:  func(p *place) { p.write("big", strings.Repeat("x", 2<<20)) },
			allow: publisher.Allow{Size: true}, says: `"big" (too large`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			for i := range 30 {
				p.write(fmt.Sprintf("f%d", i), fmt.Sprint(i))
			}
			p.mustPush()
			tt.edit(p)
			if _, err := p.push(p.options, publisher.PushOptions{}); !errors.Is(err, publisher.ErrRefused) || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("got %v", err)
			}
			o := p.options
			o.Allow = tt.allow
			if c, err := p.push(o, publisher.PushOptions{}); err != nil || c.Position.Generation != 2 {
				t.Fatalf("allowed: %+v, %v", c, err)
			}
		})
	}
}

func TestMovedTreeIsNoDeletion(t *testing.T) {
	p := newPlace(t)
	for i := range 30 {
		p.write(fmt.Sprintf("old/f%d", i), fmt.Sprint(i))
	}
	p.mustPush()
	if err := os.Rename(filepath.Join(p.options.Dir, "old"), filepath.Join(p.options.Dir, "new")); err != nil {
		t.Fatal(err)
	}
	if c := p.mustPush(); c == nil || c.Bytes != 0 {
		t.Fatalf("got %+v", c)
	}
}

func TestRun(t *testing.T) {
	p := newPlace(t)
	p.write("a", "one")
	p.run(p.options)
	p.await(map[string]string{"a": "one"})

	p.write("new/dir/b", "two")
	p.await(map[string]string{"a": "one", "new": "", "new/dir": "", "new/dir/b": "two"})
	p.remove("new")
	p.await(map[string]string{"a": "one"})

	t.Run("does not publish beside a busy file", func(t *testing.T) {
		p.write(".confsyncd-hold", "")
		p.write("a", "half")
		p.write("b", "half")
		before, _ := p.head()
		awaitReport(t, p.options.StateDir, "busy")
		if now, _ := p.head(); now.Position() != before.Position() {
			t.Fatal("published beside a busy file")
		}
		p.write("a", "whole")
		p.remove("b")
		p.remove(".confsyncd-hold")
		if v := p.await(map[string]string{"a": "whole"}); v.Position().Generation != before.Position().Generation+1 {
			t.Fatalf("made %d generations", v.Position().Generation-before.Position().Generation)
		}
	})
	t.Run("publishes as one what was done beside a busy file", func(t *testing.T) {
		p := newPlaceAt(t, devetcdtest.Start(t))
		p.options.Settle = 500 * time.Millisecond // The busy file is looked for more often.
		p.write("a", "one")
		p.write("dir/b", "two")
		p.run(p.options)
		p.await(map[string]string{"a": "one", "dir": "", "dir/b": "two"})
		p.write(".confsyncd-hold", "")
		before, _ := p.head()
		awaitReport(t, p.options.StateDir, "busy")
		p.write("dir/a", "one")
		p.remove("a")
		p.remove(".confsyncd-hold")
		if v := p.await(map[string]string{"dir": "", "dir/a": "one", "dir/b": "two"}); v.Position().Generation != before.Position().Generation+1 {
			t.Fatalf("made %d generations", v.Position().Generation-before.Position().Generation)
		}
	})
	t.Run("keeps what is open for writing at its committed version", func(t *testing.T) {
		f, err := os.OpenFile(filepath.Join(p.options.Dir, "a"), os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("first half"); err != nil {
			t.Fatal(err)
		}
		p.write("c", "other")
		p.await(map[string]string{"a": "whole", "c": "other"})
		if _, err := f.WriteString(" and second"); err != nil {
			t.Fatal(err)
		}
		f.Close()
		p.await(map[string]string{"a": "first half and second", "c": "other"})
	})
	t.Run("is the only one", func(t *testing.T) {
		pub, err := publisher.New(p.options)
		if err != nil {
			t.Fatal(err)
		}
		pub.SetLockPatience(time.Millisecond)
		if err := pub.Run(t.Context()); !errors.Is(err, publisher.ErrRunning) {
			t.Fatal(err)
		}
	})
	t.Run("lets a push of the same directory by", func(t *testing.T) {
		p.mustPush()
		p.write("c", "after the push")
		p.await(map[string]string{"a": "first half and second", "c": "after the push"})
	})
}

// TestADaemonWaitsForAPush starts a daemon while a push of the same directory is at work.
func TestADaemonWaitsForAPush(t *testing.T) {
	p := newPlace(t)
	p.write("a", strings.Repeat("one ", 10_000))
	waiting := make(chan struct{})
	tell := sync.OnceFunc(func() { close(waiting) })
	o := p.options
	o.Status = func(now publisher.Status) {
		if now.State == "waiting" {
			tell()
		}
	}
	started := false
	_, err := p.push(p.options, publisher.PushOptions{Progress: func(_, _ int64) {
		if started {
			return
		}
		started = true
		p.run(o)
		select {
		case <-waiting:
		case <-time.After(time.Minute):
			t.Error("the daemon does not wait")
		}
	}})
	if err != nil || !started {
		t.Fatalf("pushed: %v, while a daemon started: %v", err, started)
	}
	p.write("a", "two")
	p.await(map[string]string{"a": "two"})
}

func TestAnotherInstanceHolds(t *testing.T) {
	p := newPlace(t)
	p.write("a", "one")
	p.mustPush()
	o := p.options
	o.Dir, o.StateDir = t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(o.Dir, "a"), []byte("of another"), 0o644); err != nil {
		t.Fatal(err)
	}
	stop := p.run(o)
	awaitReport(t, o.StateDir, "holding")
	p.await(map[string]string{"a": "one"})
	// Equal directories make it live.
	if err := os.WriteFile(filepath.Join(o.Dir, "a"), []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	awaitReport(t, o.StateDir, "live")
	if err := os.WriteFile(filepath.Join(o.Dir, "b"), []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.await(map[string]string{"a": "one", "b": "two"})
	stop()
	if err := os.WriteFile(filepath.Join(o.Dir, "a"), []byte("changed while away"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.run(o)
	p.await(map[string]string{"a": "changed while away", "b": "two"})
}

func TestStandbyWithEditsHoldsAfterRestart(t *testing.T) {
	p := newPlace(t)
	p.write("a", "one")
	p.mustPush()
	o := p.options
	o.Dir, o.StateDir = t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(o.Dir, "a"), []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	stop := p.run(o)
	awaitReport(t, o.StateDir, "live")
	stop()
	// The head is still of the other instance, and the directories differ now.
	if err := os.WriteFile(filepath.Join(o.Dir, "a"), []byte("edited on the standby"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.run(o)
	awaitReport(t, o.StateDir, "holding")
	p.await(map[string]string{"a": "one"})
}

// awaitReport waits until the one source in stateDir is in a state.
func awaitReport(t *testing.T, stateDir, state string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		r, err := report.Read(stateDir)
		if err == nil && len(r) == 1 && r[0].State == state {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("reports are %+v (%v), want state %s", r, err, state)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
