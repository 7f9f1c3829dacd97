//go:build faults

package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// sizeCases are changesets, files and modes at and beyond the limits.
func sizeCases() []Case {
	return []Case{
		{
			Name: "50,000 changes at once", Slow: true, Alone: true, Within: 4 * time.Minute,
			How: "50,000 files of 100 to 300 bytes are made under .confsyncd-hold, then all replaced, then all deleted: one generation each; " +
				"in tree mode, somebody looks whether ever a part of them is there",
			Setup: Setup{Publish: []string{"--max-delete", "100%"}},
			Try:   (*World).many,
		},
		{
			Name: "a file over the limit", Modes: []string{"files"},
			How:   "max_file_size = 128KiB; a file of a byte more is there at the first push, and grows beyond it later, and shrinks again",
			Setup: Setup{Empty: true, Publish: []string{"--max-file-size", "128KiB"}},
			Try:   (*World).tooLarge,
		},
		{
			Name: "the longest symlink, path and name",
			How:  "a symlink to 4,095 bytes, a name of 255 bytes, and a path of 3,770 bytes are published; one of 4,266 is refused to push",
			Try:  (*World).longest,
		},
		{
			Name: "setuid, setgid and sticky bits published",
			How:  "chmod 4755, 2755, 6711, 1777 of files and directories in the source; the target never has them",
			Try:  (*World).setuid,
		},
	}
}

// many makes, replaces and deletes 50,000 files, each in one changeset.
func (w *World) many() {
	const dirs, each = 50, 1000
	// To read them all, all the time, would be a test of the reader: it reads every
	// hundredth. Whether all are right is looked at after each step.
	sample := func(path string) bool {
		return strings.HasPrefix(path, "big") && strings.Contains(path, "/") && !strings.HasSuffix(path, "00")
	}
	w.reader.Skip(sample)
	at := w.Source.Generation(w.T)
	stop := make(chan struct{})
	seen := make(chan error, 1)
	go func() { seen <- w.allOrNothing(stop, dirs, each) }()
	hold := filepath.Join(w.Source.Dir, ".confsyncd-hold")
	for _, what := range []string{"made", "replaced", "deleted"} {
		w.do(os.WriteFile(hold, nil, 0o600))
		for d := range dirs {
			dir := fmt.Sprintf("big%02d", d)
			if what == "deleted" {
				w.do(w.Writer.Remove(dir))
				continue
			}
			w.do(w.Writer.Mkdirs(dir))
			for f := range each {
				path := fmt.Sprintf("%s/f%03d", dir, f)
				// ext4 writes a file out when it is renamed over another (auto_da_alloc).
				if err := os.Remove(w.Writer.Name(path)); !errors.Is(err, fs.ErrNotExist) {
					w.do(err)
				}
				w.do(w.Writer.Add(path, 0o644, fmt.Sprintf("%s %s %d %d\n%s\n", lab.Secret, what, d, f, strings.Repeat("x = y\n", f%30))))
			}
		}
		begin := time.Now()
		w.do(os.Remove(hold))
		w.Equal(w.c.within())
		w.Note("%s: equal after %.1f s", what, time.Since(begin).Seconds())
		at++
		if got := w.Source.Generation(w.T); got != at {
			w.wrong("a", "%d files %s: generation %d, not %d", dirs*each, what, got, at)
		}
		w.reader.Skip(nil)
		w.Honest()
		w.reader.Skip(sample)
		w.Count("changes", dirs*each)
	}
	w.reader.Skip(nil)
	close(stop)
	if err := <-seen; err != nil {
		w.wrong("a", "%v", err)
	}
	w.Healed()
}

// allOrNothing looks, in tree mode, whether a part of the files is ever there without the
// rest.
func (w *World) allOrNothing(stop <-chan struct{}, dirs, each int) error {
	if w.Mode != "tree" {
		return nil
	}
	for {
		select {
		case <-stop:
			return nil
		case <-time.After(20 * time.Millisecond):
		}
		root, err := os.OpenRoot(w.Target.Dir) // One tree, whichever stands there afterwards.
		if err != nil {
			continue // It is being switched.
		}
		count := 0
		for d := range dirs {
			f, err := root.Open(fmt.Sprintf("big%02d", d))
			if err != nil {
				continue
			}
			names, _ := f.Readdirnames(-1) // An old tree may be removed meanwhile.
			count += len(names)
			f.Close()
		}
		now, err := root.Stat(".confsyncd")
		current, errNow := os.Stat(filepath.Join(w.Target.Dir, ".confsyncd"))
		root.Close()
		if err != nil || errNow != nil || !os.SameFile(now, current) {
			continue // An old tree: it may have been in removal.
		}
		if count != 0 && count != dirs*each {
			return fmt.Errorf("%d of %d files were there", count, dirs*each)
		}
	}
}

