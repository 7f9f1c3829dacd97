package main

import (
	"slices"
	"testing"

	"github.com/confsyncd/confsyncd/internal/config"
)

func TestUnitPath(t *testing.T) {
	for path, want := range map[string]string{
		"/etc/app":     "/etc/app",
		"-/etc/my app": `"-/etc/my app"`,
		"/a%b":         `"/a%%b"`,
		`/a"b\c`:       `"/a\"b\\c"`,
		"/a\nb":        `"/a\x0ab"`,
		"/höst":        `"/höst"`,
	} {
		if got := unitPath(path); got != want {
			t.Errorf("unitPath(%q) = %s, want %s", path, got, want)
		}
	}
}

func TestUnlisted(t *testing.T) {
	c := &config.Config{StateDir: packagedStateDir, Targets: []config.Target{{Dir: "/etc/app"}, {Dir: "/srv/tree", Mode: "tree"}}}
	s, err := sandboxOf("agent", c)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ listed, want []string }{
		{nil, []string{"/etc/app", "/srv"}},
		{[]string{"/etc", "/srv/tree"}, []string{"/srv"}},
		{[]string{"/etc/app/sub", "/et", "/srv"}, []string{"/etc/app"}},
		{[]string{"/"}, nil},
	} {
		if got := s.unlisted(test.listed); !slices.Equal(got, test.want) {
			t.Errorf("with %q listed: %q, want %q", test.listed, got, test.want)
		}
	}
}
