package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

const (
	// completionPatience is how long pressing the tabulator waits for etcd.
	completionPatience = 300 * time.Millisecond
	// completionLimit is how many generations are offered.
	completionLimit = 20
)

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print what makes a shell complete command lines",
		Long: `Completion prints a script that makes a shell complete confsyncd's commands, flags
and generations. To load it

  in bash, once:      source <(confsyncd completion bash)
  in bash, always:    confsyncd completion bash > /etc/bash_completion.d/confsyncd
  in zsh, always:     confsyncd completion zsh > "${fpath[1]}/_confsyncd"
  in fish, always:    confsyncd completion fish > ~/.config/fish/completions/confsyncd.fish`,
		Args:      arguments("bash, zsh or fish"),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch root := cmd.Root(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			}
			return usage("%q is no shell that is known here: use bash, zsh or fish", args[0])
		},
	}
}

// completeWords offers the fixed words of a flag.
func completeWords(cmd *cobra.Command, flag string, words ...string) {
	// This fails for an unknown flag only.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completeGenerations offers generations for flags.
func completeGenerations(a *app, cmd *cobra.Command, flags ...string) {
	for _, flag := range flags {
		_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return a.generations(cmd.Context()), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		})
	}
}

// generationArgument offers generations for the argument at that place.
func (a *app) generationArgument(place int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) != place {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.generations(cmd.Context()), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// generationOrDirectory offers both.
func (a *app) generationOrDirectory(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if typed != "" && (typed[0] < '0' || typed[0] > '9') && typed[0] != 'h' {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	return a.generations(cmd.Context()), cobra.ShellCompDirectiveKeepOrder
}

// generations returns the newest generations, if etcd tells them at once; whoever
// presses the tabulator gets no errors.
func (a *app) generations(ctx context.Context) []string {
	words := []string{headWord}
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	if a.environment() != nil {
		return words
	}
	c, err := a.load()
	if err != nil {
		return words
	}
	tenant, err := a.onlyTenant(c)
	if err != nil {
		return words
	}
	log, err := a.logger(c, false)
	if err != nil {
		return words
	}
	etcd := client(c, log)
	defer func() { _ = etcd.Close() }() // nothing was written
	l := &look{tenant: tenant, store: etcd.Tenant(tenant)}
	if l.see(ctx) != nil {
		return words
	}
	head := l.view.Head.Position.Generation
	for g := head; g > 0 && head-g < completionLimit; g-- {
		word := strconv.FormatUint(g, 10)
		if r, _, err := l.store.Record(ctx, l.view, g); err == nil {
			words = append(words, fmt.Sprintf("%s\t%s %s", word, r.Time.Local().Format(time.DateTime), printable(r.Message)))
		}
	}
	return words
}