func (w *World) tooLarge() {
	large := strings.Repeat("x", 128<<10+1)
	small := large[:128<<10]
	w.do(w.Writer.Add("large", 0o644, large))
	r := w.Source.Run(w.T, "push", "--max-file-size", "128KiB", "--publisher", "ci")
	if err := missing(r.Err, []string{"large", "--allow size"}); r.Code != 5 || err != nil {
		w.wrong("f", "push: %v: %v", r, err)
	}
	w.Count("bad inputs", 1)
	w.Want = func() (lab.Tree, error) {
		tree, err := lab.ReadTree(w.Source.Dir)
		delete(tree, "large")
		return tree, err
	}
	w.Start()
	w.Says(w.Source, "held back", "large", "max_file_size")
	w.Edit(3)
	w.Healed()
	w.Converge()

	w.Want = nil
	w.do(w.Writer.Add("large", 0o644, small))
	w.Healed()
	w.Converge()

	w.Want = func() (lab.Tree, error) {
		tree, err := lab.ReadTree(w.Source.Dir)
		tree["large"] = lab.Node{Mode: 0o644, Content: small}
		return tree, err
	}
	f, err := os.OpenFile(w.Writer.Name("large"), os.O_WRONLY|os.O_APPEND, 0)
	w.do(err)
	_, err = f.WriteString("y")
	w.do(errors.Join(err, f.Close()))
	w.Count("bad inputs", 1)
	w.Edit(3)
	w.Healed()
	w.Converge()
	if state := w.Source.Report(w.T).Sources[0]; !strings.Contains(state.Reason, "held back") {
		w.wrong("f", "status says of the source: %+v", state)
	}
	w.Want = nil
	w.do(w.Writer.Add("large", 0o600, "small again\n"))
	w.Healed()
}

func (w *World) longest() {
	to := strings.Repeat("t/", 2047) + "t"
	w.Writer.Ledger.Allow("link", 0, to)
	w.do(os.Symlink(to, w.Writer.Name("link")))
	w.Writer.Model["link"] = lab.Node{Mode: fs.ModeSymlink, Content: to}
	w.do(w.Writer.Add(strings.Repeat("n", 255), 0o644, "named\n"))
	w.Equal(w.c.within())

	// Near what a system call takes in one piece, and, at another tenant that nobody
	// applies, beyond.
	name := strings.Repeat("d", 250)
	w.do(w.Writer.Mkdirs(strings.Repeat(name+"/", 13) + name))
	w.do(w.Writer.Add(strings.Repeat(name+"/", 14)+"file", 0o644, "deep\n"))
	w.Equal(w.c.within())
	deeper := w.Lab.Host(w.T, "deeper", "source")
	deep, err := os.OpenRoot(deeper.Dir)
	w.do(err)
	for range 17 {
		w.do(deep.Mkdir(name, 0o755))
		next, err := deep.OpenRoot(name)
		w.do(errors.Join(err, deep.Close()))
		deep = next
	}
	w.do(errors.Join(deep.WriteFile("file", []byte("too deep\n"), 0o644), deep.Close()))
	r := deeper.Run(w.T, "push")
	if err := missing(r.Err, []string{name, "at most 4095"}); r.Code != 5 || err != nil {
		w.wrong("f", "push: %v: %v", r, err)
	}
	w.do(os.RemoveAll(deeper.Dir))
	w.Count("bad inputs", 1)
	w.Replace(3) // What is deep is not to be moved deeper: the Reader's own calls take 4,095 bytes.
	w.Healed()
}

func (w *World) setuid() {
	files := w.Writer.Paths(func(n lab.Node) bool { return n.Mode.IsRegular() })
	dirs := w.Writer.Paths(func(n lab.Node) bool { return n.Mode.IsDir() })
	for i, mode := range []fs.FileMode{fs.ModeSetuid | 0o755, fs.ModeSetgid | 0o755, fs.ModeSetuid | fs.ModeSetgid | 0o711} {
		w.Writer.AllowMode(files[i], mode)
		w.do(os.Chmod(w.Writer.Name(files[i]), mode))
		w.Count("bad inputs", 1)
	}
	w.Writer.AllowMode(dirs[0], fs.ModeDir|fs.ModeSticky|0o777)
	w.do(os.Chmod(w.Writer.Name(dirs[0]), fs.ModeSticky|0o777))
	w.Count("bad inputs", 1)
	w.Want = func() (lab.Tree, error) {
		tree, err := lab.ReadTree(w.Source.Dir)
		for p, n := range tree {
			n.Mode &^= fs.ModeSetuid | fs.ModeSetgid
			tree[p] = n
		}
		return tree, err
	}
	w.Healed()
}
