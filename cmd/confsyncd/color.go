package main

import (
	"fmt"
	"io"
	"os"

	"github.com/fatih/color"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// terminal reports whether what is written there is read by a person at once.
func terminal(w io.Writer) bool {
	if n, ok := w.(*noting); ok {
		w = n.Writer
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colorFlag adds --color.
func colorFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("color", "auto", "auto: on a terminal, unless NO_COLOR is set; always or never")
}

// palette paints words, or leaves them as they are.
type palette struct {
	generation, heading, hunk, added, deleted, faint func(a ...any) string
}

// palette returns the colours that --color asks for.
func (a *app) palette(word string) (palette, error) {
	var colored bool
	switch word {
	case "auto":
		colored = terminal(a.out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	case "always":
		colored = true
	case "never":
	default:
		return palette{}, usage("--color %s: use auto, always or never", word)
	}
	paint := func(attributes ...color.Attribute) func(...any) string {
		if !colored {
			return fmt.Sprint
		}
		c := color.New(attributes...)
		c.EnableColor() // the library would decide for itself
		return c.Sprint
	}
	return palette{
		generation: paint(color.FgYellow), heading: paint(color.Bold), hunk: paint(color.FgCyan),
		added: paint(color.FgGreen), deleted: paint(color.FgRed), faint: paint(color.Faint),
	}, nil
}
