package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
)

func TestDifferences(t *testing.T) {
	entry := func(content string) diff.Entry {
		return diff.Entry{Kind: diff.File, Mode: 0o644, Size: int64(len(content)), Hash: diff.Sum([]byte(content))}
	}
	none := diff.Entry{}
	private := entry("one")
	private.Mode = 0o600
	link := diff.Entry{Kind: diff.Symlink, Size: 3, Hash: diff.Sum([]byte("one"))}
	dir := diff.Entry{Kind: diff.Directory, Mode: 0o755}
	for name, tt := range map[string]struct {
		changes []diff.Change
		want    string // sign, paths and what, one after another
	}{
		"created, changed and deleted": {
			[]diff.Change{{Path: "a", New: entry("one")}, {Path: "b", Old: entry("one"), New: entry("two")}, {Path: "c", Old: entry("three")}},
			"+a[created] ~b[content] -c[deleted]",
		},
		"mode, and both":        {[]diff.Change{{Path: "a", Old: entry("one"), New: private}, {Path: "b", Old: entry("two"), New: private}}, "~a[mode] ~b[content mode]"},
		"another kind":          {[]diff.Change{{Path: "a", Old: entry("one"), New: link}}, "~a[kind]"},
		"a rename":              {[]diff.Change{{Path: "a", Old: entry("one")}, {Path: "b", New: entry("one")}}, "»a»b[renamed]"},
		"a rename back":         {[]diff.Change{{Path: "a", New: entry("one")}, {Path: "b", Old: entry("one")}}, "»b»a[renamed]"},
		"a rename with chmod":   {[]diff.Change{{Path: "a", Old: entry("one")}, {Path: "b", New: private}}, "»a»b[renamed mode]"},
		"a copy is none":        {[]diff.Change{{Path: "b", New: entry("one")}}, "+b[created]"},
		"empty files are none":  {[]diff.Change{{Path: "a", Old: entry("")}, {Path: "b", New: entry("")}}, "-a[deleted] +b[created]"},
		"symlinks are none":     {[]diff.Change{{Path: "a", Old: link}, {Path: "b", New: link}}, "-a[deleted] +b[created]"},
		"a symlink and a file":  {[]diff.Change{{Path: "a", Old: link}, {Path: "b", New: entry("one")}}, "-a[deleted] +b[created]"},
		"a moved directory":     {[]diff.Change{{Path: "a", Old: dir}, {Path: "a/x", Old: entry("one")}, {Path: "b", New: dir}, {Path: "b/x", New: entry("one")}}, "-a[deleted] +b[created] »a/x»b/x[renamed]"},
		"equal names go first":  {[]diff.Change{{Path: "a/x", Old: entry("one")}, {Path: "a/y", Old: entry("one")}, {Path: "b/y", New: entry("one")}}, "-a/x[deleted] »a/y»b/y[renamed]"},
		"then what comes first": {[]diff.Change{{Path: "a", Old: entry("one")}, {Path: "b", Old: entry("one")}, {Path: "c", New: entry("one")}, {Path: "d", New: entry("one")}}, "»a»c[renamed] »b»d[renamed]"},
		"one became two":        {[]diff.Change{{Path: "a", Old: entry("one")}, {Path: "b", New: entry("one")}, {Path: "c", New: entry("one")}}, "»a»b[renamed] +c[created]"},
		"nothing":               {[]diff.Change{{Path: "a", Old: none, New: none}}[:0], ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, d := range differences(slices.Clone(tt.changes)) {
				path := d.Path
				if d.From != "" {
					path = d.From + "»" + path
				}
				got = append(got, fmt.Sprintf("%s%s%v", d.sign(), path, d.what()))
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("got  %s\nwant %s", text, tt.want)
			}
		})
	}
}

func TestVisible(t *testing.T) {
	for content, want := range map[string]string{
		"plain\ttext\n":         "plain\ttext\n",
		"åäö 漢字 🙂":              "åäö 漢字 🙂",
		"red \x1b[31m":          `red \x1b[31m`,
		"bell \a, NUL \x00":     `bell \x07, NUL \x00`,
		"dos\r\n":               "dos\\r\n",
		"not \xff UTF-8":        `not \xff UTF-8`,
		"C1 \u009b31m":          `C1 \u009b31m`,
		"right to left \u202e":  `right to left \u202e`,
		"delete \x7f":           `delete \x7f`,
		"replacement \ufffd ok": "replacement \ufffd ok",
		"line sep \u2028":       `line sep \u2028`,
	} {
		if got := visible(content); got != want {
			t.Errorf("%q is shown as %q, want %q", content, got, want)
		}
	}
}

func TestUnifiedStaysQuick(t *testing.T) {
	var before, after strings.Builder
	for i := range lineLimit / 24 {
		fmt.Fprintf(&before, "option-%07d = %d\n", i%1000, i)
		if i%10 == 0 {
			fmt.Fprintf(&after, "changed-%07d = %d\n", i%1000, i)
		} else {
			fmt.Fprintf(&after, "option-%07d = %d\n", i%1000, i)
		}
	}
	if n := strings.Count(unified([]byte(before.String()), []byte(after.String())), "\n-"); n < lineLimit/240-1 || n > lineLimit/240+10 {
		t.Errorf("%d lines are said to have gone, of %d", n, lineLimit/240)
	}
}
