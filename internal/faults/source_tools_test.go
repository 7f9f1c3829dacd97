//go:build faults

package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// toolCases have the real programs put whole trees into the source.
func toolCases() []Case {
	var cases []Case
	for _, way := range []struct {
		name string
		args []string
	}{
		{"rsync", []string{"--bwlimit=4M"}},
		{"rsync --inplace", []string{"--inplace", "--bwlimit=4M"}},
		{"rsync --inplace --whole-file, without temporary files", []string{"--inplace", "--whole-file"}},
	} {
		cases = append(cases, Case{
			Name: "written by " + way.name, How: fmt.Sprintf("rsync -a %q, from a tree with files of 2 MB, new, changed and with --delete", way.args),
			Needs: Needs{Programs: []string{"rsync"}}, Setup: asInstalled(), Modes: []string{"files"},
			Try: func(w *World) { w.rsynced(way.args) },
		})
	}
	return append(cases, Case{
		Name: "git checkout", How: "git checkout to and fro between two branches of 400 files each; its .git/index.lock is a busy file, so that each checkout is one generation",
		Needs: Needs{Programs: []string{"git"}}, Setup: asInstalled(),
		Try: checkouts,
	}, Case{
		Name: "..data swapped as Kubernetes does", How: "thirty times a new directory with all files, a symlink ..data renamed over the one before, the old directory deleted; the files are symlinks through ..data, and are read through it all the while",
		Setup: asInstalled(),
		Try:   dataSwaps,
	})
}

// rsynced has rsync make the source like another tree, again and again.
func (w *World) rsynced(args []string) {
	w.Helper()
	w.AsFound()
	from := w.Aside("from")
	w.Copied(from)
	w.Start()
	for i := range 6 {
		for _, p := range []string{"big", "d0/big", fmt.Sprintf("d0/sub/new%d", i)} {
			content := lab.Compose(uint64(1_000_000+w.number), p, 0o644, 2_000_000+i)
			w.number++
			w.Writer.Ledger.Allow(p, 0o644, content)
			w.do(os.WriteFile(filepath.Join(from, p), []byte(content), 0o644))
		}
		w.do(os.RemoveAll(filepath.Join(from, fmt.Sprintf("d0/sub/new%d", i-2))))
		w.run("rsync", append([]string{"-a", "--delete", from + "/", w.Source.Dir + "/"}, args...)...)
		w.Arrives("big")
		w.Count("faults", 1)
	}
	w.Healed()
}

func checkouts(w *World) {
	w.AsFound()
	git := func(args ...string) {
		w.Helper()
		w.runIn(w.Source.Dir, []string{
			"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org",
			"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
		}, "git", args...)
	}
	branches := []string{"first", "second"}
	git("init", "-q", "-b", branches[0])
	var trees []lab.Tree
	for b, branch := range branches {
		if b > 0 {
			git("checkout", "-q", "-b", branch)
		}
		for i := range 400 {
			p := fmt.Sprintf("git%d/%s/file%d", i%7, branch, i)
			if i%2 == 0 {
				p = fmt.Sprintf("git%d/file%d", i%7, i)
			}
			content := lab.Compose(uint64(1_000_000+1000*b+i), p, 0o644, 2000)
			w.Writer.Ledger.Allow(p, 0o644, content)
			w.do(errors.Join(os.MkdirAll(filepath.Dir(w.Writer.Name(p)), 0o755), os.WriteFile(w.Writer.Name(p), []byte(content), 0o644)))
		}
		git("add", ".")
		git("commit", "-q", "-m", branch)
		git("checkout", "-q", branch) // Modes as git makes them.
		tree, err := lab.ReadTree(w.Source.Dir)
		w.do(err)
		trees = append(trees, tree)
	}
	for p, n := range trees[1] {
		w.Writer.Ledger.Allow(p, uint32(n.Mode.Perm()&0o755|0o644), n.Content)
	}
	w.Start()
	before := w.Source.Generation(w.T)
	const times = 12
	for i := range times {
		git("checkout", "-q", branches[i%2])
		w.Equal(20 * time.Second)
		w.Count("faults", 1)
	}
	if made := w.Source.Generation(w.T) - before; made != times {
		w.wrong("c", "%d checkouts made %d generations", times, made)
	}
	for i := range 10 {
		git("checkout", "-q", branches[i%2])
		w.Count("faults", 1)
	}
	w.Healed()
}

func dataSwaps(w *World) {
	w.AsFound()
	const names = 30
	link := func(p, to string) {
		w.Helper()
		w.Writer.Ledger.Allow(p, 0, to)
		w.do(os.Symlink(to, w.Writer.Name(p)))
	}
	fill := func(i int) {
		w.Helper()
		dir := fmt.Sprintf("..2026_%02d", i)
		w.do(w.Writer.Mkdirs(dir))
		for n := range names {
			w.Overwrite(fmt.Sprintf("%s/file%d.conf", dir, n), 500)
		}
		w.Writer.Ledger.Allow("..data", 0, dir) // It is renamed to that.
		link("..data_tmp", dir)
		w.do(os.Rename(w.Writer.Name("..data_tmp"), w.Writer.Name("..data")))
		if i > 0 {
			w.do(os.RemoveAll(w.Writer.Name(fmt.Sprintf("..2026_%02d", i-1))))
		}
	}
	fill(0)
	for n := range names {
		link(fmt.Sprintf("file%d.conf", n), fmt.Sprintf("..data/file%d.conf", n))
	}
	w.Start()
	stop := w.readThrough(names)
	for i := range 30 {
		fill(i + 1)
		w.Equal(20 * time.Second)
		w.Count("faults", 1)
	}
	w.Healed()
	w.Converge()
	if err := stop(); err != nil {
		w.wrong("a", "read through ..data: %v", err)
	}
}

// readThrough reads the files of the target through their symlinks, until the function that
// it returns is called, which tells what was not a whole version.
func (w *World) readThrough(names int) (stop func() error) {
	done, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				ended <- nil
				return
			default:
			}
			b, err := os.ReadFile(filepath.Join(w.Target.Dir, fmt.Sprintf("file%d.conf", i%names)))
			if _, ok := lab.Parse(string(b)); err == nil && !ok {
				err = fmt.Errorf("%d bytes are no version", len(b))
			}
			if err != nil {
				ended <- err
				return
			}
			time.Sleep(100 * time.Microsecond)
		}
	}()
	return func() error {
		close(done)
		return <-ended
	}
}
