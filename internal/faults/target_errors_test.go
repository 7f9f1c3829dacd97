//go:build faults

package faults

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// failingCall is a system call of applies that is made to fail.
type failingCall struct {
	name  string
	errno string
	modes []string
	// among limits the failures to calls on certain descriptors.
	among func(w *World) []string
	// quiet says that an apply need not fail with it.
	quiet bool
}

// errorCases make system calls of a running agent fail.
func errorCases() []Case {
	calls := []failingCall{
		{name: "write", errno: "EIO", among: staged},
		{name: "write", errno: "ENOSPC", among: staged},
		{name: "openat", errno: "EIO", among: stages},
		{name: "openat", errno: "EROFS", among: stages},
		{name: "renameat2", errno: "EROFS"},
		{name: "fchown", errno: "EIO"},
		{name: "fchmod", errno: "EIO", among: staged}, // Reports of its state are chmod'ed too.
		{name: "fsync", errno: "EIO"},
		{name: "fsync", errno: "ENOSPC"},
		{name: "syncfs", errno: "EIO", quiet: true}, // All is staged again, and made durable file by file.
		{name: "pwrite64", errno: "EIO", modes: []string{"files"}},
		{name: "pwrite64", errno: "ENOSPC", modes: []string{"files"}},
		{name: "fdatasync", errno: "EIO", modes: []string{"files"}},
		{name: "renameat2", errno: "EIO"},
		{name: "renameat2", errno: "ENOSPC"},
		{name: "mkdirat", errno: "EIO"},
		{name: "mkdirat", errno: "ENOSPC"},
		{name: "symlinkat", errno: "EIO"},
		{name: "linkat", errno: "EIO", modes: []string{"tree"}},
		{name: "linkat", errno: "ENOSPC", modes: []string{"tree"}},
		{name: "unlinkat", errno: "EIO", quiet: true}, // What is left over is swept later.
		{name: "read", errno: "EIO", among: managed, quiet: true},
		{name: "getdents64", errno: "EIO", quiet: true},
		{name: "newfstatat", errno: "EIO", among: directoriesOf},
		{name: "openat2", errno: "EIO"},
	}
	var cases []Case
	for _, c := range calls {
		cases = append(cases, Case{
			Name: fmt.Sprintf("%s on %s", c.errno, c.name), Modes: c.modes, Needs: Needs{Root: true, Programs: []string{"strace"}},
			How: fmt.Sprintf("strace has %s of the running agent return %s: the first of each thread, the second, the third, then all for a while", c.name, c.errno),
			Try: func(w *World) { w.fails(c) },
		})
	}
	return append(cases, Case{
		Name: "staged again after fsync failed", Needs: Needs{Root: true, Programs: []string{"strace"}},
		How: "strace has one fsync or syncfs fail while it lists what is written: all that is switched in was written after that",
		Try: tryStagedAgain,
	})
}

// stages are the directories in which is staged, in either mode.
func stages(w *World) []string {
	if w.Mode == "files" {
		return []string{w.At(".confsyncd/stage")}
	}
	next := filepath.Join(filepath.Dir(w.Target.Dir), ".dir.confsyncd", "next")
	all := []string{next, filepath.Join(filepath.Dir(next), "stage")}
	for p, n := range w.Writer.Model {
		if n.Mode.IsDir() {
			all = append(all, filepath.Join(next, p))
		}
	}
	return all
}

// staged are the files that are staged, in either mode.
func staged(w *World) []string {
	var all []string
	for i, dir := range stages(w) {
		if filepath.Base(dir) == "stage" {
			for i := range 40 {
				all = append(all, fmt.Sprintf("%s/%d", dir, i))
			}
		} else if i == 0 {
			for p := range w.Writer.Model {
				all = append(all, filepath.Join(dir, p))
			}
		}
	}
	return all
}

// directoriesOf are those of the target.
func directoriesOf(w *World) []string {
	all := []string{w.Target.Dir}
	for p, n := range w.Writer.Model {
		if n.Mode.IsDir() {
			all = append(all, w.At(p))
		}
	}
	return all
}

// managed are the files of the target.
func managed(w *World) []string {
	var all []string
	for _, p := range w.Files() {
		all = append(all, w.At(p))
	}
	return all
}

// fails makes one call fail in several ways, while changesets of all sizes arrive.
func (w *World) fails(c failingCall) {
	w.Helper()
	hits := 0
	for _, when := range []string{"1", "2", "3", "1+"} {
		w.InStep()
		var among []string
		if c.among != nil {
			among = c.among(w)
		}
		text := map[string]string{"EIO": "input/output error", "ENOSPC": "no space left on device", "EROFS": "read-only file system"}[c.errno]
		told := lab.CountLines(w.Target.Log, text)
		in := w.Inject(c.name, c.errno, when, among...)
		w.Replace(1)
		if when == "1+" {
			time.Sleep(100 * time.Millisecond) // So that the one path is a generation.
		}
		w.Replace(12)
		w.Mixed() // Last, so that none of its kinds is replaced before it arrives.
		if c.name == "read" {
			w.do(w.Target.Daemon.Cmd.Process.Signal(unix.SIGUSR1)) // All contents are read.
		}
		if when == "1+" && !c.quiet {
			w.awaitFailure(text, told)
			remedy := map[string]string{"EIO": "look at the disk and the kernel's log", "ENOSPC": "make room", "EROFS": "mount it writable"}[c.errno]
			w.tells(text, remedy, w.Target.Dir)
			w.Edit(5)
			in.Await(3)
		} else {
			// Not every call is made in every apply, or fails it.
			_, _ = lab.Eventually(3*time.Second, func() error {
				if n := in.Hits(); n == 0 {
					return errors.New("no call failed")
				}
				return nil
			})
		}
		hits += in.Hits()
		in.End()
		w.Healed()
		w.Converge()
		w.Honest()
	}
	if hits == 0 {
		w.Errorf("no call of %s failed", c.name)
	}
}

// awaitFailure waits until the agent tells of one more failure than before, and goes on
// editing: what was drawn may come to an apply without the call that fails.
func (w *World) awaitFailure(text string, before int) {
	w.Helper()
	wait := func() error {
		if lab.CountLines(w.Target.Log, text) == before {
			return fmt.Errorf("the agent tells of no %s", text)
		}
		return nil
	}
	for range 20 {
		if _, err := lab.Eventually(time.Second, wait); err == nil {
			return
		}
		w.Mixed()
	}
	w.do(wait())
}

// tryStagedAgain has what is made durable fail, and looks what was written after that.
func tryStagedAgain(w *World) {
	for call, files := range map[string]int{"fsync": 3, "syncfs": 20} {
		if w.Mode == "tree" && call == "fsync" {
			files = 1 // All but a single path is made durable by syncfs.
		}
		in := w.inject("write,"+call, call, "EIO", "1", append(staged(w), stages(w)...)...)
		if w.Mode == "tree" && call == "syncfs" {
			in.End()
			in = w.inject("write,syncfs", call, "EIO", "1") // Through the sibling, as is all else.
		}
		w.Replace(files)
		in.Await(1)
		w.InStep()
		in.End()
		b, err := os.ReadFile(in.log)
		w.do(err)
		after := string(b[bytes.LastIndex(b, []byte("(INJECTED)")):])
		written := 0
		for line := range strings.Lines(after) {
			if strings.Contains(line, "write(") && strings.Contains(line, ".confsyncd/") {
				written++
			}
		}
		if written < files/2 { // Some are drawn twice, some are symlinks.
			w.wrong("b", "after an error in %s %d files were written again, of %d", call, written, files)
		}
	}
}
