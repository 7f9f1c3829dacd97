//go:build faults

package faults

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// stateCases damage what an agent keeps in its target.
func stateCases() []Case {
	return []Case{
		{
			Name: "journal lost", How: "the journal is deleted while the agent is stopped, while it runs, and before files differ; then \"pull --existing replace\" as the log says",
			Try: tryJournalLost,
		},
		{
			Name: "journal cut", How: "the journal is cut at 24 lengths, spread over all of it; each time a pull follows",
			Try: func(w *World) {
				w.spoil(24, "bad inputs", func(b []byte, i int) []byte { return b[:len(b)*i/24] })
			},
		},
		{
			Name: "journal with flipped bits", How: "a bit is flipped at 32 places, spread over all of the journal; each time a pull follows",
			Try: func(w *World) {
				w.spoil(32, "bad inputs", func(b []byte, i int) []byte {
					b[len(b)*i/32] ^= 1 << w.Writer.Draw(8)
					return b
				})
			},
		},
		{
			Name: "journal of a newer version", How: "the version in the journal's header is raised while the agent is stopped, and set back",
			Try: tryJournalNewer,
		},
		{
			Name: ".confsyncd is a file", How: "in place of .confsyncd stands a file; it is moved away",
			Try: func(w *World) {
				w.instead(func(own string) error { return os.WriteFile(own, []byte("not ours\n"), 0o600) })
			},
		},
		{
			Name: ".confsyncd is a symlink", How: "in place of .confsyncd stands a symlink to a directory elsewhere; it is moved away",
			Try: func(w *World) {
				w.instead(func(own string) error {
					return os.Symlink(filepath.Join(filepath.Dir(w.Target.Dir), "bystander"), own)
				})
			},
		},
		{
			Name: ".confsyncd belongs to another user", Needs: Needs{Root: true}, How: "chown of .confsyncd, and back",
			Try: func(w *World) {
				own := w.At(".confsyncd")
				w.do(w.Target.Stop())
				w.do(os.Lchown(own, nobody, nobody))
				w.Mixed()
				w.Agent()
				w.tells(own, "belongs to uid 65534", "chown -R")
				w.do(os.Lchown(own, 0, 0))
				w.Healed()
			},
		},
		{
			Name: "foreign things in the stage", How: "files, directories that hold something, symlinks, FIFOs and the names of staged files lie in the stage, while the agent runs and while it is stopped",
			Try: tryForeignStage,
		},
		{
			Name: "own directories deleted", How: "rm -rf of .confsyncd/stage, and in tree mode of the sibling, while the agent runs",
			Try: func(w *World) {
				w.BeStrange()
				w.do(os.RemoveAll(filepath.Join(w.own(), "stage")))
				w.Mixed()
				w.Healed()
				w.Converge()
				if w.Mode == "tree" {
					w.remove(w.own())
					w.Mixed()
					w.Healed()
				}
			},
		},
	}
}

// settled waits until the agent has put everything of an apply away, and stops it.
func (w *World) settled() {
	w.Helper()
	w.InStep()
	w.do(w.Target.Stop())
}

func (w *World) journal() string { return w.At(".confsyncd/journal") }

// mustPull pulls, and wants the target to equal the source then.
func (w *World) mustPull(flags ...string) {
	w.Helper()
	r := w.Target.Run(w.T, "pull", append([]string{"--mode", w.Mode}, flags...)...)
	if r.Code != 0 {
		w.wrong("e", "pull %q: %v", flags, r)
		return
	}
	if err := w.differ(); err != nil {
		w.wrong("c", "after a pull %q: %v", flags, err)
	}
}

func tryJournalLost(w *World) {
	w.stopReading() // Its generation begins anew.
	w.settled()
	w.do(os.Remove(w.journal()))
	w.Agent()
	_, err := lab.Eventually(20*time.Second, func() error { return lab.Honest(w.Target.Dir, nil) })
	w.do(err) // It has adopted what is there.
	w.Replace(3)
	w.InStep()
	w.do(os.Remove(w.journal()))
	w.Mixed() // It goes on with what it remembers.
	w.Healed()
	w.Converge()

	w.settled()
	w.do(os.Remove(w.journal()))
	changed := w.Files()[0]
	w.do(w.Writer.PutFile(changed))
	w.upToDate()
	before, err := lab.ReadTree(w.Target.Dir)
	w.do(err)
	w.Agent()
	w.tells("holding", "at first contact", changed, "pull --existing replace")
	after, err := lab.ReadTree(w.Target.Dir)
	w.do(err)
	if err := lab.Differ(before, after); err != nil {
		w.wrong("d", "something was written while an operator is waited for: %v", err)
	}
	w.do(w.Target.Stop())
	w.BeStrange() // What was replaced is kept.
	w.mustPull("--existing", "replace")
	w.mustKeep(1)
	w.Agent()
	w.Healed()
	w.Converge()
	w.reader = &lab.Reader{Dir: w.Target.Dir, Ledger: w.Writer.Ledger}
	w.Read()
}

