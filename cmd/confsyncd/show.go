package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// shown is what show prints with -o json.
type shown struct {
	commitFacts
	Changes []differenceFacts `json:"changes"`
}

func (a *app) showCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show [GEN]",
		Short: "Show one generation and what it changed",
		Long: `Show tells who committed a generation, or the head, when and why, and prints what
it changed as a patch. --stat prints the paths alone.`,
		Args: upTo(1),
	}
	stat := cmd.Flags().Bool("stat", false, "print the paths alone")
	colors := colorFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		palette, err := a.palette(*colors)
		if err != nil {
			return err
		}
		generation := uint64(0)
		if len(args) > 0 {
			if generation, err = parseGeneration(args[0]); err != nil {
				return err
			}
		}
		return a.look(cmd.Context(), func(ctx context.Context, l *look) error { return a.show(ctx, l, generation, palette, *stat) })
	}
	return cmd
}

func (a *app) show(ctx context.Context, l *look, generation uint64, colors palette, stat bool) error {
	to, err := l.at(ctx, generation)
	if err != nil {
		return err
	}
	generation = to.Position().Generation
	var commit *store.Commit
	for c, err := range l.store.Commits(ctx, l.view, generation, generation) {
		if err != nil {
			return err
		}
		commit = c
	}
	if commit == nil {
		return fmt.Errorf("generation %d: %w", generation, store.ErrGone)
	}
	list := differences(commit.Changes)
	facts := l.factsOf(commit)
	if a.output == "json" {
		return a.json(shown{facts, factsOfDifferences(list)})
	}
	if err := a.printHeading(colors, facts); err != nil {
		return err
	}
	if stat || len(list) == 0 {
		return a.printStat(colors, list)
	}
	from := side{read: func(context.Context, []diff.Change, func(diff.Hash, []byte)) error { return nil }}
	if !facts.Founding {
		before, err := l.at(ctx, generation-1)
		if err != nil {
			return err
		}
		from = versionSide(before)
	}
	return a.patch(colors, from, versionSide(to)).print(ctx, list)
}

// printHeading prints what is known of a generation, as a heading for what it changed.
func (a *app) printHeading(colors palette, f commitFacts) error {
	var b strings.Builder
	head := fmt.Sprintf("generation %d", f.Generation)
	if marks := f.marks(); marks != "" {
		head += " (" + marks + ")"
	}
	fmt.Fprintf(&b, "%s\n", colors.generation(head))
	fmt.Fprintf(&b, "commit     %s\n", f.Commit)
	if f.Parent != "" {
		fmt.Fprintf(&b, "parent     %s\n", f.Parent)
	}
	fmt.Fprintf(&b, "publisher  %s (instance %s)\n", printable(f.Publisher), printable(f.Instance))
	fmt.Fprintf(&b, "time       %s\n", f.Time.Local().Format(time.DateTime+" -0700"))
	fmt.Fprintf(&b, "changes    %s, %s\n", countsText(f.Created, f.Changed, f.Deleted), bytesText(f.Bytes))
	if f.Message != "" {
		b.WriteByte('\n')
		for line := range strings.Lines(f.Message) {
			fmt.Fprintf(&b, "    %s\n", printable(strings.TrimSuffix(line, "\n")))
		}
	}
	b.WriteByte('\n')
	return a.printf("%s", b.String())
}
