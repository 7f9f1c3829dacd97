package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// contentOf is what cat prints with -o json.
type contentOf struct {
	Tenant     string `json:"tenant"`
	Generation uint64 `json:"generation"`
	Path       string `json:"path"`
	entryFacts
	Content []byte `json:"content"` // base64
}

func (a *app) catCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cat PATH [GEN]",
		Short: "Print a file as a generation holds it",
		Long: `Cat prints the content of a file in a generation, or in the head, and of a symlink
where it points. It prints the bytes as they are; but what could control a terminal
is shown as an escape when standard output is one.`,
		Args: atLeast(1, 2, "PATH"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := treePath(args[0])
		if err != nil {
			return err
		}
		generation := uint64(0)
		if len(args) > 1 {
			if generation, err = parseGeneration(args[1]); err != nil {
				return err
			}
		}
		return a.look(cmd.Context(), func(ctx context.Context, l *look) error { return a.cat(ctx, l, path, generation) })
	}
	return cmd
}

func (a *app) cat(ctx context.Context, l *look, path string, generation uint64) error {
	v, err := l.at(ctx, generation)
	if err != nil {
		return err
	}
	e, ok := v.Tree.Get(path)
	switch {
	case !ok:
		return notThere(v, path)
	case e.Kind == diff.Directory:
		g := v.Position().Generation
		return fmt.Errorf("%s is a directory in generation %d: \"confsyncd ls %d --path %s\" lists it", printable(path), g, g, printable(path))
	}
	return v.Fetch(ctx, []diff.Entry{e}, nowhere, func(_ diff.Entry, content []byte) error {
		switch {
		case a.output == "json":
			if content == nil {
				content = []byte{}
			}
			return a.json(contentOf{Tenant: l.tenant, Generation: v.Position().Generation, Path: path, entryFacts: *entryOf(e), Content: content})
		case e.Kind == diff.Symlink:
			return a.printf("%s\n", a.forOutput(content))
		}
		return a.printf("%s", a.forOutput(content))
	})
}

// forOutput returns content as standard output may get it.
func (a *app) forOutput(content []byte) string {
	if terminal(a.out) {
		return visible(string(content))
	}
	return string(content)
}
