package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/publisher"
)

// sourceWritten is what pull --write-source prints with -o json, one object for each source.
type sourceWritten struct {
	Tenant     string   `json:"tenant"`
	Dir        string   `json:"dir"`
	DryRun     bool     `json:"dry_run"`
	Generation uint64   `json:"generation"` // of the head
	Created    []string `json:"created"`
	Changed    []string `json:"changed"`
	Deleted    []string `json:"deleted"`
	Bytes      int64    `json:"bytes"`
	KeptIn     string   `json:"kept_in,omitempty"`
	DurationMS int64    `json:"duration_ms"`
}

// writeSources writes the heads into the sources of the configuration, or into the one that
// --tenant and --dir name.
func (a *app) writeSources(cmd *cobra.Command, c *config.Config, dir string, f pullFlags) error {
	var wrong error
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed && f.Name != "write-source" && f.Name != "dry-run" && f.Name != "dir" {
			wrong = usage("--%s is of targets, and --write-source writes a source", f.Name)
		}
	})
	if wrong != nil {
		return wrong
	}
	sources, err := a.sources(c, &overrides[config.Source]{flags: pflag.NewFlagSet("", pflag.ContinueOnError), dir: dir})
	if err != nil {
		return err
	}
	return each(sources, func(s config.Source) error { return a.writeSource(cmd.Context(), c, s, f.dryRun) })
}

func (a *app) writeSource(ctx context.Context, c *config.Config, s config.Source, dryRun bool) error {
	log, err := a.logger(c, false)
	if err != nil {
		return configError{err}
	}
	etcd := client(c, log)
	begin := time.Now()
	var done *publisher.Written
	err = withPatience(ctx, etcd, func(ctx context.Context) (err error) {
		done, err = publisher.WriteSource(ctx, publisherOptions(c, s, etcd, log), dryRun)
		return err
	})
	if err := firstError(about("pull --write-source", s.Tenant, s.Dir, err), etcd.Close()); err != nil {
		return err
	}
	return a.printSourceWritten(s, done, dryRun, time.Since(begin))
}

func (a *app) printSourceWritten(s config.Source, done *publisher.Written, dryRun bool, took time.Duration) error {
	r := sourceWritten{
		Tenant: s.Tenant, Dir: s.Dir, DryRun: dryRun, Generation: done.Generation, Bytes: done.Bytes, KeptIn: done.Kept, DurationMS: took.Milliseconds(),
	}
	r.Created, r.Changed, r.Deleted = sorted(done.Changes)
	if a.output == "json" {
		return a.json(r)
	}
	counts := countsText(len(r.Created), len(r.Changed), len(r.Deleted))
	switch {
	case len(done.Changes) == 0:
		return a.printf("%s: nothing to write, %s has generation %d\n", s.Tenant, printable(s.Dir), r.Generation)
	case dryRun:
		if err := a.printf("%s: generation %d would change %s in %s\n", s.Tenant, r.Generation, counts, printable(s.Dir)); err != nil {
			return err
		}
		return a.printPaths(map[string][]string{"+": r.Created, "~": r.Changed, "-": r.Deleted})
	}
	if err := a.printf("%s: wrote generation %d to %s: %s, %s, %d ms\n", s.Tenant, r.Generation, printable(s.Dir), counts, bytesText(r.Bytes), r.DurationMS); err != nil {
		return err
	}
	if r.KeptIn == "" {
		return nil
	}
	return a.printf("what stood there is kept in %s\n", printable(r.KeptIn))
}
