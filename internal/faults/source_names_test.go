//go:build faults

package faults

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// nameCases have names that programs stumble over.
func nameCases() []Case {
	return []Case{
		{
			Name: "strange names", How: "names that are not UTF-8, of 255 bytes, that differ in case only, with newline, tab, escape sequences, quotes, blanks, a leading dash; of files, symlinks and directories; made, changed, renamed, deleted",
			Try: strangeNames,
		},
		{
			Name: "strange names held back", How: "FIFOs with names that hold newlines and escape sequences; log (as text) and status show them escaped, on one line each", Modes: []string{"files"},
			Setup: Setup{Publish: []string{"--log-format", "text"}},
			Try:   strangeHeld,
		},
		{
			Name: "path too long", How: "directories nested until their path has more than 4,095 bytes, with a file at the bottom; held back; then deleted", Modes: []string{"files"},
			Try: tooLong,
		},
	}
}

func names() []string {
	return []string{
		"\xff\xfe", "latin \xe4\xf6\xfc", "half \xc3", "new\nline", "\n", "tab\there", "carriage\rreturn", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x7f", "\x01",
		strings.Repeat("n", 255), strings.Repeat("\xe9", 255), strings.Repeat("é", 127), "Case", "case", "CASE", "é", "e\u0301", "-rf", "--", "-",
		"trailing ", " leading", " ", "...", ".. ", ".hidden", "..double", "quote\"quote", "it's", "`id`", "$(id)", "$HOME", "*", "?", "[a]", "{a,b}", "!",
		"back\\slash", "a\\nb", "~root", "%s%d%n", "名前", "\u202egnp.exe", "\ufeffbom", "<b>&amp;", "a;b|c&d", "con", "nul", "@tenants", "#hash", "journal", "stage",
	}
}

func strangeNames(w *World) {
	w.AsFound()
	for round := range 3 {
		for i, name := range names() {
			dir := "strange/" + name // Two of 255 bytes in a row, too.
			w.do(os.MkdirAll(w.Writer.Name(dir), 0o755))
			w.Overwrite(dir+"/"+name, 100+round)
			w.Overwrite("flat-"[:min(5, 255-len(name))]+name, 50)
			to := "link to " + name
			w.Writer.Ledger.Allow(dir+"/link", 0, to)
			_ = os.Remove(w.Writer.Name(dir + "/link")) // Of the round before.
			w.do(os.Symlink(to, w.Writer.Name(dir+"/link")))
			if (i+round)%3 == 0 && len(name) < 255 {
				w.AllowBelow(w.Writer.Name(dir), dir+"x")
				w.do(os.RemoveAll(w.Writer.Name(dir + "x")))
				w.do(os.Rename(w.Writer.Name(dir), w.Writer.Name(dir+"x")))
			}
			w.Count("bad inputs", 1)
		}
		w.Equal(20 * time.Second)
		for i, name := range names() {
			if (i+round)%4 == 0 {
				w.do(os.RemoveAll(w.Writer.Name("strange/" + name)))
			}
		}
		w.Equal(20 * time.Second)
	}
	for _, args := range [][]string{{"log", "-n", "0"}, {"ls"}, {"status"}} {
		r := w.Source.Command(w.T, append(args, "--tenant", tenant)...)
		if r.Code != 0 || strings.ContainsAny(r.Out+r.Err, "\x1b\x07\r\x01\x7f") {
			w.wrong("f", "%q shows names raw, or fails: %q", args, r.String())
		}
	}
	w.Healed()
}

func strangeHeld(w *World) {
	w.AsFound()
	held := []string{"\x1b[31mred\x1b[0m", "new\n2026-01-01T00:00:00Z [ERROR] forged", "\xff\xfe", "bell\x07", "back\rspace\x08"}
	for _, name := range held {
		w.do(unix.Mkfifo(w.Writer.Name(name), 0o644))
		w.Count("bad inputs", 1)
	}
	_, err := lab.Eventually(20*time.Second, func() error {
		log, err := os.ReadFile(w.Source.Log)
		if n := bytes.Count(log, []byte("held back")); err == nil && n < len(held) {
			err = fmt.Errorf("%d lines tell of %d names that are held back", n, len(held))
		}
		return err
	})
	w.do(err)
	log, err := os.ReadFile(w.Source.Log)
	w.do(err)
	status := w.Source.Command(w.T, "status", "--tenant", tenant)
	for from, text := range map[string]string{"log": string(log), "status": status.String()} {
		if strings.ContainsAny(text, "\x1b\x07\r\x08") || strings.Contains(text, "\n2026-01-01T00:00:00Z [ERROR] forged") {
			w.wrong("f", "the %s shows names raw: %q", from, text)
		}
	}
	w.result.checked("f", true)
	w.Beside()
	for _, name := range held {
		w.do(os.Remove(w.Writer.Name(name)))
	}
	w.Healed()
}

func tooLong(w *World) {
	root, err := os.OpenRoot(w.Writer.Dir)
	w.do(err)
	defer root.Close()
	name := strings.Repeat("l", 250)
	at := root
	for range 17 { // Each is made relative to the one before: as one path, it would be too long.
		w.do(at.Mkdir(name, 0o755))
		at, err = at.OpenRoot(name)
		w.do(err)
		defer at.Close()
	}
	w.do(at.WriteFile("deep", []byte("too deep\n"), 0o644))
	w.Says(w.Source, "held back", "a path that no target may hold", `"remedy":"`)
	w.Beside()
	w.do(os.RemoveAll(filepath.Join(w.Writer.Dir, name)))
	w.Count("bad inputs", 1)
	w.Healed()
}
