package scan_test

import (
	"testing"

	"github.com/confsyncd/confsyncd/internal/scan"
)

func TestRules(t *testing.T) {
	design := []string{".git/", "*~", ".*.sw?", "4913", ".#*", "#*#"}
	tests := []struct {
		name     string
		patterns []string
		path     string
		dir      bool
		want     bool
	}{
		{"a directory pattern takes the directory", design, ".git", true, true},
		{"a directory pattern takes it at any depth", design, "a/b/.git", true, true},
		{"a directory pattern leaves a file", design, ".git", false, false},
		{"what lies below an ignored directory is ignored", design, "a/.git/index", false, true},
		{"what lies below a file of that name cannot be", design, "a/.gitignore", false, false},
		{"a backup", design, "a/f~", false, true},
		{"a swap file", design, "a/.f.swp", false, true},
		{"a swap file's name needs its last letter", design, "a/.f.sw", false, false},
		{"vim's probe", design, "4913", false, true},
		{"an Emacs lock", design, ".#f", false, true},
		{"an Emacs autosave", design, "a/#f#", false, true},
		{"an ordinary file", design, "nginx/nginx.conf", false, false},
		{"a slash anchors", []string{"build/out"}, "build/out", true, true},
		{"a slash anchors at the root only", []string{"build/out"}, "a/build/out", true, false},
		{"a leading slash anchors", []string{"/tmp"}, "tmp", false, true},
		{"a leading slash anchors at the root only", []string{"/tmp"}, "a/tmp", false, false},
		{"a leading slash and a trailing one", []string{"/tmp/"}, "tmp", false, false},
		{"two stars", []string{"a/**/z"}, "a/b/c/z", false, true},
		{"two stars match no directory too", []string{"a/**/z"}, "a/z", false, true},
		{"one star stays in its directory", []string{"a/*"}, "a/b", false, true},
		{"alternatives", []string{"*.{bak,orig}"}, "x/f.orig", false, true},
		{"a star takes a leading dot", []string{"*"}, ".f", false, true},
		{"case counts", []string{"A"}, "a", false, false},
		{"bytes that are not UTF-8 are told apart", []string{"f\xff*"}, "f\xfe", false, false},
		{"bytes that are not UTF-8 match themselves", []string{"f\xff*"}, "f\xff.txt", false, true},
		{"a pattern in UTF-8 matches in other bytes", []string{"*.ä"}, "\xff.ä", false, true},
		{"a question mark is one character of UTF-8", []string{"f?"}, "fä", false, true},
		{"our own directory in the root", nil, ".confsyncd", true, true},
		{"and what is in it", nil, ".confsyncd/journal", false, true},
		{"but not elsewhere", nil, "a/.confsyncd", true, false},
		{"a busy file", nil, ".git/index.lock", false, true},
		{"not the busy file's directory", nil, ".git", true, false},
		{"the root", []string{"*", "**"}, "", true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := scan.NewRules(tt.patterns, []string{".confsyncd-hold", ".git/index.lock"})
			must(t, err)
			if got := r.Ignored(tt.path, tt.dir); got != tt.want {
				t.Errorf("Ignored(%q, %v) with %q is %v", tt.path, tt.dir, tt.patterns, got)
			}
		})
	}
	for _, bad := range []string{"", "/", "[", "{a", `a\`} {
		if _, err := scan.NewRules([]string{bad}, nil); err == nil {
			t.Errorf("pattern %q is taken", bad)
		}
	}
	if _, err := scan.NewRules(nil, []string{"../x"}); err == nil {
		t.Error(`busy file "../x" is taken`)
	}
}
