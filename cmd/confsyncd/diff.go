package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// compared is what diff prints with -o json.
type compared struct {
	Tenant  string            `json:"tenant"`
	From    sideFacts         `json:"from"`
	To      sideFacts         `json:"to"`
	Changes []differenceFacts `json:"changes"`
}

// sideFacts tell what was compared: a generation or a directory.
type sideFacts struct {
	Generation uint64 `json:"generation,omitempty"`
	Dir        string `json:"dir,omitempty"`
}

func (a *app) diffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff [A [B]]",
		Short: "Compare generations and directories",
		Long: `Diff prints what leads from A to B as a patch. Each is a generation, "head", or a
directory, which is written with a "/" or as ".":

  confsyncd diff 3 5         from generation 3 to generation 5
  confsyncd diff 3           from generation 3 to the head
  confsyncd diff 3 ./dir     from generation 3 to a directory
  confsyncd diff ./dir       from the head to a directory
  confsyncd diff             from the head to the directory of --dir, or the
                             configuration's: what a push would commit, or what was
                             edited on a host

Of a target's directory only what confsyncd manages is compared, with the part of
the tenant that the target takes. --stat prints the paths alone, --path takes one
path, or what lies below it. The exit code is 0 whether they differ or not.`,
		Args: upTo(2),
	}
	var dir, path string
	cmd.Flags().Var(into(&dir, "path", absolute), "dir", "directory to compare with the head")
	cmd.Flags().StringVar(&path, "path", "", "compare this path, or what lies below it, alone")
	stat := cmd.Flags().Bool("stat", false, "print the paths alone")
	colors := colorFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		palette, err := a.palette(*colors)
		if err == nil && path != "" {
			path, err = treePath(path)
		}
		if err != nil {
			return err
		}
		operands, err := parseOperands(args, dir)
		if err != nil {
			return err
		}
		c, err := a.load()
		if err != nil {
			return err
		}
		if len(args) == 0 && dir == "" {
			return a.diffConfigured(cmd.Context(), c, path, palette, *stat)
		}
		return a.look(cmd.Context(), func(ctx context.Context, l *look) error {
			return a.diff(ctx, l, operands[0], operands[1], path, palette, *stat)
		})
	}
	return cmd
}

// operand is a generation, 0 being the head, or a directory.
type operand struct {
	generation uint64
	dir        string
}

// parseOperands reads A and B.
func parseOperands(args []string, dir string) ([2]operand, error) {
	var operands []operand
	for _, word := range args {
		if word == "." || word == ".." || strings.Contains(word, "/") {
			path, err := absolute(word)
			if err != nil {
				return [2]operand{}, usage("%w", err)
			}
			operands = append(operands, operand{dir: path})
			continue
		}
		generation, err := parseGeneration(word)
		if err != nil {
			return [2]operand{}, usage("%w; a directory is written with a slash: ./%s", err, word)
		}
		operands = append(operands, operand{generation: generation})
	}
	switch {
	case dir != "" && len(operands) == 2:
		return [2]operand{}, usage("--dir is one argument too many")
	case dir != "":
		operands = append(operands, operand{dir: dir})
	case len(operands) == 1 && operands[0].dir == "":
		operands = append(operands, operand{})
	}
	if len(operands) < 2 {
		operands = append(make([]operand, 2-len(operands)), operands...)
	}
	return [2]operand(operands), nil
}

