//go:build faults

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// asInstalled are the settings of a publisher that people edit under.
func asInstalled() Setup {
	return Setup{Empty: true, Publish: []string{"--settle", "50ms", "--max-delay", "2s"}}
}

// editor saves a file with a line put in front.
type editor struct {
	name, how string
	program   string
	save      func(w *World, file, line string)
	// beside matches the files that it makes beside the one that is edited.
	beside []string
}

// editorCases have the real editors save files, again and again. Whatever they put beside
// the file is never published, and the file is there at every instant.
func editorCases() []Case {
	editors := []editor{
		{"vim", "vim -es, with swap and backup; backupcopy is auto, yes and no in turn", "vim", vim, []string{".edited.conf.sw?", "edited.conf~"}},
		{"emacs", "emacs --batch, with lock, auto-save and backup; backup-by-copying nil and t in turn", "emacs:emacs-nox", emacs, []string{".#edited.conf", "#edited.conf#", "edited.conf~"}},
		{"nano", "nano on a terminal (script), with lock (-G) and backup (-B)", "nano", nano, []string{".edited.conf.swp", "edited.conf~"}},
		{"sed", "sed -i", "sed", func(w *World, file, line string) { w.run("sed", "-i", "1i "+line, file) }, nil},
	}
	var cases []Case
	for _, e := range editors {
		needs := []string{e.program}
		if e.name == "nano" {
			needs = append(needs, "script:bsdutils")
		}
		cases = append(cases, Case{
			Name: "saved by " + e.name, How: e.how, Needs: Needs{Programs: needs}, Setup: asInstalled(),
			Try: func(w *World) { w.editWith(e) },
		})
	}
	return cases
}

// editWith has an editor save a file again and again.
func (w *World) editWith(e editor) {
	w.Helper()
	w.AsFound("d0/edited.conf~")
	const path = "d0/edited.conf"
	w.Overwrite(path, 200_000)
	w.reader.Stay = []string{path}
	w.Start()
	missing := slices.Clone(e.beside)
	for i := range 9 {
		before, err := os.ReadFile(w.Writer.Name(path))
		w.do(err)
		line := fmt.Sprintf("edited = %d", i)
		after := line + "\n" + string(before)
		w.Writer.Ledger.Allow(path, 0o644, after)
		w.number = i
		watch := w.lookFor(filepath.Join(w.Writer.Dir, "d0"), missing)
		e.save(w, w.Writer.Name(path), line)
		missing = watch()
		got, err := os.ReadFile(w.Writer.Name(path))
		w.do(err)
		if string(got) != after {
			w.Fatalf("%s did not save what it was to: %d bytes, not %d", e.name, len(got), len(after))
		}
		w.Arrives(path)
		w.Count("saves", 1)
	}
	if len(missing) > 0 {
		w.Fatalf("%s was never seen to make %v", e.name, missing)
	}
	w.Healed()
}

// lookFor looks for files that come and go, until the function that it returns is called,
// which tells what was not seen.
func (w *World) lookFor(dir string, patterns []string) (stop func() []string) {
	ctx, cancel := context.WithCancel(w.Context())
	missing := make(chan []string, 1)
	go func() {
		left := slices.Clone(patterns)
		for looked := false; !looked || ctx.Err() == nil; looked = true {
			left = slices.DeleteFunc(left, func(p string) bool {
				found, err := filepath.Glob(filepath.Join(dir, p))
				return err == nil && len(found) > 0
			})
			lab.Sleep(ctx, time.Millisecond)
		}
		missing <- left
	}()
	return func() []string {
		cancel()
		return <-missing
	}
}

// Files in /tmp have no backups, unless backupskip is empty.
func vim(w *World, file, line string) {
	w.Helper()
	w.run("vim", "-Nu", "NONE", "-i", "NONE", "-es",
		"-c", "set swapfile backup backupskip= backupcopy="+[]string{"auto", "yes", "no"}[w.number%3],
		"-c", "call append(0, '"+line+"')", "-c", "preserve", "-c", "sleep 100m", "-c", "wq", file)
}

// Files in /tmp have no backups by default.
func emacs(w *World, file, line string) {
	w.Helper()
	copying := []string{"nil", "t"}[w.number%2]
	w.run("emacs", "--batch", "-Q", file, "--eval",
		"(progn (setq create-lockfiles t make-backup-files t backup-inhibited nil backup-by-copying "+copying+") (auto-save-mode 1)"+
			" (goto-char (point-min)) (insert \""+line+"\\n\") (do-auto-save t) (sleep-for 0.1) (save-buffer))")
}

// nano is typed into, once it has locked the file.
func nano(w *World, file, line string) {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), "script", "-qec", "nano --ignorercfiles --locking --backup '"+file+"'", "/dev/null")
	cmd.Env = append(os.Environ(), "TERM=xterm")
	keys, err := cmd.StdinPipe()
	w.do(err)
	w.do(cmd.Start())
	lock := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".swp")
	_, err = lab.Eventually(10*time.Second, func() error {
		_, err := os.Stat(lock)
		return err
	})
	w.do(err)
	_, err = io.WriteString(keys, line+"\r\x0f\r") // ^O asks for the name.
	w.do(err)
	_, err = lab.Eventually(10*time.Second, func() error {
		got, err := os.ReadFile(file)
		if err == nil && !strings.HasPrefix(string(got), line+"\n") {
			err = errors.New("not saved yet")
		}
		return err
	})
	w.do(err)
	_, err = io.WriteString(keys, "\x18")
	w.do(errors.Join(err, cmd.Wait()))
}

// runIn runs a program in a directory, which must succeed.
func (w *World) runIn(dir string, env []string, name string, args ...string) {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Fatalf("%s %q: %v\n%.2000s", name, args, err, out)
	}
}
