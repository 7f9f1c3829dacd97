package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// logFlags are the flags of log.
type logFlags struct {
	number   int
	from, to string
	path     string
}

func (a *app) logCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "List the generations, the newest first",
		Long: `Log lists the generations that are in etcd, the newest first: number, time,
publisher, paths created (+), changed (~) and deleted (-), size of the new contents,
message. A founding begins the history, or begins it anew after etcd was lost; a
keyframe is where hosts that join begin; a channel is told at the generation that it
is at.

--path lists only those that touched a path, or anything below it.`,
		Args: arguments(),
	}
	var f logFlags
	f.number = 20
	cmd.Flags().VarP(into(&f.number, "number", count), "number", "n", "list at most so many; 0 is all (default 20)")
	cmd.Flags().StringVar(&f.from, "from", "", "the oldest generation to list")
	cmd.Flags().StringVar(&f.to, "to", "", "the newest generation to list")
	cmd.Flags().StringVar(&f.path, "path", "", "list what touched this path, or something below it")
	colors := colorFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.log(cmd.Context(), f, *colors)
	}
	return cmd
}

func (a *app) log(ctx context.Context, f logFlags, color string) error {
	colors, err := a.palette(color)
	if err != nil {
		return err
	}
	span, err := parseSpan(f.from, f.to)
	if err != nil {
		return err
	}
	path := ""
	if f.path != "" {
		if path, err = treePath(f.path); err != nil {
			return err
		}
	}
	return a.look(ctx, func(ctx context.Context, l *look) error {
		left := f.number
		for c, err := range l.store.Commits(ctx, l.view, span.from, span.to) {
			if err != nil {
				return err
			}
			if !touches(c.Changes, path) {
				continue
			}
			if err := a.printLogged(colors, l.factsOf(c)); err != nil {
				return err
			}
			if left--; left == 0 {
				break
			}
		}
		return nil
	})
}

// span is a range of generations, both included; 0 is open.
type span struct{ from, to uint64 }

func parseSpan(from, to string) (s span, err error) {
	if from != "" && from != headWord {
		if s.from, err = parseGeneration(from); err != nil {
			return s, fmt.Errorf("--from: %w", err)
		}
	}
	if to != "" {
		if s.to, err = parseGeneration(to); err != nil {
			return s, fmt.Errorf("--to: %w", err)
		}
	}
	if s.to > 0 && s.from > s.to {
		return s, usage("--from %d is above --to %d", s.from, s.to)
	}
	return s, nil
}

// touches reports whether a change is of the path or below it; "" is every path.
func touches(changes []diff.Change, path string) bool {
	return path == "" || slices.ContainsFunc(changes, func(c diff.Change) bool { return c.Path == path || diff.Below(c.Path, path) })
}

// treePath reads a path in the tree from the command line.
func treePath(word string) (string, error) {
	path := strings.TrimSuffix(word, "/")
	if err := diff.CheckPath(path); err != nil {
		return "", usage("%w: write it as \"confsyncd ls\" does, from the root of the tree", err)
	}
	return path, nil
}

func (a *app) printLogged(colors palette, f commitFacts) error {
	if a.output == "json" {
		return a.json(f)
	}
	line := fmt.Sprintf("%s  %s  %-12s  %-12s  %8s", colors.generation(fmt.Sprintf("%6d", f.Generation)), f.Time.Local().Format(time.DateTime),
		printable(f.Publisher), countsText(f.Created, f.Changed, f.Deleted), bytesText(f.Bytes))
	if f.Message != "" {
		line += "  " + printable(f.Message)
	}
	if marks := f.marks(); marks != "" {
		line += "  " + colors.hunk("["+marks+"]")
	}
	return a.printf("%s\n", line)
}
