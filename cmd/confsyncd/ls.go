package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// listed is what ls prints with -o json.
type listed struct {
	Tenant     string        `json:"tenant"`
	Generation uint64        `json:"generation"`
	Entries    []listedEntry `json:"entries"`
}

type listedEntry struct {
	Path string `json:"path"`
	entryFacts
	Target string `json:"target,omitempty"` // of a symlink
}

func (a *app) lsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls [GEN]",
		Short: "List what a generation holds",
		Long: `Ls lists kind and mode, size and path of everything that a generation, or the head,
holds, and where symlinks point. --path takes one path, or what lies below it;
--names prints the paths alone.`,
		Args: upTo(1),
	}
	var path string
	cmd.Flags().StringVar(&path, "path", "", "list this path, or what lies below it, alone")
	names := cmd.Flags().Bool("names", false, "print the paths alone")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		generation := uint64(0)
		if len(args) > 0 {
			if generation, err = parseGeneration(args[0]); err != nil {
				return err
			}
		}
		if path != "" {
			if path, err = treePath(path); err != nil {
				return err
			}
		}
		return a.look(cmd.Context(), func(ctx context.Context, l *look) error { return a.ls(ctx, l, generation, path, *names) })
	}
	return cmd
}

func (a *app) ls(ctx context.Context, l *look, generation uint64, path string, names bool) error {
	v, err := l.at(ctx, generation)
	if err != nil {
		return err
	}
	if _, ok := v.Tree.Get(path); path != "" && !ok {
		return notThere(v, path)
	}
	r := listed{Tenant: l.tenant, Generation: v.Position().Generation, Entries: []listedEntry{}}
	var links []diff.Entry
	for p, e := range v.Tree.All() {
		if path != "" && p != path && !diff.Below(p, path) {
			continue
		}
		r.Entries = append(r.Entries, listedEntry{Path: p, entryFacts: *entryOf(e)})
		if e.Kind == diff.Symlink {
			links = append(links, e)
		}
	}
	if !names || a.output == "json" {
		if err := r.follow(ctx, v, links); err != nil {
			return err
		}
	}
	if a.output == "json" {
		return a.json(r)
	}
	return a.printListed(r.Entries, names)
}

// follow adds where the symlinks point.
func (r *listed) follow(ctx context.Context, v *store.Version, links []diff.Entry) error {
	targets := make(map[string]string) // by hash
	err := v.Fetch(ctx, links, nowhere, func(e diff.Entry, content []byte) error {
		targets[e.Hash.String()] = string(content)
		return nil
	})
	for i := range r.Entries {
		if e := &r.Entries[i]; e.Kind == diff.Symlink.String() {
			e.Target = targets[e.SHA256]
		}
	}
	return err
}

// printListed prints a line for each entry.
func (a *app) printListed(entries []listedEntry, names bool) error {
	width := 1
	for _, e := range entries {
		width = max(width, len(fmt.Sprint(e.Size)))
	}
	for _, e := range entries {
		line := printable(e.Path)
		if !names {
			kind := map[string]string{"directory": "d", "symlink": "l"}[e.Kind]
			if kind == "" {
				kind = "-"
			}
			line = fmt.Sprintf("%s %4s  %*d  %s", kind, e.Mode, width, e.Size, line)
		}
		if e.Target != "" && !names {
			line += " -> " + printable(e.Target)
		}
		if err := a.printf("%s\n", line); err != nil {
			return err
		}
	}
	return nil
}

// notThere is the error of a path that a generation does not hold.
func notThere(v *store.Version, path string) error {
	g := v.Position().Generation
	return fmt.Errorf("%s is not in generation %d: \"confsyncd ls %d\" lists what is, \"confsyncd blame\" tells when a path went", printable(path), g, g)
}
