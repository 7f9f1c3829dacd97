//go:build lean

package main

import "github.com/spf13/cobra"

// addDev adds a command that says why it is not there: the embedded etcd is left out.
func (a *app) addDev(root *cobra.Command) {
	root.AddCommand(&cobra.Command{
		Use:                "dev",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return usage("this confsyncd was built without dev and its embedded etcd; build one without the tag lean to try it out")
		},
	})
}
