package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/hook"
	"github.com/confsyncd/confsyncd/internal/install"
)

func (a *app) checkConfigCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check-config",
		Short: "Report every fault of the configuration file",
		Long: `Check-config reads the configuration file, lists everything that is wrong with it
at once, with line, key and remedy, and which targets cannot be switched as a whole
(mode = "tree") where they lie. It exits: 0 if nothing is, 3 if the file has
faults, 2 if a flag or an environment variable has. Where systemd runs the agent, it
also warns of targets that the unit may not write. With --unit it prints instead the
drop-in that lets the unit work on the directories of the configuration.`,
		Args: arguments(),
	}
	unit := cmd.Flags().String("unit", "", "print the drop-in for the unit of this daemon: agent or publisher")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var c *config.Config
		_, err := os.Stat(a.configPath)
		if errors.Is(err, fs.ErrNotExist) {
			err = missingConfig(a.configPath)
		} else {
			c, err = a.load()
		}
		if err == nil && *unit == "" {
			err = firstError(a.switchable(c), a.runnable(c))
		}
		switch {
		case a.output == "json" && *unit == "":
			return a.printFaults(err)
		case err != nil:
			return err
		case *unit != "":
			s, err := sandboxOf(*unit, c)
			if err != nil {
				return err
			}
			return a.printf("%s", s.dropIn())
		}
		if err := a.warnOfUnit(cmd.Context(), c); err != nil {
			return err
		}
		return a.printf("%s: no faults (%d sources, %d targets)\n", a.configPath, len(c.Sources), len(c.Targets))
	}
	return cmd
}

// warnOfUnit says which targets the agent's unit may not write, if systemd has the unit.
func (a *app) warnOfUnit(ctx context.Context, c *config.Config) error {
	if _, err := os.Stat("/run/systemd/system"); err != nil || len(c.Targets) == 0 {
		return nil // systemd does not run here, see sd_booted(3).
	}
	s, err := sandboxOf("agent", c)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "systemctl", "show", "--property=LoadState,ProtectSystem,ReadWritePaths", s.unit).Output()
	if err != nil {
		return nil // It is not ours to say what is wrong with systemd.
	}
	shown := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		shown[key] = value
	}
	if shown["LoadState"] != "loaded" || shown["ProtectSystem"] != "strict" {
		return nil
	}
	listed := strings.Fields(shown["ReadWritePaths"])
	for i := range listed {
		listed[i] = strings.TrimLeft(listed[i], "-+")
	}
	for _, dir := range s.unlisted(listed) {
		fmt.Fprintf(a.err, "confsyncd: %s may not write %s; \"confsyncd check-config --unit agent\" prints the drop-in that allows it\n", s.unit, printable(dir))
	}
	return nil
}

// switchable returns the faults of targets that cannot be switched as a whole where they
// lie.
func (a *app) switchable(c *config.Config) error {
	var faults config.Faults
	for i, t := range c.Targets {
		if install.Mode(t.Mode) != install.Tree {
			continue
		}
		if err := install.CheckTree(t.Dir); err != nil {
			faults = append(faults, config.Fault{
				Line: t.Line, Key: fmt.Sprintf("target[%d].mode", i), Problem: err.Error(), Remedy: `or write mode = "files"`,
			})
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return configError{fmt.Errorf("%s:\n%w", a.configPath, faults)}
}

// runnable returns the faults of hooks whose programs are not there.
func (a *app) runnable(c *config.Config) error {
	var faults config.Faults
	for i, t := range c.Targets {
		for _, h := range []struct {
			name string
			argv []string
		}{{hook.Check, t.Hooks.Check}, {hook.Reload, t.Hooks.Reload}, {hook.Health, t.Hooks.Health}} {
			if len(h.argv) == 0 {
				continue
			}
			if _, err := hook.Find(h.argv[0]); err != nil {
				faults = append(faults, config.Fault{
					Line: t.Line, Key: fmt.Sprintf("target[%d].hooks.%s", i, h.name), Problem: err.Error(), Remedy: "install the program, or write its absolute path",
				})
			}
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return configError{fmt.Errorf("%s:\n%w", a.configPath, faults)}
}

// jsonFault is one fault as check-config -o json prints it.
type jsonFault struct {
	Line    int    `json:"line,omitempty"`
	Key     string `json:"key,omitempty"`
	Problem string `json:"problem"`
	Remedy  string `json:"remedy,omitempty"`
}

func (a *app) printFaults(err error) error {
	list := []jsonFault{}
	var faults config.Faults
	switch {
	case errors.As(err, &faults):
		for _, f := range faults {
			list = append(list, jsonFault(f))
		}
	case err != nil:
		list = append(list, jsonFault{Problem: err.Error()})
	}
	if printErr := a.json(map[string]any{"path": a.configPath, "faults": list}); printErr != nil {
		return printErr
	}
	return err
}
