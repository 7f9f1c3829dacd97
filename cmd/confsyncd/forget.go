package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/journal"
	"github.com/confsyncd/confsyncd/internal/report"
)

// forgotten is what forget prints with -o json.
type forgotten struct {
	Dir string `json:"dir"`
	// Generation is what the files are of, and Files how many paths were managed.
	Generation  uint64 `json:"generation"`
	Files       int    `json:"files"`
	Interrupted bool   `json:"interrupted"`
	Kept        string `json:"kept,omitempty"`
	Reports     int    `json:"reports"`
}

func (a *app) forgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "forget DIR",
		Short: "Make a target an ordinary directory again; its files stay",
		Long: `Forget takes away what confsyncd keeps in and about the target at DIR: journal,
stage, pause and pin, and its line in status. All files stay, and what was kept
under .confsyncd/kept as well. It is refused while an agent works on the target.
An agent or pull that meets the directory again does so as for the first time.`,
		Args: arguments("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			return a.forget(c.StateDir, args[0])
		},
	}
}

func (a *app) forget(stateDir, arg string) error {
	dir, err := absolute(arg)
	if err != nil {
		return usage("%w", err)
	}
	f, err := install.Forget(dir)
	none := errors.Is(err, journal.ErrNone)
	if errors.Is(err, install.ErrLocked) {
		return fmt.Errorf("%w: %w", agent.ErrRefused, err)
	}
	if err != nil && !none {
		return err
	}
	reports, err := report.Remove(stateDir, report.Target, dir)
	if err != nil {
		return err
	}
	if none && reports == 0 {
		return usage("%s is no target: it has no journal; name the directory that an agent or pull writes", printable(dir))
	}
	if a.output == "json" {
		return a.json(forgotten{Dir: dir, Generation: f.Generation, Files: f.Managed, Interrupted: f.Interrupted, Kept: f.Kept, Reports: reports})
	}
	line := fmt.Sprintf("%s: forgotten; its %d paths stay as generation %d left them", printable(dir), f.Managed, f.Generation)
	if none {
		line = fmt.Sprintf("%s: forgotten; it was no target any more", printable(dir))
	}
	if f.Interrupted {
		line += ", some perhaps of the generation after: an apply was interrupted"
	}
	if f.Kept != "" {
		line += "; what was kept stays in " + printable(f.Kept)
	}
	return a.printf("%s\n", line)
}
