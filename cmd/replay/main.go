// Command replay follows the history of a git repository with confsyncd: it checks
// out one commit after another into a directory that is published, and after each
// waits until another directory, kept by an agent, is what git says the commit is.
//
// Publisher, agent and etcd are processes of their own, built by "make replay". Every
// commit must arrive whole, with its names, kinds, modes and bytes, and as exactly one
// generation; one that changes nothing must make none. Differences end the run with
// exit code 1, and the directories stay for a look.
//
// Directories are those that the files imply. A submodule is an empty directory, as it
// is in git's own checkout.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options are the command line's.
type options struct {
	repo, from, to string
	mode           string // the target's mode; empty: the default
	bin            string // directory of confsyncd, etcd and etcdctl
	scratch        string // directory for all that the run writes
	timeout        time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.repo, "repo", "", "git repository, URL or bundle (required)")
	flag.StringVar(&o.from, "from", "", "first commit (default: the first of all)")
	flag.StringVar(&o.to, "to", "", "last commit (default: HEAD)")
	flag.StringVar(&o.mode, "mode", "", "mode of the target")
	flag.StringVar(&o.bin, "bin", "bin", "directory of confsyncd, etcd and etcdctl")
	flag.StringVar(&o.scratch, "scratch", "tmp", "directory to work in")
	flag.DurationVar(&o.timeout, "timeout", time.Minute, "longest wait for one step")
	flag.Parse()
	if o.repo == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "replay: which repository? make replay REPO=DIR, or replay -repo DIR")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

// run replays o.repo in a directory of its own, which it removes if all went well.
func run(ctx context.Context, o options) error {
	syscall.Umask(0o022) // git's modes become 0644 and 0755.
	if err := os.MkdirAll(o.scratch, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.scratch, "replay-")
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := replayIn(ctx, o, dir); err != nil {
		return fmt.Errorf("%w\nleft for a look: %s", err, dir)
	}
	return os.RemoveAll(dir)
}

// replayIn replays o.repo in dir.
func replayIn(ctx context.Context, o options, dir string) (err error) {
	began := time.Now()
	repo, err := clone(ctx, o.repo, dir)
	if err != nil {
		return err
	}
	commits, err := repo.line(ctx, o.from, o.to)
	if err != nil {
		return err
	}
	s, err := startServices(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	r := &replay{repo: repo, services: s, target: target{dir: s.target}, timeout: o.timeout}
	fmt.Printf("replay: %d commits of %s\n", len(commits), o.repo)
	for i, commit := range commits {
		if err := r.step(ctx, i, commit); err != nil {
			return fmt.Errorf("step %d of %d, commit %.12s: %w", i+1, len(commits), commit, err)
		}
		if (i+1)%50 == 0 {
			fmt.Printf("replay: step %d, generation %d, %d files, %s\n",
				i+1, r.generation, r.tree.files(), time.Since(began).Round(time.Second))
		}
	}
	return r.finish(ctx, began)
}
