//go:build !lean

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"

	"golang.org/x/sync/errgroup"
)

// TestKills kills publisher and agent again and again while files are edited.
func TestKills(t *testing.T) {
	t.Run("edits of all kinds", func(t *testing.T) { t.Parallel(); testKills(t, "files", false) })
	t.Run("files become directories and back", func(t *testing.T) { t.Parallel(); testKills(t, "files", true) })
	t.Run("the whole tree at once", func(t *testing.T) { t.Parallel(); testKills(t, "tree", true) })
}

func testKills(t *testing.T, mode string, kinds bool) {
	v := newVictims(t, mode)
	v.w.Kinds = kinds
	v.whileEditing(v.kill...)
	took := v.recovers()
	v.silent()
	t.Logf("seed %d: %d kills each (%d in the midst of an apply), %s, equal %.2f s after the last edit",
		v.seed, kills(), v.logged("completed an interrupted apply"), v.counts(), took.Seconds())
}

// TestStorm kills etcd besides, throws its data away, and puts older data back.
func TestStorm(t *testing.T) {
	skipLong(t)
	t.Parallel()
	v := newVictims(t, "files")
	v.whileEditing(append(v.kill, v.rewind)...)
	took := v.recovers()
	t.Logf("seed %d: %d kills each of three, %d foundings, %s, equal %.2f s after the last edit",
		v.seed, kills(), v.logged(`"founding":true`), v.counts(), took.Seconds())
}

// victims are a publisher and an agent to be killed while files are edited.
type victims struct {
	*lab.Lab
	t              *testing.T
	seed           uint64
	w              *lab.Writer
	r              *lab.Reader
	source, target *lab.Host
	kill           []func(*rand.Rand) error // each kills a daemon once, and starts it again
	saved          int                      // copies of etcd's data
}

func newVictims(t *testing.T, mode string) *victims {
	t.Helper()
	v := &victims{Lab: newLab(t), t: t, seed: seed(t)}
	v.source, v.target = v.Host(t, "kills", "source"), v.Host(t, "kills", "target")
	var err error
	if v.w, err = lab.NewWriter(v.source.Dir, v.seed); err != nil {
		t.Fatal(err)
	}
	if err := v.w.Fill(120); err != nil {
		t.Fatal(err)
	}
	v.r = &lab.Reader{Dir: v.target.Dir, Ledger: v.w.Ledger}
	publish := func() error {
		return v.source.Start("publish", "--settle", "5ms", "--max-delay", "50ms", "--max-delete", "100%")
	}
	agent := func() error { return v.target.Start("agent", "--mode", mode) }
	if err := errors.Join(publish(), agent()); err != nil {
		t.Fatal(err)
	}
	again := func(h *lab.Host, start func() error) func(*rand.Rand) error {
		return func(*rand.Rand) error { return errors.Join(h.Daemon.Kill(), start()) }
	}
	v.kill = []func(*rand.Rand) error{again(v.source, publish), again(v.target, agent)}
	return v
}

// rewind kills etcd, and starts it again with its data, none, or older data.
func (v *victims) rewind(rng *rand.Rand) error {
	if err := v.Etcd.Kill(); err != nil {
		return err
	}
	copied := func(i int) string { return filepath.Join(v.Dir, fmt.Sprint("saved", i)) }
	var err error
	switch n := rng.IntN(10); {
	case n < 2:
		err = v.Etcd.Wipe()
	case n < 5 && v.saved > 0:
		err = v.Etcd.Restore(copied(rng.IntN(v.saved)))
	case n < 8:
		err = v.Etcd.Save(copied(v.saved))
		v.saved++
	}
	return errors.Join(err, v.Etcd.Start())
}

// whileEditing does each of what at random moments while files are edited and read.
func (v *victims) whileEditing(what ...func(*rand.Rand) error) {
	v.t.Helper()
	ctx, cancel := context.WithCancel(v.t.Context())
	defer cancel()
	var users, killers errgroup.Group
	users.Go(func() error { return v.w.Run(ctx) })
	users.Go(func() error { return v.r.Run(ctx) })
	for i, do := range what {
		rng := rand.New(rand.NewPCG(v.seed, uint64(2+i)))
		killers.Go(func() error {
			for n := range kills() {
				most := 500 * time.Millisecond
				if n%3 == 0 {
					most = 100 * time.Millisecond // while it starts
				}
				if !lab.Sleep(ctx, time.Duration(rng.Int64N(int64(most)))) {
					return nil
				}
				if err := do(rng); err != nil {
					return fmt.Errorf("kill %d: %w", n, err)
				}
			}
			return nil
		})
	}
	if err := killers.Wait(); err != nil {
		v.t.Error(err)
	}
	cancel()
	if err := users.Wait(); err != nil {
		v.t.Fatalf("%v\nagent: %s", err, lab.Tail(v.target.Log))
	}
}

// recovers waits until the target equals the source, checks that all is as it should
// be at rest, and returns how long after the last edit that was.
func (v *victims) recovers() time.Duration {
	t := v.t
	t.Helper()
	got, err := lab.ReadTree(v.source.Dir)
	if err == nil {
		err = lab.Differ(v.w.Model, got)
	}
	if err != nil {
		t.Fatalf("the source is not what was written: %v", err)
	}
	before, err := lab.Stamps(v.source.Dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lab.Equal(v.w.Model, v.target.Dir, within)
	took := time.Since(v.w.Last)
	if err != nil {
		t.Fatalf("the target does not become equal: %v\npublisher: %s\nagent: %s", err, lab.Tail(v.source.Log), lab.Tail(v.target.Log))
	}
	_, err = lab.Eventually(within, func() error {
		if s := v.target.Status(t); len(s.Targets) != 1 || s.Targets[0].State != "in_sync" || s.Targets[0].Behind == nil ||
			*s.Targets[0].Behind != 0 || s.Targets[0].Pending != 0 {
			return fmt.Errorf("the journal is not at the head: %+v", s)
		}
		return lab.Leftovers(v.target.Dir)
	})
	if err != nil {
		t.Error(err)
	}
	if err := v.r.Once(); err != nil {
		t.Error(err)
	}
	after, err := lab.Stamps(v.source.Dir)
	if err != nil || !maps.Equal(before, after) {
		t.Errorf("something in the source was touched: %v", err)
	}
	return took
}

// silent checks that no daemon warned of anything.
func (v *victims) silent() {
	v.t.Helper()
	for _, h := range []*lab.Host{v.source, v.target} {
		b, err := os.ReadFile(h.Log)
		if err != nil {
			v.t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if !strings.Contains(line, `"@level":"info"`) {
				v.t.Errorf("logged: %s", line)
			}
		}
	}
}

// logged counts words in the daemons' logs.
func (v *victims) logged(words string) (n int) {
	v.t.Helper()
	for _, h := range []*lab.Host{v.source, v.target} {
		b, err := os.ReadFile(h.Log)
		if err != nil {
			v.t.Fatal(err)
		}
		n += strings.Count(string(b), words)
	}
	return n
}

func (v *victims) counts() string {
	return fmt.Sprintf("%d edits, head at generation %d, %d reads checked", v.w.Edits, v.target.Generation(v.t), v.r.Reads.Load())
}
