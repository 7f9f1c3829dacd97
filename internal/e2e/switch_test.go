//go:build !lean

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"

	"golang.org/x/sync/errgroup"
)

// switched is how many files each changeset changes.
const switched = 50

// TestSwitch changes 50 files again and again, while readers, each with one descriptor
// of the target's directory for a pass, read them all: they must be of one generation.
func TestSwitch(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	source, target := l.Host(t, "switch", "source"), l.Host(t, "switch", "target")
	write := func(n int) error {
		hold := filepath.Join(source.Dir, ".confsyncd-hold")
		if err := os.WriteFile(hold, nil, 0o600); err != nil {
			return err
		}
		for i := range switched {
			name := filepath.Join(source.Dir, fmt.Sprintf("d%d", i%7), fmt.Sprint(i))
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(name, fmt.Append(nil, n), 0o644); err != nil {
				return err
			}
		}
		return os.Remove(hold)
	}
	if err := write(0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(source.Start("publish", "--settle", "5ms"), target.Start("agent", "--mode", "tree")); err != nil {
		t.Fatal(err)
	}
	arrived := func(n int) {
		t.Helper()
		_, err := lab.Eventually(within, func() error {
			got, err := oneGeneration(target.Dir)
			if err == nil && got != fmt.Sprint(n) {
				err = fmt.Errorf("at %s, not at %d", got, n)
			}
			return err
		})
		if err != nil {
			t.Fatalf("%v\nagent: %s", err, lab.Tail(target.Log))
		}
	}
	arrived(0)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var passes atomic.Int64
	var readers errgroup.Group
	for range 2 {
		readers.Go(func() error {
			for ctx.Err() == nil {
				if _, err := oneGeneration(target.Dir); err != nil {
					return err
				}
				passes.Add(1)
			}
			return nil
		})
	}
	began := time.Now()
	times := *switchesFlag
	if testing.Short() {
		times = 10
	}
	for n := 1; n <= times; n++ {
		if err := write(n); err != nil {
			t.Fatal(err)
		}
		arrived(n)
	}
	took := time.Since(began)
	cancel()
	if err := readers.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d changesets of %d files in %.1f s, %d passes of the readers", times, switched, took.Seconds(), passes.Load())
}

// oneGeneration reads all files by way of one descriptor of the directory, and returns
// what all of them hold.
func oneGeneration(dir string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	first := ""
	for i := range switched {
		b, err := root.ReadFile(fmt.Sprintf("d%d/%d", i%7, i))
		if err != nil {
			return "", err
		}
		if i == 0 {
			first = string(b)
		}
		if string(b) != first {
			return "", fmt.Errorf("file 0 is of %s, file %d of %s", first, i, b)
		}
	}
	return first, nil
}
