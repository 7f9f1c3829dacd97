package agent

import (
	"fmt"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
)

func TestSelects(t *testing.T) {
	var changes []diff.Change
	for _, path := range []string{"nginx", "nginx/conf.d", "nginx/sites"} {
		changes = append(changes, diff.Change{Path: path, New: diff.Entry{Kind: diff.Directory, Mode: 0o755}})
	}
	for _, path := range []string{"motd", "nginx/nginx.conf", "nginx/conf.d/a.conf", "nginx/conf.d/b.txt", "nginx/sites/x"} {
		changes = append(changes, diff.Change{Path: path, New: diff.Entry{Kind: diff.File, Mode: 0o640, Size: 1, Hash: diff.Hash{1}}})
	}
	all, err := diff.Tree{}.With(changes)
	if err != nil {
		t.Fatal(err)
	}
	mode := uint32(0o600)
	for name, tt := range map[string]struct {
		options Options
		want    []string
	}{
		"everything by default":                       {Options{}, []string{"motd", "nginx", "nginx/conf.d", "nginx/conf.d/a.conf", "nginx/conf.d/b.txt", "nginx/nginx.conf", "nginx/sites", "nginx/sites/x"}},
		"a directory with all below it":               {Options{Paths: []string{"nginx/conf.d"}}, []string{"nginx", "nginx/conf.d", "nginx/conf.d/a.conf", "nginx/conf.d/b.txt"}},
		"all below a directory, the prefix taken off": {Options{Paths: []string{"nginx/**"}, StripPrefix: "nginx/"}, []string{"conf.d", "conf.d/a.conf", "conf.d/b.txt", "nginx.conf", "sites", "sites/x"}},
		"files with the directories that lead there":  {Options{Paths: []string{"**/*.conf"}}, []string{"nginx", "nginx/conf.d", "nginx/conf.d/a.conf", "nginx/nginx.conf"}},
		"several patterns":                            {Options{Paths: []string{"motd", "nginx/sites/*"}}, []string{"motd", "nginx", "nginx/sites", "nginx/sites/x"}},
		"a prefix without patterns":                   {Options{StripPrefix: "nginx/conf.d/"}, []string{"a.conf", "b.txt"}},
		"nothing that matches":                        {Options{Paths: []string{"apache/**"}}, nil},
		"one mode for all files":                      {Options{Paths: []string{"motd"}, FileMode: &mode}, []string{"motd"}},
	} {
		t.Run(name, func(t *testing.T) {
			tree, err := tt.options.selects(all)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for path, e := range tree.All() {
				got = append(got, path)
				if e.Kind == diff.File && tt.options.FileMode != nil && e.Mode != mode {
					t.Errorf("%s has mode %o", path, e.Mode)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got  %v\nwant %v", got, tt.want)
			}
		})
	}
}
