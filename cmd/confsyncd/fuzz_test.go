package main

import (
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// Nothing that a file or its name holds reaches a terminal as anything but text.
func FuzzShown(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range visible(s) {
			if r == utf8.RuneError && !strings.ContainsRune(s, r) || r != '\n' && r != '\t' && r != utf8.RuneError && !unicode.IsPrint(r) {
				t.Errorf("%q of a content is shown in %q", r, visible(s))
			}
		}
		if !utf8.ValidString(visible(s)) {
			t.Errorf("%q is shown as what is no UTF-8", s)
		}
		name := printable(s)
		for _, r := range name {
			if r == utf8.RuneError && !strings.ContainsRune(s, r) || !unicode.IsPrint(r) && r != utf8.RuneError {
				t.Errorf("%q of a name is shown in %q", r, name)
			}
		}
		if back, err := strconv.Unquote(name); name != s && (err != nil || back != s) {
			t.Errorf("%q is shown as %s", s, name)
		}
	})
}

// Numbers of generations and ids are read as they are written, and as nothing else.
func FuzzGenerations(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		digits := strings.Trim(s, "0123456789") == "" && s != ""
		if g, err := committed(s); err == nil && (g == 0 || !digits) {
			t.Errorf("%q is the commit %d", s, g)
		}
		if g, err := generation(s); err == nil && (g == nil || !digits) {
			t.Errorf("%q is the generation %v", s, g)
		}
		if g, err := parseGeneration(s); err == nil && !digits && s != headWord {
			t.Errorf("%q is the generation %d", s, g)
		}
		if n, err := count(s); err == nil && (n < 0 || !digits) {
			t.Errorf("%q is the number %d", s, n)
		}
		p, err := parseFound(s)
		if err != nil {
			return
		}
		written := p.Tenant.String() + ":" + strconv.FormatUint(p.Generation, 10)
		if again, err := parseFound(written); p.Tenant.IsZero() || p.Generation == 0 || err != nil || *again != *p {
			t.Errorf("%q is %+v, written %s", s, p, written)
		}
	})
}

// Whatever a flag of a source or target holds, it is refused or gives values that the
// configuration's own rules judge.
func FuzzFlags(f *testing.F) {
	f.Fuzz(func(t *testing.T, name, text string) {
		cmd := &cobra.Command{}
		sources := sourceFlags(cmd)
		if cmd.Flags().Lookup(name) != nil && cmd.Flags().Set(name, text) == nil {
			s := config.DefaultSource()
			if err := sources.apply(&s); err != nil {
				t.Errorf("--%s %q is taken, and then not: %v", name, text, err)
			}
			_ = s.Check()
		}
		cmd = &cobra.Command{}
		targets := targetFlags(cmd)
		if cmd.Flags().Lookup(name) != nil && cmd.Flags().Set(name, text) == nil {
			s := config.DefaultTarget()
			if err := targets.apply(&s); err != nil {
				t.Errorf("--%s %q is taken, and then not: %v", name, text, err)
			}
			_ = s.Check()
		}
	})
}

// The paths of a unit are one word each, that holds no end of the line.
func FuzzUnitPath(f *testing.F) {
	f.Fuzz(func(t *testing.T, path string) {
		word := unitPath(path)
		if strings.ContainsAny(word, "\n\r\x00") {
			t.Errorf("%q is written %q", path, word)
		}
		if word == path {
			return
		}
		inside, ok := strings.CutPrefix(word, `"`)
		inside, end := strings.CutSuffix(inside, `"`)
		if !ok || !end {
			t.Errorf("%q is written %s", path, word)
		}
		if back, err := strconv.Unquote(`"` + strings.ReplaceAll(inside, "%%", "%") + `"`); utf8.ValidString(path) && (err != nil || back != path) {
			t.Errorf("%q is written %s, which is %q: %v", path, word, back, err)
		}
	})
}

// A patch leads from the one text to the other.
func FuzzUnified(f *testing.F) {
	f.Fuzz(func(t *testing.T, before, after string) {
		if len(before)+len(after) > 100_000 || before == after {
			return
		}
		hunks := unified([]byte(before), []byte(after))
		if got, ok := patched(before, hunks); !ok || got != after {
			t.Errorf("the patch\n%s\nmakes %q of %q, not %q", hunks, got, before, after)
		}
		var out strings.Builder
		a := &app{out: &out}
		colors, err := a.palette("never")
		if err != nil {
			t.Fatal(err)
		}
		p := a.patch(colors, side{}, side{})
		p.raw = false // as on a terminal
		if err := p.hunks(hunks); err != nil {
			t.Error(err)
		}
		if strings.ContainsFunc(out.String(), func(r rune) bool { return r == '\x1b' || r == '\r' }) {
			t.Errorf("%q steers a terminal", out.String())
		}
		_ = differences([]diff.Change{{Path: before, New: diff.Entry{Kind: diff.File}}, {Path: after, Old: diff.Entry{Kind: diff.File}}})
	})
}

// patched applies the hunks of a patch as patch(1) does without fuzz.
func patched(before, hunks string) (string, bool) {
	lines := strings.SplitAfter(before, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	var out strings.Builder
	at, sign := 0, byte(0)
	last := "" // what the line before put out
	for line := range strings.Lines(hunks) {
		switch line[0] {
		case '@':
			first, _, _ := strings.Cut(strings.TrimPrefix(line, "@@ -"), " ")
			start, length, ranged := strings.Cut(first, ",")
			n, err := strconv.Atoi(start)
			if err != nil {
				return "", false
			}
			if !ranged || length != "0" {
				n--
			}
			for ; at < n && at < len(lines); at++ {
				out.WriteString(lines[at])
			}
		case '\\': // The line before has no end.
			if sign != '-' {
				text := strings.TrimSuffix(out.String(), "\n")
				out.Reset()
				out.WriteString(text)
			}
		case ' ', '-':
			text := line[1:]
			if at >= len(lines) || strings.TrimSuffix(lines[at], "\n") != strings.TrimSuffix(text, "\n") {
				return "expected " + last, false
			}
			at++
			if line[0] == ' ' {
				out.WriteString(text)
			}
		case '+':
			out.WriteString(line[1:])
		default:
			return "", false
		}
		sign, last = line[0], line
	}
	for ; at < len(lines); at++ {
		out.WriteString(lines[at])
	}
	return out.String(), true
}
