package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// held is what pause and resume print with -o json.
type held struct {
	Dir string `json:"dir"`
	// Paused and Pinned say what holds the target now, or, after resume, what held it.
	Paused *holdFacts `json:"paused,omitempty"`
	Pinned *holdFacts `json:"pinned,omitempty"`
}

// holdFacts are the facts of a pause or a pin.
type holdFacts struct {
	By         string    `json:"by"`
	Time       time.Time `json:"time"`
	Reason     string    `json:"reason,omitempty"`
	Generation uint64    `json:"generation,omitempty"`
}

func holdFactsOf(h *install.Hold) *holdFacts {
	if h == nil {
		return nil
	}
	return &holdFacts{By: h.By, Time: h.Time, Reason: h.Reason, Generation: h.Generation}
}

func (a *app) pauseCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "pause DIR",
		Short: "Leave one target as it is until resume",
		Long: `Pause makes the agent of the target at DIR neither apply nor repair anything, from
within a second on and across restarts, until "confsyncd resume DIR". It needs no
etcd. Status shows who paused it, when and why.`,
		Args: arguments("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.onTarget(args[0], func(dir string) error {
				h := install.Hold{By: operator(), Time: now(), Reason: reason}
				if err := install.Pause(dir, h); err != nil {
					return err
				}
				if a.output == "json" {
					return a.json(held{Dir: dir, Paused: holdFactsOf(&h)})
				}
				return a.printf("%s: %s; \"confsyncd resume %[1]s\" lets it go on\n", printable(dir), printable(h.String()))
			})
		},
	}
	cmd.Flags().StringVarP(&reason, "message", "m", "", "why, for those who find it paused")
	return cmd
}

func (a *app) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume DIR",
		Short: "Let a paused or pinned target go on",
		Long: `Resume takes back what pause and "pull --generation" did to the target at DIR. Its
agent applies the newest generation at once, and puts right what has drifted; so
does the next pull.`,
		Args: arguments("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.onTarget(args[0], func(dir string) error {
				holds, err := install.Resume(dir)
				if err != nil {
					return err
				}
				if a.output == "json" {
					return a.json(held{Dir: dir, Paused: holdFactsOf(holds.Pause), Pinned: holdFactsOf(holds.Pin)})
				}
				var was []string
				for _, h := range []*install.Hold{holds.Pause, holds.Pin} {
					if h != nil {
						was = append(was, h.String())
					}
				}
				if len(was) == 0 {
					return a.printf("%s: was neither paused nor pinned\n", printable(dir))
				}
				return a.printf("%s: goes on; it was %s\n", printable(dir), printable(strings.Join(was, " and ")))
			})
		},
	}
}

// onTarget does something with the target at a directory of the command line.
func (a *app) onTarget(arg string, do func(dir string) error) error {
	dir, err := absolute(arg)
	if err != nil {
		return usage("%w", err)
	}
	err = do(dir)
	if errors.Is(err, journal.ErrNone) {
		return usage("%s is no target: it has no journal; name the directory that an agent or pull writes", printable(dir))
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w; run it as root, or as the user that runs the agent", err)
	}
	return err
}

// now is the time as it is written down.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// operator names who runs this, also behind sudo.
func operator() string {
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	if name == "" {
		name = fmt.Sprintf("uid %d", os.Getuid())
	}
	return name
}
