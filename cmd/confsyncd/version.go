package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/codec"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments(),
		RunE: func(*cobra.Command, []string) error {
			v := version
			if info, ok := debug.ReadBuildInfo(); ok && v == "devel" && info.Main.Version != "" {
				v = info.Main.Version
			}
			if a.output == "json" {
				return a.json(map[string]any{"version": v, "format": codec.Format, "go": runtime.Version()})
			}
			_, err := fmt.Fprintf(a.out, "confsyncd %s (wire format %d, %s)\n", v, codec.Format, runtime.Version())
			return err
		},
	}
}
