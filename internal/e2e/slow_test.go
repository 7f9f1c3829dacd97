//go:build !lean

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/codec"
)

// TestSlowWriters edits beside writers that take their time, and looks that no
// generation holds the half of what they write.
func TestSlowWriters(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	source, target := l.Host(t, "slow", "source"), l.Host(t, "slow", "target")
	big := lab.Compose(1, "big", 0o644, 5_000_000)
	slow := []slowFile{
		{path: "new", want: "a\nb\n", write: shell},
		{path: "over", before: "before\n", want: "a\nb\n", write: shell},
		{path: "big", want: big, write: pieces(big)},
		{path: "bigover", before: "before\n", want: big, write: pieces(big)},
	}
	for _, f := range slow {
		if f.before != "" {
			if err := os.WriteFile(filepath.Join(source.Dir, f.path), []byte(f.before), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(source.Start("publish"), target.Start("agent")); err != nil {
		t.Fatal(err)
	}
	if _, err := lab.Eventually(within, func() error { return holds(filepath.Join(target.Dir, "over"), "before\n") }); err != nil {
		t.Fatalf("%v, publisher: %s\nagent: %s", err, lab.Tail(source.Log), lab.Tail(target.Log))
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var writers, readers errgroup.Group
	goOn := make(chan struct{})
	end := sync.OnceFunc(func() { close(goOn) })
	defer end()
	for _, f := range slow {
		writers.Go(func() error { return f.write(filepath.Join(source.Dir, f.path), goOn) })
		readers.Go(func() error { return f.watch(ctx, target.Dir) })
	}
	for _, f := range slow {
		if _, err := lab.Eventually(within, func() error { return begun(filepath.Join(source.Dir, f.path), f.before) }); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	editBeside(t, source.Dir, target.Dir)
	t.Logf("%d other edits arrived within %.2f s while the slow writers wrote", edits, time.Since(begin).Seconds())
	end()
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, f := range slow {
		took, err := lab.Eventually(within, func() error { return holds(filepath.Join(target.Dir, f.path), f.want) })
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s is there %.2f s after the last was done", f.path, took.Seconds())
	}
	cancel()
	if err := readers.Wait(); err != nil {
		t.Error(err)
	}
	for _, f := range slow {
		f.checkRecords(t, l)
	}
}

// slowFile is a file whose writer takes its time.
type slowFile struct {
	path, before, want string
	// write stops in the middle until goOn is closed.
	write func(name string, goOn <-chan struct{}) error
}

// shell writes as a script does.
func shell(name string, goOn <-chan struct{}) error {
	cmd := exec.Command("/bin/sh", "-c", `(echo a; read line; echo b) > "$1"`, "sh", name)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	<-goOn
	return errors.Join(in.Close(), cmd.Wait())
}

// pieces writes in pieces over 0.5 s, in place.
func pieces(content string) func(string, <-chan struct{}) error {
	return func(name string, goOn <-chan struct{}) error {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		const n = 16
		for i := range n {
			if i == n/2 {
				<-goOn
			}
			if _, err := f.WriteString(content[len(content)*i/n : len(content)*(i+1)/n]); err != nil {
				return errors.Join(err, f.Close())
			}
			time.Sleep(500 * time.Millisecond / n)
		}
		return f.Close()
	}
}

// begun reports an error while a file is not there, or as it was before.
func begun(name, before string) error {
	b, err := os.ReadFile(name)
	if err == nil && (len(b) == 0 || string(b) == before) {
		err = fmt.Errorf("nothing is written to %s yet", name)
	}
	return err
}

// watch looks at the target until ctx ends: the file is as it was before, or as a
// whole, and never falls back.
func (f slowFile) watch(ctx context.Context, target string) error {
	done := false
	for ctx.Err() == nil {
		b, err := os.ReadFile(filepath.Join(target, f.path))
		switch {
		case err == nil && string(b) == f.want:
			done = true
		case done:
			return errors.Join(fmt.Errorf("%s was whole, and then %d bytes", f.path, len(b)), err)
		case errors.Is(err, fs.ErrNotExist) && f.before == "":
		case err != nil:
			return err
		case f.before == "" || string(b) != f.before:
			return fmt.Errorf("%s has %d bytes, neither the old nor all of the new: %.40q", f.path, len(b), b)
		}
		lab.Sleep(ctx, time.Millisecond)
	}
	return nil
}

// edits is how many edits are made beside slow writers.
const edits = 10

// editBeside replaces a file again and again, each time waiting until the target has it.
func editBeside(t *testing.T, source, target string) {
	t.Helper()
	for i := range edits {
		want := fmt.Sprintf("edit %d\n", i)
		outside := source + ".new"
		err := errors.Join(os.WriteFile(outside, []byte(want), 0o644), os.Rename(outside, filepath.Join(source, "other")))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lab.Eventually(within, func() error { return holds(filepath.Join(target, "other"), want) }); err != nil {
			t.Fatalf("an edit beside slow writers: %v", err)
		}
	}
}

func holds(name, want string) error {
	b, err := os.ReadFile(name)
	if err == nil && string(b) != want {
		err = fmt.Errorf("%s has %d bytes, want %d", name, len(b), len(want))
	}
	return err
}

// checkRecords looks at every generation in etcd.
func (f slowFile) checkRecords(t *testing.T, l *lab.Lab) {
	t.Helper()
	resp, err := l.Etcd.Client(t).Get(t.Context(), "/confsyncd/slow/pub/log/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, kv := range resp.Kvs {
		r, err := codec.NewCoder().DecodeRecord(kv.Value)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range r.List.Changes {
			if c.Path != f.path {
				continue
			}
			seen++
			if n := c.New.Size; n != int64(len(f.want)) && (f.before == "" || n != int64(len(f.before))) {
				t.Errorf("generation %d has %s with %d bytes: neither the old nor all of the new", r.Generation, f.path, n)
			}
		}
	}
	want := 1
	if f.before != "" {
		want = 2
	}
	if seen != want {
		t.Errorf("%s was published %d times in %d generations, want %d", f.path, seen, len(resp.Kvs), want)
	}
}