// upToDate waits until etcd has what the source holds.
func (w *World) upToDate() {
	w.Helper()
	other := w.twin(filepath.Join(w.TempDir(), "dir"))
	other.State = filepath.Join(w.TempDir(), "state")
	_, err := lab.Eventually(20*time.Second, func() error {
		if r := other.Run(w.T, "pull"); r.Code != 0 {
			return fmt.Errorf("pull: %v", r)
		}
		got, err := lab.ReadTree(other.Dir)
		return errors.Join(err, lab.Differ(w.Writer.Model, got))
	})
	w.do(err)
}

// spoil damages the journal again and again, and pulls. All files equal what is published,
// so that no operator is needed.
func (w *World) spoil(times int, what string, damage func(b []byte, i int) []byte) {
	w.Helper()
	w.stopReading() // What is cut off may be the newest generation.
	for range 4 {
		w.Mixed()
		w.InStep()
	}
	w.settled()
	whole, err := os.ReadFile(w.journal())
	w.do(err)
	for i := range times {
		w.do(os.WriteFile(w.journal(), damage(bytes.Clone(whole), i), 0o600))
		w.mustPull()
		w.Honest()
		w.Count(what, 1)
		if i%8 == 7 {
			w.Replace(3)
			w.upToDate()
			// With the journal whole again: it lags the disk then.
			w.do(os.WriteFile(w.journal(), whole, 0o600))
			w.mustPull()
			whole, err = os.ReadFile(w.journal())
			w.do(err)
		}
	}
	w.reader = &lab.Reader{Dir: w.Target.Dir, Ledger: w.Writer.Ledger}
	w.Read()
	w.Agent()
	w.Healed()
}

func tryJournalNewer(w *World) {
	w.settled()
	w.stopReading()
	b, err := os.ReadFile(w.journal())
	w.do(err)
	newer := bytes.Clone(b)
	newer[7]++ // The version's lower byte; six of magic come before.
	w.do(os.WriteFile(w.journal(), newer, 0o600))
	w.Mixed()
	before, err := lab.Stamps(w.Target.Dir)
	w.do(err)
	w.Agent()
	w.tells("holding", "in a newer format", "needs a newer confsyncd", w.Target.Dir)
	if r := w.Target.Run(w.T, "pull", "--mode", w.Mode); r.Code == 0 {
		w.wrong("f", "a pull with a journal of a newer format: %v", r)
	}
	now, err := os.ReadFile(w.journal())
	w.do(err)
	after, err := lab.Stamps(w.Target.Dir)
	w.do(err)
	if !bytes.Equal(now, newer) || len(before) != len(after) {
		w.wrong("d", "a target of a newer format was touched")
	}
	w.do(os.WriteFile(w.journal(), b, 0o600))
	w.Healed()
	w.Converge()
	w.Read()
}

// instead puts something else in the place of .confsyncd: while the agent runs, while it is
// stopped, and before the first contact.
func (w *World) instead(put func(own string) error) {
	w.Helper()
	own := w.At(".confsyncd")
	aside := filepath.Join(w.TempDir(), "aside")
	w.stopReading()
	for _, running := range []bool{true, false} {
		if !running {
			w.settled()
		}
		w.do(os.Rename(own, aside))
		w.do(put(own))
		w.Mixed()
		if !running {
			w.Agent()
		}
		w.tells("holding", own, "it is no directory", "move it away")
		w.do(os.Remove(own))
		w.do(os.Rename(aside, own))
		w.Healed()
		w.Converge()
	}
	w.Read()
}

func tryForeignStage(w *World) {
	w.BeStrange()
	stage := filepath.Join(w.own(), "stage")
	litter := func() {
		for i := range 6 {
			w.do(errors.Join(
				os.MkdirAll(filepath.Join(stage, fmt.Sprint("dir", i), "sub"), 0o755),
				os.WriteFile(filepath.Join(stage, fmt.Sprint("dir", i), "sub", "file"), []byte("not ours\n"), 0o600),
				os.WriteFile(filepath.Join(stage, fmt.Sprint("file", i)), []byte("not ours\n"), 0o600),
				os.WriteFile(filepath.Join(stage, fmt.Sprint(i)), []byte("not ours\n"), 0o600),
				os.Symlink("/etc/passwd", filepath.Join(stage, fmt.Sprint("link", i))),
				unix.Mkfifo(filepath.Join(stage, fmt.Sprint("fifo", i)), 0o600),
			))
		}
		w.do(errors.Join(os.Mkdir(filepath.Join(stage, "7"), 0o755), os.WriteFile(filepath.Join(stage, "7", "x"), nil, 0o600)))
	}
	swept := func() {
		_, err := lab.Eventually(20*time.Second, func() error {
			entries, err := os.ReadDir(stage)
			if err == nil && len(entries) > 0 {
				err = fmt.Errorf("the stage still holds %v", entries)
			}
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			return err
		})
		w.do(err)
		n := 0
		w.do(filepath.WalkDir(filepath.Join(w.own(), "kept"), func(name string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(name, "/sub/file") {
				n++
			}
			return err
		}))
		if n == 0 {
			w.wrong("d", "what lay in the stage in directories was not kept")
		}
	}
	w.do(os.MkdirAll(stage, 0o700))
	litter()
	w.Mixed()
	w.Replace(1)
	w.Healed()
	w.Converge()
	swept()
	w.settled()
	w.do(os.MkdirAll(stage, 0o700))
	litter()
	w.Mixed()
	w.Replace(1)
	w.Agent()
	w.Healed()
	w.Converge()
	swept()
}
