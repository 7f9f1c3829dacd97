//go:build faults

package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// sourceCases are what people and programs do in a source.
func sourceCases() []Case {
	return slices.Concat(eventCases(), unseenCases(), rootCases(), subdirectoryCases(), mountCases(), editorCases(), toolCases(), fileCases(), heldCases(), nameCases())
}

// AsFound has the target become what the source is in the end, whoever wrote it: all but
// what is ignored by default, what a tree does not carry, and the paths that are named.
func (w *World) AsFound(but ...string) {
	w.Want = func() (lab.Tree, error) {
		dir, err := filepath.EvalSymlinks(w.Source.Dir)
		if err != nil {
			return nil, err
		}
		tree, err := lab.ReadTree(dir)
		maps.DeleteFunc(tree, func(p string, n lab.Node) bool {
			kind := n.Mode.Type()
			return kind != 0 && kind != fs.ModeDir && kind != fs.ModeSymlink || p == ".git" || slices.Contains(but, p) ||
				slices.ContainsFunc(append(but, ".git"), func(b string) bool { return strings.HasPrefix(p, b+"/") })
		})
		return tree, err
	}
}

// AllowBelow lets all that lies below a directory be seen below another path too.
func (w *World) AllowBelow(dir, as string) {
	w.Helper()
	tree, err := lab.ReadTree(dir)
	w.do(err)
	for p, n := range tree {
		w.Writer.Ledger.Allow(filepath.Join(as, p), uint32(n.Mode.Perm()), n.Content)
	}
}

// Overwrite writes a new version of a file in place, as a shell does.
func (w *World) Overwrite(path string, size int) {
	w.Helper()
	content := w.Writer.Version(path, 0o644, size)
	w.do(os.WriteFile(w.Writer.Name(path), []byte(content), 0o644))
}

// Arrives waits until the target has what the source has at a path, and returns how long
// that took.
func (w *World) Arrives(path string) time.Duration {
	w.Helper()
	took, err := lab.Eventually(20*time.Second, func() error {
		want, err := os.ReadFile(w.Writer.Name(path))
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(w.Target.Dir, path))
		if err == nil && string(got) != string(want) {
			err = fmt.Errorf("%s has another content", path)
		}
		return err
	})
	if err != nil {
		w.wrong("e", "%v", err)
		w.FailNow()
	}
	return took
}

// Beside edits a file that nothing is wrong with, and waits until it has arrived.
func (w *World) Beside() {
	w.Helper()
	w.Overwrite("beside.conf", 200)
	w.Arrives("beside.conf")
}

// Holds waits until the publisher says that it holds, in its log and in status, with all
// the words in its reason, which it returns. Nothing may have changed by then.
func (w *World) Holds(generation uint64, target lab.Tree, words ...string) string {
	w.Helper()
	reason := w.Stands("holding", words...)
	w.Says(w.Source, append(words, "holding")...)
	if now := w.Source.Generation(w.T); now != generation {
		w.wrong("d", "generation %d was published before it held", now)
	}
	got, err := lab.ReadTree(w.Target.Dir)
	w.do(err)
	if err := lab.Differ(target, got); err != nil {
		w.wrong("d", "while it holds: %v", err)
	}
	return reason
}

// Stands waits until status tells a state of the source, with all the words in its reason,
// which it returns.
func (w *World) Stands(state string, words ...string) (reason string) {
	w.Helper()
	_, err := lab.Eventually(20*time.Second, func() error {
		sources := w.Source.Status(w.T).Sources
		if len(sources) != 1 || sources[0].State != state {
			return fmt.Errorf("status tells %+v, not %s", sources, state)
		}
		reason = sources[0].Reason
		for _, word := range words {
			if !strings.Contains(reason, word) {
				return fmt.Errorf("the reason %q does not say %q", reason, word)
			}
		}
		return nil
	})
	if err != nil {
		w.wrong("f", "%v", err)
		w.FailNow()
	}
	w.result.checked("f", true)
	return reason
}

// HeldBack waits until log and status tell that a path is held back, and why.
func (w *World) HeldBack(path, reason string) {
	w.Helper()
	w.Says(w.Source, "held back", fmt.Sprintf("%q", path), reason, `"remedy":"`)
	_, err := lab.Eventually(20*time.Second, func() error {
		for _, s := range w.Source.Status(w.T).Sources {
			for _, h := range s.Held {
				if strings.Contains(h, fmt.Sprintf("%q", path)) && strings.Contains(h, reason) {
					return nil
				}
			}
		}
		return fmt.Errorf("status does not tell that %s is held back: %s", path, reason)
	})
	if err != nil {
		w.wrong("f", "%v", err)
	}
}

// Type runs the command that a reason names as its remedy, as it is written there.
func (w *World) Type(reason string) {
	w.Helper()
	_, rest, begun := strings.Cut(reason, `"confsyncd `)
	command, _, ended := strings.Cut(rest, `"`)
	if !begun || !ended {
		w.wrong("f", "no command to type in %q", reason)
		w.FailNow()
	}
	if r := w.Source.Command(w.T, strings.Fields(command)...); r.Code != 0 {
		w.wrong("f", "the remedy %q: %v", command, r)
		w.FailNow()
	}
}

// Now returns the newest generation, and what the target is, once both are at rest.
func (w *World) Now() (uint64, lab.Tree) {
	w.Helper()
	w.Equal(20 * time.Second)
	tree, err := lab.ReadTree(w.Target.Dir)
	w.do(err)
	return w.Source.Generation(w.T), tree
}

// Aside is a path beside the source that a case may use.
func (w *World) Aside(name string) string {
	return filepath.Join(filepath.Dir(w.Source.Dir), "lab-"+name)
}

// Signal signals the publisher.
func (w *World) Signal(s syscall.Signal) {
	w.Helper()
	w.do(w.Source.Daemon.Cmd.Process.Signal(s))
}

// Rehash has the publisher read all files again, as it does by itself each hour.
func (w *World) Rehash() {
	w.Helper()
	w.Signal(syscall.SIGUSR1)
}

// Copied makes a copy of the source that has all but the inodes.
func (w *World) Copied(to string) {
	w.Helper()
	w.run("cp", "-a", w.Source.Dir, to)
}

// run runs a program, which must succeed.
func (w *World) run(name string, args ...string) {
	w.Helper()
	w.runIn("", nil, name, args...)
}

// sortedFiles returns the files of the Writer, without symlinks.
func (w *World) sortedFiles() []string {
	return w.Writer.Paths(func(n lab.Node) bool { return n.Mode.IsRegular() })
}

// away moves the source away, and returns what puts it back.
func (w *World) away() (back func()) {
	w.Helper()
	to := w.Aside("away")
	w.do(os.Rename(w.Source.Dir, to))
	return func() {
		w.Helper()
		w.do(errors.Join(os.RemoveAll(w.Source.Dir), os.Rename(to, w.Source.Dir)))
	}
}
