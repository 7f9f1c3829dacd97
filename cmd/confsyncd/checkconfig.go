package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/install"
)

func (a *app) checkConfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check-config",
		Short: "Report every fault of the configuration file",
		Long: `Check-config reads the configuration file, lists everything that is wrong with it
at once, with line, key and remedy, and which targets cannot be switched as a whole
(mode = "tree") where they lie. It exits: 0 if nothing is, 3 if the file has
faults, 2 if a flag or an environment variable has.`,
		Args: arguments(),
		RunE: func(*cobra.Command, []string) error {
			var c *config.Config
			_, err := os.Stat(a.configPath)
			if errors.Is(err, fs.ErrNotExist) {
				err = missingConfig(a.configPath)
			} else {
				c, err = a.load()
			}
			if err == nil {
				err = switchable(c)
			}
			if a.output == "json" {
				return a.printFaults(err)
			}
			if err != nil {
				return err
			}
			return a.printf("%s: no faults (%d sources, %d targets)\n", a.configPath, len(c.Sources), len(c.Targets))
		},
	}
}

// switchable returns the faults of targets that cannot be switched as a whole where they
// lie.
func switchable(c *config.Config) error {
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
	return configError{faults}
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
