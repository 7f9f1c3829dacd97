package config

import (
	"strings"
	"testing"
)

func TestHooks(t *testing.T) {
	for name, tt := range map[string]struct {
		hooks string
		want  string // of the fault; "" is none
	}{
		"none":                       {"", ""},
		"all":                        {`check = ["nginx", "-t"]` + "\n" + `reload = ["/bin/x"]` + "\n" + `health = ["y"]` + "\n" + `min_interval = "1m"` + "\n" + `splay = "5s"` + "\n" + `on_failure = "keep"`, ""},
		"an empty list runs nothing": {`check = []`, ""},
		"a command line":             {`check = "nginx -t"`, "hooks.check: is the string"},
		"a command line in a list":   {`check = ["nginx -t"]`, "hooks.check[0]: \"nginx -t\" is no program"},
		"a relative path":            {`reload = ["./x"]`, "hooks.reload[0]: \"./x\" is no program"},
		"a program without name":     {`health = [""]`, "hooks.health[0]"},
		"an unknown key":             {`chek = ["x"]`, "target[0].hooks.chek: unknown key; did you mean check?"},
		"an unknown policy":          {`on_failure = "panic"`, "hooks.on_failure"},
		"no time":                    {`check_timeout = "0s"`, "hooks.check_timeout"},
		"paths without reload":       {`reload_paths = ["a/**"]`, "hooks.reload_paths: says when to reload"},
		"no paths":                   {`reload = ["x"]` + "\n" + `reload_paths = []`, "hooks.reload_paths: is empty"},
		"an interval without reload": {`min_interval = "1m"`, "hooks.min_interval: says when to reload"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte("[[target]]\ntenant = \"prod\"\ndir = \"/etc/app\"\n[target.hooks]\n" + tt.hooks + "\n"))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, want %q", err, tt.want)
			}
		})
	}
}
