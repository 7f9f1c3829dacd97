//go:build !manual

package main

import "github.com/spf13/cobra"

// addManual adds nothing: see manual.go.
func (a *app) addManual(*cobra.Command) {}