// diffConfigured compares the head with each source of the configuration, or, without
// any, with each target.
func (a *app) diffConfigured(ctx context.Context, c *config.Config, path string, colors palette, stat bool) error {
	type place struct{ tenant, dir string }
	var places []place
	for _, s := range c.Sources {
		if a.meant(s.Tenant) {
			places = append(places, place{s.Tenant, s.Dir})
		}
	}
	if len(places) == 0 {
		for _, t := range c.Targets {
			if a.meant(t.Tenant) {
				places = append(places, place{t.Tenant, t.Dir})
			}
		}
	}
	if len(places) == 0 {
		return usage("nothing to compare is known: give generations, a directory or --dir, or write a [[source]] or [[target]] into %s", a.configPath)
	}
	return each(places, func(p place) error {
		if len(places) > 1 && a.output != "json" {
			if err := a.printf("%s\n", colors.generation(fmt.Sprintf("tenant %s, %s", p.tenant, printable(p.dir)))); err != nil {
				return err
			}
		}
		return a.lookAt(ctx, c, p.tenant, func(ctx context.Context, l *look) error {
			return a.diff(ctx, l, operand{}, operand{dir: p.dir}, path, colors, stat)
		})
	})
}

func (a *app) diff(ctx context.Context, l *look, from, to operand, path string, colors palette, stat bool) error {
	sides, err := a.sides(ctx, l, from, to)
	if err != nil {
		return err
	}
	changes := diff.Compare(sides[0].tree, sides[1].tree)
	if path != "" {
		changes = below(changes, path)
	}
	list := differences(changes)
	if a.output == "json" {
		return a.json(compared{Tenant: l.tenant, From: sides[0].facts, To: sides[1].facts, Changes: factsOfDifferences(list)})
	}
	if stat {
		return a.printStat(colors, list)
	}
	return a.patch(colors, sides[0], sides[1]).print(ctx, list)
}

// below returns the changes of a path and of what lies below it.
func below(changes []diff.Change, path string) []diff.Change {
	var list []diff.Change
	for _, c := range changes {
		if c.Path == path || diff.Below(c.Path, path) {
			list = append(list, c)
		}
	}
	return list
}

// sides makes what is compared of two operands. What of a directory cannot be read now
// counts as equal to the other side, and is told.
func (a *app) sides(ctx context.Context, l *look, operands ...operand) ([2]side, error) {
	var sides [2]side
	chosen := l.selection(operands[0].dir, operands[1].dir)
	for i, o := range operands {
		if o.dir != "" {
			continue
		}
		v, err := l.at(ctx, o.generation)
		if err != nil {
			return sides, err
		}
		sides[i] = versionSide(v)
		if sides[i].tree, err = chosen(v.Tree); err != nil {
			return sides, err
		}
	}
	for i, o := range operands {
		if o.dir == "" {
			continue
		}
		s, err := a.directorySide(ctx, l, o.dir, sides[1-i].tree)
		if err != nil {
			return sides, err
		}
		sides[i] = s
	}
	return sides, nil
}

// versionSide is a generation as one side.
func versionSide(v *store.Version) side {
	facts := sideFacts{Generation: v.Position().Generation}
	return side{tree: v.Tree, facts: facts, read: func(ctx context.Context, changes []diff.Change, put func(diff.Hash, []byte)) error {
		wanted := make([]diff.Entry, len(changes))
		for i, c := range changes {
			wanted[i] = c.New
		}
		return v.Fetch(ctx, wanted, nowhere, func(e diff.Entry, content []byte) error {
			put(e.Hash, content)
			return nil
		})
	}}
}

// nowhere is where contents are that must come from etcd.
func nowhere(diff.Hash) []byte { return nil }

// configuredTarget returns the target of the configuration that is the directory.
func (l *look) configuredTarget(dir string) (config.Target, bool) {
	for _, t := range l.config.Targets {
		if t.Tenant == l.tenant && filepath.Clean(t.Dir) == dir {
			return t, true
		}
	}
	return config.Target{}, false
}

// selection returns what makes of a tenant's tree that of the target that one of the
// directories is.
func (l *look) selection(dirs ...string) func(diff.Tree) (diff.Tree, error) {
	for _, dir := range dirs {
		t, ok := l.configuredTarget(dir)
		if !ok {
			continue
		}
		o, err := agentOptions(l.config, t, l.client, l.log)
		if err != nil {
			return func(diff.Tree) (diff.Tree, error) { return diff.Tree{}, err }
		}
		return o.Select
	}
	return func(all diff.Tree) (diff.Tree, error) { return all, nil }
}
