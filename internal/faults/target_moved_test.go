//go:build faults

package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// movedCases move, copy and empty targets, with and without what an agent keeps in them.
func movedCases() []Case {
	return []Case{
		{
			Name: "moved away and back", How: "mv of the target of a running agent, which makes it anew; the old one is moved back",
			Try: func(w *World) {
				w.stopReading()
				away := filepath.Join(filepath.Dir(w.Target.Dir), "lab-away")
				w.do(os.Rename(w.Target.Dir, away))
				w.Healed()
				w.Converge()
				before, err := lab.Stamps(away)
				w.do(err)
				w.Mixed()
				w.InStep()
				after, err := lab.Stamps(away)
				w.do(err)
				for p, st := range before {
					if after[p] != st {
						w.wrong("d", "%s was touched in the directory that was moved away", p)
					}
				}
				w.do(unix.Renameat2(unix.AT_FDCWD, away, unix.AT_FDCWD, w.Target.Dir, unix.RENAME_EXCHANGE))
				w.remove(away)
				w.Mixed()
				w.Healed()
				w.Converge()
				w.BeStrange() // A half-made target may have been moved away in between.
				w.reader = &lab.Reader{Dir: w.Target.Dir, Ledger: w.Writer.Ledger}
				w.Read()
			},
		},
		{
			Name: "copied by cp -a", How: "cp -a of the target of a running agent takes its place, and is started on another host",
			Needs: Needs{Programs: []string{"cp:coreutils"}},
			Try:   func(w *World) { w.copied("cp", "-a", "--") },
		},
		{
			Name: "copied by rsync", How: "rsync -a of the target of a running agent takes its place, and is started on another host",
			Needs: Needs{Programs: []string{"rsync"}},
			Try:   func(w *World) { w.copied("rsync", "-a", "--") },
		},
		{
			Name: "emptied", How: "rm -rf of all in the target of a running agent but .confsyncd",
			Try: func(w *World) { w.emptied(true) },
		},
		{
			Name: "emptied with .confsyncd", How: "rm -rf of all in the target of a running agent, .confsyncd included",
			Try: func(w *World) { w.emptied(false) },
		},
		{
			Name: "removed", How: "rm -rf of the target of a running agent, again and again; one time it is made anew at once",
			Try: func(w *World) {
				w.stopReading()
				w.BeStrange()
				for i := range 4 {
					w.remove(w.Target.Dir)
					if i%2 == 0 {
						if err := os.Mkdir(w.Target.Dir, 0o755); !os.IsExist(err) {
							w.do(err)
						}
					}
					if i > 1 {
						w.Mixed()
					}
					w.Healed()
					w.Converge()
				}
				w.reader = &lab.Reader{Dir: w.Target.Dir, Ledger: w.Writer.Ledger}
				w.Read()
			},
		},
		{
			Name: "replaced by a symlink or a file", How: "the target of a running agent is moved away, and a file, then a dangling symlink, put in its place; then it is moved back",
			Try: func(w *World) {
				w.stopReading()
				away := filepath.Join(filepath.Dir(w.Target.Dir), "lab-away")
				for _, put := range []func() error{
					func() error { return os.WriteFile(w.Target.Dir, []byte("not ours\n"), 0o600) },
					func() error { return os.Symlink("lab-nowhere", w.Target.Dir) },
				} {
					w.do(errors.Join(os.Rename(w.Target.Dir, away), put()))
					w.Mixed()
					w.tells("holding", w.Target.Dir)
					w.do(errors.Join(os.Remove(w.Target.Dir), os.Rename(away, w.Target.Dir)))
					w.Healed()
					w.Converge()
				}
				w.Read()
			},
		},
	}
}

// copied puts a copy in the target's place, and then gives another host one, copied while
// applies are under way.
func (w *World) copied(command string, args ...string) {
	w.Helper()
	w.stopReading()
	w.BeStrange() // A copy may be of the midst of an apply.
	copyTo := func(to string) {
		w.do(os.MkdirAll(filepath.Dir(to), 0o755))
		out, err := exec.Command(command, append(args, w.Target.Dir+"/.", to)...).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "No such file") && !strings.Contains(string(out), "vanished") {
			w.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	away, again := filepath.Join(filepath.Dir(w.Target.Dir), "lab-away"), filepath.Join(filepath.Dir(w.Target.Dir), "lab-copy")
	copyTo(again)
	w.do(unix.Renameat2(unix.AT_FDCWD, again, unix.AT_FDCWD, w.Target.Dir, unix.RENAME_EXCHANGE))
	w.do(os.Rename(again, away))
	w.Mixed()
	w.Healed()
	w.Converge()
	for i := range 4 {
		dir := filepath.Join(w.Lab.Dir, fmt.Sprint("prod-other", i), "dir")
		other := w.twin(dir)
		other.State = filepath.Join(filepath.Dir(dir), "state")
		w.Edit(5)
		w.Mixed()
		w.InStep() // A copy of the midst of an apply may be torn: it is met as a first contact, and waits for somebody.
		copyTo(dir)
		starts := lab.CountLines(other.Log, `"applying"`)
		w.do(other.Start("agent", w.AgentFlags()...))
		_, err := lab.Eventually(w.c.within(), func() error { // Else it may be told to end before it listens to signals.
			if lab.CountLines(other.Log, `"applying"`) == starts {
				return errors.New("the agent has not begun")
			}
			return nil
		})
		w.do(err)
		w.Healed()
		w.Converge()
		if _, err := lab.Equal(w.Writer.Model, dir, w.c.within()); err != nil {
			w.wrong("e", "the copy on another host: %v\nits agent: %s", err, lab.Tail(other.Log))
		}
		w.do(other.Stop())
		other.Daemon = nil
	}
	w.reader = &lab.Reader{Dir: w.Target.Dir, Ledger: w.Writer.Ledger}
	w.Read()
}

// remove is rm -rf of what an agent may be writing to.
func (w *World) remove(name string) {
	w.Helper()
	_, err := lab.Eventually(5*time.Second, func() error { return os.RemoveAll(name) })
	w.do(err)
}

// emptied deletes all in the target, at rest and while generations arrive.
func (w *World) emptied(keep bool) {
	w.Helper()
	w.stopReading()
	w.BeStrange()
	for i := range 3 {
		if i > 0 {
			w.Mixed()
		}
		entries, err := os.ReadDir(w.Target.Dir)
		w.do(err)
		for _, e := range entries {
			if !keep || e.Name() != ".confsyncd" {
				w.remove(w.At(e.Name()))
			}
		}
		w.Healed()
		w.Converge()
	}
	w.reader = &lab.Reader{Dir: w.Target.Dir, Ledger: w.Writer.Ledger}
	w.Read()
}
