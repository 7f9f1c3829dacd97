package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// blamed is what blame prints with -o json, one object for each path of a generation.
type blamed struct {
	Tenant     string    `json:"tenant"`
	Generation uint64    `json:"generation"`
	Commit     string    `json:"commit"`
	Time       time.Time `json:"time"`
	Publisher  string    `json:"publisher"`
	Message    string    `json:"message,omitempty"`
	differenceFacts
}

func (a *app) blameCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "blame PATH",
		Short: "List the generations that touched a path",
		Long: `Blame lists, the newest first, each generation that touched a path, or anything
below it, with what happened: created, content, mode, kind, renamed, deleted. It
follows no path beyond a rename.`,
		Args: arguments("PATH"),
	}
	var number int
	cmd.Flags().VarP(into(&number, "number", count), "number", "n", "list at most so many; 0, the default, is all")
	colors := colorFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		palette, err := a.palette(*colors)
		if err != nil {
			return err
		}
		path, err := treePath(args[0])
		if err != nil {
			return err
		}
		return a.look(cmd.Context(), func(ctx context.Context, l *look) error { return a.blame(ctx, l, path, number, palette) })
	}
	return cmd
}

func (a *app) blame(ctx context.Context, l *look, path string, number int, colors palette) error {
	printed := 0
	for c, err := range l.store.Commits(ctx, l.view, 0, 0) {
		if err != nil {
			return err
		}
		if !touches(c.Changes, path) {
			continue
		}
		for _, d := range differences(c.Changes) {
			if !d.concerns(path) {
				continue
			}
			r := c.Record
			b := blamed{
				Tenant: l.tenant, Generation: r.Generation, Commit: r.Commit.String(), Time: r.Time, Publisher: r.Publisher, Message: r.Message,
				differenceFacts: factsOfDifferences([]difference{d})[0],
			}
			if err := a.printBlamed(b, colors); err != nil {
				return err
			}
			if printed++; printed == number {
				return nil
			}
		}
	}
	if printed == 0 {
		return fmt.Errorf("no generation that is there touched %s: \"confsyncd ls\" lists the paths of the head", printable(path))
	}
	return nil
}

// concerns reports whether the difference is of a path, or below it.
func (d difference) concerns(path string) bool {
	return d.Path == path || diff.Below(d.Path, path) || d.From != "" && (d.From == path || diff.Below(d.From, path))
}

func (a *app) printBlamed(b blamed, colors palette) error {
	if a.output == "json" {
		return a.json(b)
	}
	what := strings.Join(b.What, ", ")
	if b.From != "" {
		what += " from " + printable(b.From)
	}
	line := fmt.Sprintf("%s  %s  %-12s  %s: %s", colors.generation(fmt.Sprintf("%6d", b.Generation)), b.Time.Local().Format(time.DateTime),
		printable(b.Publisher), printable(b.Path), what)
	if b.Message != "" {
		line += "  " + colors.faint(printable(b.Message))
	}
	return a.printf("%s\n", line)
}
