package config

import (
	"path/filepath"
	"slices"
	"strings"
)

// allPaths are the patterns that select everything.
func allPaths() []string { return []string{"**"} }

// normalise makes every hook that runs nothing the same.
func (h *Hooks) normalise() {
	for _, argv := range []*[]string{&h.Check, &h.Reload, &h.Health} {
		if len(*argv) == 0 {
			*argv = nil
		}
	}
}

// argument refuses what no program can be given.
func argument(s string) error {
	if strings.ContainsRune(s, 0) {
		return fault("leave it out", "%s holds a NUL byte", clip(s))
	}
	return nil
}

// program refuses what is looked for nowhere: hooks run in the root directory.
func program(s string) error {
	if s == "" || strings.Contains(s, "/") && !filepath.IsAbs(s) || strings.Contains(s, " ") {
		return fault(`write the program's absolute path, or its name, and each argument by itself, as in ["nginx", "-t"]`,
			"%s is no program", clip(s))
	}
	return nil
}

func (h *Hooks) relations() Faults {
	var faults Faults
	add := func(key string, err error) { faults = append(faults, faultsOf(key, err)...) }
	for key, argv := range map[string][]string{"check": h.Check, "reload": h.Reload, "health": h.Health} {
		if len(argv) > 0 {
			add(index(key, 0), program(argv[0]))
		}
	}
	if len(h.ReloadPaths) == 0 {
		add("reload_paths", fault(`leave it out for all, or write patterns such as "conf.d/**"`, "is empty and selects nothing"))
	}
	if len(h.Reload) > 0 {
		return faults
	}
	for key, set := range map[string]bool{
		"reload_paths": len(h.ReloadPaths) > 0 && !slices.Equal(h.ReloadPaths, allPaths()), "min_interval": h.MinInterval > 0, "splay": h.Splay > 0,
	} {
		if set {
			add(key, fault("add reload, or leave it out", "says when to reload, and reload is missing"))
		}
	}
	return faults
}
