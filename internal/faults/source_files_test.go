//go:build faults

package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// fileCases change files while they are looked at.
func fileCases() []Case {
	files := []string{"files"}
	return []Case{
		{
			Name: "file growing while it is read", How: "60 times some 100 KB appended in pieces to a file, which is closed in between and each time has a version", Modes: files,
			Try: func(w *World) {
				w.AsFound()
				content := ""
				for i := range 60 {
					f, err := os.OpenFile(w.Writer.Name("growing.log"), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
					w.do(err)
					for j := range 20 {
						piece := strings.Repeat(fmt.Sprintf("line %d %d\n", i, j), 500)
						_, err = f.WriteString(piece)
						w.do(err)
						content += piece
						w.pause(3)
					}
					w.Writer.Ledger.Allow("growing.log", 0o644, content)
					w.do(f.Close())
					w.pause(40)
					w.Count("faults", 1)
				}
				w.Healed()
			},
		},
		{
			Name: "file shrinking while it is read", How: "60 times a file of 3 MB is written, and truncated to a part of it some milliseconds later", Modes: files,
			Try: func(w *World) {
				w.AsFound()
				for i := range 60 {
					content := strings.Repeat(fmt.Sprintf("line %d\n", i), 400_000)
					w.Writer.Ledger.Allow("shrinking", 0o644, content)
					w.do(os.WriteFile(w.Writer.Name("shrinking"), []byte(content), 0o644))
					w.pause(60)
					for size := len(content); size > 1000; {
						size /= 3
						w.Writer.Ledger.Allow("shrinking", 0o644, content[:size])
						w.do(os.Truncate(w.Writer.Name("shrinking"), int64(size)))
						w.pause(10)
					}
					w.Count("faults", 1)
				}
				w.Healed()
			},
		},
		{
			Name: "file vanishing while it is read", How: "100 times a file of 3 MB is made, deleted some milliseconds later, and at last replaced by another of the same size", Modes: files,
			Try: func(w *World) {
				for i := range 100 {
					p := fmt.Sprintf("vanishing%d", i%3)
					w.Overwrite(p, 3_000_000)
					w.pause(60)
					if i%2 == 0 {
						w.do(w.Writer.Remove(p))
						w.pause(20)
					}
					w.Count("faults", 1)
				}
				w.Healed()
			},
		},
		{
			Name: "file held open for writing", How: "a file open for writing for 25 s, written now and then; others are edited meanwhile; then closed", Modes: files,
			Try: heldOpen,
		},
		{
			Name: "FIFO, socket and devices", How: "mkfifo, a bound socket, character and block device in the source, also in place of a file; then deleted", Modes: files,
			Needs: Needs{Root: true},
			Try:   specials,
		},
		{
			Name: "file and directory unreadable, as an ordinary user", How: "the publisher runs as uid 65534 (setpriv): a file, a new file and a directory get mode 0, another directory loses its x; others are edited; then the modes are put back", Modes: files,
			Needs: Needs{Root: true, Programs: []string{"setpriv"}}, Setup: Setup{Empty: true},
			Try: unreadable,
		},
		{
			Name: "files of another user, who may not be asked for writers", How: "the publisher runs as uid 65534 (setpriv) without CAP_LEASE; root renames files of 2 MB in. Those written in place, with pauses of more than 100 ms, would be published half-way, as the documentation says", Modes: files,
			Needs: Needs{Root: true, Programs: []string{"setpriv"}}, Setup: Setup{Empty: true},
			Try: func(w *World) {
				w.asNobody()
				w.Start()
				for i := range 20 {
					p := fmt.Sprintf("others%d", i%4)
					content := w.Writer.Version(p, 0o644, 2_000_000)
					outside := filepath.Join(w.Writer.Dir+".outside", "file")
					w.do(os.WriteFile(outside, []byte(content), 0o644))
					w.do(os.Rename(outside, w.Writer.Name(p)))
					if i%3 == 0 {
						w.Arrives(p)
					}
					w.Count("faults", 1)
				}
				w.Says(w.Source, "CAP_LEASE")
				w.Healed()
			},
		},
	}
}

// pause lasts up to so many milliseconds.
func (w *World) pause(most int) {
	time.Sleep(time.Duration(w.Writer.Draw(most)) * time.Millisecond)
}

func heldOpen(w *World) {
	for _, p := range []string{"held.conf", "d0/held.conf"} {
		w.Overwrite(p, 1000)
	}
	_, target := w.Now()
	var open []*os.File
	for _, p := range []string{"held.conf", "d0/held.conf", "new.conf"} {
		f, err := os.OpenFile(w.Writer.Name(p), os.O_WRONLY|os.O_CREATE, 0o644)
		w.do(err)
		_, err = f.WriteString("the beginning of what is to come\n")
		w.do(err)
		open = append(open, f)
	}
	for range 25 {
		w.Beside()
		_, err := open[0].WriteAt([]byte(fmt.Sprintf("still %d", w.Writer.Draw(1000))), 5)
		w.do(err)
		w.keeps(target, "held.conf", "d0/held.conf", "new.conf")
		time.Sleep(time.Second)
	}
	w.Says(w.Source, "held back", "held.conf", "open for writing", `"for":"`)
	for _, p := range []string{"held.conf", "d0/held.conf", "new.conf"} {
		w.HeldBack(p, "open for writing")
	}
	if held := fmt.Sprint(w.Source.Status(w.T).Sources); !strings.Contains(held, "open for writing since 20") {
		w.wrong("f", "status does not tell since when: %s", held)
	}
	for i, p := range []string{"held.conf", "d0/held.conf", "new.conf"} {
		content := w.Writer.Version(p, 0o644, 500)
		w.do(open[i].Truncate(0))
		_, err := open[i].WriteAt([]byte(content), 0)
		w.do(errors.Join(err, open[i].Close()))
		if took := w.Arrives(p); took > 6*time.Second {
			w.wrong("e", "%s arrived %v after it was closed", p, took)
		}
	}
	w.Count("faults", 1)
	w.Note("25 s stand for hours: it is looked at every 2 s from then on, however long it takes")
	w.Healed()
}

// keeps checks that paths of the target are what they were.
func (w *World) keeps(was lab.Tree, paths ...string) {
	w.Helper()
	is, err := lab.ReadTree(w.Target.Dir)
	w.do(err)
	for _, p := range paths {
		for _, tree := range []lab.Tree{was, is} {
			for at := range tree {
				if (at == p || strings.HasPrefix(at, p+"/")) && was[at] != is[at] {
					w.wrong("d", "%s changed in the target", at)
				}
			}
		}
	}
}

// asNobody has the publisher run as an ordinary user, who owns all that is there by now.
func (w *World) asNobody() {
	w.Helper()
	const nobody = 65534
	program := filepath.Join(w.Lab.Dir, "confsyncd")
	w.run("cp", w.Lab.Program, program) // To where everybody may run it.
	w.Lab.Program = program
	w.do(errors.Join(
		os.Chmod(filepath.Dir(w.Lab.Dir), 0o711), os.Chmod(w.Lab.Dir, 0o711), os.Chmod(w.Lab.Config, 0o644),
		os.Mkdir(w.Source.State, 0o700),
	))
	w.run("chown", "-R", fmt.Sprint(nobody), w.Source.State, w.Source.Dir)
	w.Source.Through = []string{
		"setpriv", "--reuid", fmt.Sprint(nobody), "--regid", fmt.Sprint(nobody), "--clear-groups", "--inh-caps=-all", "--pdeathsig", "KILL", "--",
	}
}

func unreadable(w *World) {
	w.asNobody()
	for _, p := range []string{"file", "closed/file", "blind/file"} {
		w.do(w.Writer.Mkdirs(filepath.Dir(p)))
		w.Overwrite(p, 100)
	}
	w.Start()
	for range 3 {
		_, target := w.Now()
		modes := map[string]os.FileMode{"file": 0o644, "new": 0o644, "closed": 0o755, "blind": 0o755}
		w.do(os.Chown(w.Writer.Name("blind"), 0, 0))
		w.do(os.Chmod(w.Writer.Name("blind"), 0o744)) // Its names can be listed, and no more.
		w.do(os.Chmod(w.Writer.Name("closed"), 0))
		w.do(os.Chmod(w.Writer.Name("file"), 0))
		content := w.Writer.Version("new", 0o644, 200)
		w.do(os.WriteFile(w.Writer.Name("new"), []byte(content), 0))
		for _, p := range []string{"file", "new", "closed", "blind/file"} {
			w.HeldBack(p, "unreadable")
		}
		w.Beside()
		w.keeps(target, "file", "closed", "new", "blind/file")
		for p, mode := range modes {
			w.do(os.Chmod(w.Writer.Name(p), mode))
		}
		w.Healed()
		w.Converge()
		w.do(w.Writer.Remove("new"))
		w.Count("faults", 4)
	}
}
