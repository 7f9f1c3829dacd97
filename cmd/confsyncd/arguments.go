package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// arguments accepts exactly the arguments that are named.
func arguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage("%s is missing; see \"%s --help\"", strings.Join(names[len(args):], " and "), cmd.CommandPath())
		case len(args) > len(names):
			return usage("unexpected argument %q; see \"%s --help\"", args[len(names)], cmd.CommandPath())
		}
		return nil
	}
}

// known refuses what is no command, and suggests one.
func known(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		nearest := slices.MaxFunc(near, func(x, y string) int { return inCommon(x, args[0]) - inCommon(y, args[0]) })
		return usage("unknown command %q; did you mean %q?", args[0], root.CommandPath()+" "+nearest)
	}
	return usage("unknown command %q; \"%s --help\" lists all", args[0], root.CommandPath())
}

// inCommon returns how many bytes two words begin with in common.
func inCommon(x, y string) int {
	n := 0
	for n < len(x) && n < len(y) && x[n] == y[n] {
		n++
	}
	return n
}

// helpCommand is like cobra's own, and refuses what is no command.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return known(root, args)
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// upTo accepts so many arguments, or fewer.
func upTo(most int) cobra.PositionalArgs { return atLeast(0, most) }

// atLeast accepts between so many arguments and so many; the names are of those that
// must be there.
func atLeast(least, most int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		return arguments(append(names[:least:least], make([]string, min(max(len(args)-least, 0), most-least))...)...)(cmd, args)
	}
}
