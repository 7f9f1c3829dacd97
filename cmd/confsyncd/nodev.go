//go:build lean

package main

import "github.com/spf13/cobra"

// addDev adds nothing: the embedded etcd is left out.
func (a *app) addDev(*cobra.Command) {}
