//go:build manual

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// addManual adds a command that writes what packages ship beside the program: man pages
// and completions. The program that is shipped does not have it.
func (a *app) addManual(root *cobra.Command) {
	root.AddCommand(&cobra.Command{
		Use:    "manual DIR",
		Hidden: true,
		Args:   arguments("DIR"),
		RunE:   func(_ *cobra.Command, args []string) error { return manual(root, args[0]) },
	})
}

func manual(root *cobra.Command, dir string) error {
	// Reproducible, see https://reproducible-builds.org/specs/source-date-epoch/.
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return usage("SOURCE_DATE_EPOCH: %w", err)
	}
	date := time.Unix(seconds, 0).UTC()
	root.DisableAutoGenTag = true
	man := filepath.Join(dir, "man")
	if err := os.MkdirAll(man, 0o755); err != nil {
		return err
	}
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Date: &date, Source: "confsyncd", Manual: "confsyncd"}, man); err != nil {
		return err
	}
	if err := root.GenBashCompletionFileV2(filepath.Join(dir, "confsyncd.bash"), true); err != nil {
		return err
	}
	if err := root.GenZshCompletionFile(filepath.Join(dir, "confsyncd.zsh")); err != nil {
		return err
	}
	return root.GenFishCompletionFile(filepath.Join(dir, "confsyncd.fish"), true)
}
