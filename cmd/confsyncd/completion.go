package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
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

// complete says for all commands below what flags and arguments can be.
func (a *app) complete(cmd *cobra.Command) {
	flags := map[string]cobra.CompletionFunc{
		"output": oneOf("text", "json"), "color": oneOf("auto", "always", "never"), "log-level": oneOf("trace", "debug", "info", "warn", "error"),
		"log-format": oneOf("text", "json", "auto"), "mode": oneOf("files", "tree"), "existing": oneOf("refuse", "replace"),
		"drift": oneOf("repair", "report"), "symlinks": oneOf("preserve", "refuse"), "allow": oneOf("delete", "root", "size"),
		"dir": directory, "state-dir": directory, "from": a.generation, "to": a.generation, "generation": a.generation,
	}
	args := map[string][]cobra.CompletionFunc{
		"accept": {directory}, "pause": {directory}, "resume": {directory}, "retry": {directory}, "forget": {directory}, "verify": {directory}, "dev": {directory, directory},
		"show": {a.generation}, "ls": {a.generation}, "cat": {nothing, a.generation}, "blame": {nothing},
		"diff": {a.generationOrDirectory, a.generationOrDirectory}, "rollback": {a.generation},
	}
	for _, c := range append(cmd.Commands(), cmd) {
		for name, words := range flags {
			if c.LocalFlags().Lookup(name) != nil {
				_ = c.RegisterFlagCompletionFunc(name, words) // fails for unknown flags only
			}
		}
		if c == cmd || len(c.ValidArgs) > 0 {
			continue
		}
		c.ValidArgsFunction = func(cmd *cobra.Command, given []string, typed string) ([]string, cobra.ShellCompDirective) {
			if places := args[cmd.Name()]; len(given) < len(places) {
				return places[len(given)](cmd, given, typed)
			}
			return nothing(cmd, given, typed)
		}
	}
}

// oneOf offers fixed words.
func oneOf(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// directory lets the shell offer directories.
func directory(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// nothing offers nothing, not even files.
func nothing(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// generation offers the newest generations.
func (a *app) generation(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.generations(cmd.Context()), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// generationOrDirectory offers directories once what was typed is the beginning of one.
func (a *app) generationOrDirectory(cmd *cobra.Command, given []string, typed string) ([]string, cobra.ShellCompDirective) {
	if strings.ContainsAny(typed, "./") {
		return directory(cmd, given, typed)
	}
	return a.generation(cmd, given, typed)
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
