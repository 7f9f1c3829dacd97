//go:build !lean

package publisher_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/store"
)

// raw returns a client for what the product never does.
func raw(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func wipe(t *testing.T, endpoint string) {
	t.Helper()
	if _, err := raw(t, endpoint).Delete(t.Context(), "/confsyncd/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
}

// open opens a file of the directory for writing and leaves it as it is.
func (p *place) open(path string) *os.File {
	p.Helper()
	f, err := os.OpenFile(filepath.Join(p.options.Dir, path), os.O_RDWR, 0)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { f.Close() })
	return f
}

func TestUnchangedFileThatIsOpenForWritingHoldsNothingUp(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	p := newPlaceAt(t, endpoint)
	p.write("a", "one")
	p.write("b", "two")
	p.run(p.options)
	p.await(map[string]string{"a": "one", "b": "two"})
	p.write("c", "three")
	first := p.await(map[string]string{"a": "one", "b": "two", "c": "three"})
	p.open("a")
	wipe(t, endpoint)
	v := p.await(map[string]string{"a": "one", "b": "two", "c": "three"})
	if v.Position().Tenant != first.Position().Tenant || v.Head.Founding <= first.Position().Generation {
		t.Fatalf("founded at %+v, was at %+v", v.Head.Head, first.Position())
	}
}

func TestStandbyIsLiveOnceAWriterCloses(t *testing.T) {
	p := newPlace(t)
	p.write("a", "one")
	p.write("b", "two")
	o := p.options
	o.Name, o.StateDir = "other", t.TempDir()
	if _, err := p.push(o, publisher.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	f := p.open("a")
	p.run(p.options)
	awaitReport(t, p.options.StateDir, "holding")
	f.Close()
	awaitReport(t, p.options.StateDir, "live")
}

func TestHeldPathsAreToldOnceHoweverOftenItIsBusy(t *testing.T) {
	p := newPlace(t)
	var lines held
	p.options.Log = hclog.New(&hclog.LoggerOptions{Output: &lines})
	p.write("a", "one")
	if err := syscall.Mkfifo(filepath.Join(p.options.Dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.run(p.options)
	awaitReport(t, p.options.StateDir, "live")
	for range 3 {
		p.write(".confsyncd-hold", "")
		awaitReport(t, p.options.StateDir, "busy")
		p.remove(".confsyncd-hold")
		awaitReport(t, p.options.StateDir, "live")
	}
	if n := lines.count.Load(); n != 1 {
		t.Errorf("%d lines about held paths", n)
	}
}

// held counts the log lines about held paths.
type held struct{ count atomic.Int64 }

func (h *held) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "held back") {
		h.count.Add(1)
	}
	return len(b), nil
}

func TestDryRunForgetsNothing(t *testing.T) {
	p := newPlace(t)
	p.write("a", "one")
	p.mustPush()
	elsewhere := newPlace(t)
	elsewhere.write("z", "z")
	elsewhere.mustPush()
	o := p.options
	o.Store, o.TakeOver = elsewhere.store, true
	if _, err := p.push(o, publisher.PushOptions{DryRun: true}); err != nil {
		t.Fatal(err)
	}
	p.write("a", "two")
	if c := p.mustPush(); c.Founding {
		t.Fatalf("made %+v", c)
	}
}

func TestFoundNeverFallsBelowWhatIsRemembered(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	p := newPlaceAt(t, endpoint)
	var last diff.Position
	for _, content := range []string{"one", "two", "three"} {
		p.write("a", content)
		last = p.mustPush().Position
	}
	wipe(t, endpoint)
	c, err := p.push(p.options, publisher.PushOptions{Found: &diff.Position{Tenant: last.Tenant, Generation: 1}})
	if err != nil || c.Position.Generation <= last.Generation {
		t.Fatalf("founded at %+v (%v), was at %+v", c, err, last)
	}
}

func TestEtcdOutOfSpaceIsTold(t *testing.T) {
	endpoint := devetcdtest.StartSmall(t, 1<<20)
	p := newPlaceAt(t, endpoint)
	p.write("a", "one")
	p.run(p.options)
	p.await(map[string]string{"a": "one"})
	for {
		if _, err := raw(t, endpoint).Put(t.Context(), "/else", strings.Repeat("x", 400<<10)); err != nil {
			break
		}
	}
	p.write("b", "two")
	awaitReport(t, p.options.StateDir, "waiting")
	o := p.options
	o.StateDir = t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pub, err := publisher.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pub.Push(ctx, publisher.PushOptions{}); !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), "out of space") {
		t.Fatalf("push: %v", err)
	}
}
