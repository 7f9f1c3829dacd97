//go:build !lean

package agent_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/report"
	"github.com/confsyncd/confsyncd/internal/store"
)

// TestMain lets more tests run at once than there are cores, since all they do is wait.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// place is an etcd with a source that is pushed to it.
type place struct {
	*testing.T
	endpoint string
	source   publisher.Options
	target   agent.Options
}

func newPlace(t *testing.T) *place {
	endpoint := devetcdtest.Start(t)
	c := store.NewClient(store.Config{Endpoints: []string{endpoint}, Prefix: "/confsyncd", Log: hclog.NewNullLogger()})
	t.Cleanup(func() { c.Close() })
	return &place{
		T: t, endpoint: endpoint,
		source: publisher.Options{
			Prefix: "/confsyncd", Tenant: "prod", Dir: t.TempDir(), Name: "p", MaxFileSize: 1 << 20, MaxDelete: 0.5,
			StateDir: t.TempDir(), Store: c.Tenant("prod"), Log: hclog.NewNullLogger(),
		},
		target: agent.Options{
			Prefix: "/confsyncd", Tenant: "prod", Dir: t.TempDir(), UID: -1, GID: -1,
			StateDir: t.TempDir(), Store: c.Tenant("prod"), Log: hclog.NewNullLogger(),
		},
	}
}

func (p *place) write(dir, path, content string) {
	p.Helper()
	if err := os.WriteFile(filepath.Join(dir, path), []byte(content), 0o644); err != nil {
		p.Fatal(err)
	}
}

func (p *place) push() {
	p.Helper()
	pub, err := publisher.New(p.source)
	if err != nil {
		p.Fatal(err)
	}
	if _, err := pub.Push(p.Context(), publisher.PushOptions{}); err != nil {
		p.Fatal(err)
	}
}

// run runs the agent until the test ends.
func (p *place) run() {
	ctx, cancel := context.WithCancel(p.Context())
	done := make(chan error, 1)
	go func() { done <- agent.New(p.target).Run(ctx) }()
	p.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			p.Error(err)
		}
	})
}

// await waits until the target's report has a state.
func (p *place) await(state string) report.Report {
	p.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		r, err := report.Read(p.target.StateDir)
		if err == nil && len(r) == 1 && r[0].State == state {
			return r[0]
		}
		if time.Now().After(deadline) {
			p.Fatalf("reports are %+v (%v), want state %s", r, err, state)
		}
	}
}

func TestFileAndSymlinkOfTheSameBytes(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write(p.source.Dir, "current", "v1")
	if err := os.Symlink("v1", filepath.Join(p.source.Dir, "link")); err != nil {
		t.Fatal(err)
	}
	p.push()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := agent.Pull(ctx, p.target); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(filepath.Join(p.target.Dir, "link")); err != nil || to != "v1" {
		t.Fatalf("link leads to %q, %v", to, err)
	}
}

func TestCompactionWhileFilesAreInTheWay(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write(p.source.Dir, "a", "one")
	p.write(p.source.Dir, "big", strings.Repeat("x", 100<<10))
	p.push()
	p.write(p.target.Dir, "a", "mine")
	p.run()
	if r := p.await("holding"); !strings.Contains(r.Reason, `"a"`) {
		t.Fatalf("reason is %q", r.Reason)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{p.endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	put, err := c.Put(t.Context(), "/elsewhere", "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Compact(t.Context(), put.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(p.target.Dir, "a")); err != nil {
		t.Fatal(err)
	}
	p.await("in_sync")
}

// What is not there yet is no fault of a watch.
func TestTargetThatIsMadeLaterIsWatchedThen(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write(p.source.Dir, "a", "one")
	p.push()
	parent := filepath.Join(p.target.Dir, "parent")
	p.target.Dir = filepath.Join(parent, "target")
	var log strings.Builder
	p.target.Log = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn})
	t.Cleanup(func() { // The agent has ended then.
		if strings.Contains(log.String(), "unnoticed") {
			t.Errorf("it said\n%s", log.String())
		}
	})
	p.run()
	p.await("holding")
	if err := os.Mkdir(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	p.await("in_sync")
	p.write(p.target.Dir, "a", "mine")
	eventually(t, "repaired", func() bool {
		b, err := os.ReadFile(filepath.Join(p.target.Dir, "a"))
		return err == nil && string(b) == "one"
	})
}

func TestPullOfNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if _, err := agent.Pull(t.Context(), p.target); !errors.Is(err, agent.ErrNothing) {
		t.Fatal(err)
	}
}

func TestEmptiedEtcdDeletesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write(p.source.Dir, "a", "one")
	p.push()
	p.run()
	p.await("in_sync")
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{p.endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Delete(t.Context(), "/confsyncd/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	p.await("holding")
	if _, err := os.Stat(filepath.Join(p.target.Dir, "a")); err != nil {
		t.Fatal(err)
	}
	p.push()
	p.await("in_sync")
}
