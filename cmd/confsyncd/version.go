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
			v := programVersion()
			if a.output == "json" {
				return a.json(map[string]any{"version": v, "format": codec.Format, "go": runtime.Version()})
			}
			_, err := fmt.Fprintf(a.out, "confsyncd %s (wire format %d, %s)\n", v, codec.Format, runtime.Version())
			return err
		},
	}
}

// programVersion is what the program was built as.
func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "devel" && info.Main.Version != "" {
		return info.Main.Version
	}
	return version
}
