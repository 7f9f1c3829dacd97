//go:build faults

package faults

import (
	"errors"
	"fmt"
	"os"
)

// Mixed is a small changeset with changes of all kinds, there and back: a process makes the
// same calls for every other one.
type Mixed struct {
	w   *World
	odd bool
	// held, if set, is called when the hold file is there and nothing is changed yet.
	held func()
}

// NewMixed writes what the first turn changes.
func (w *World) NewMixed() *Mixed {
	w.Helper()
	wr := w.Writer
	w.do(wr.Mkdirs("dir"))
	for i := range 4 {
		w.do(wr.Write(fmt.Sprint("dir/stays", i), 0o644, 500))
	}
	w.do(errors.Join(
		wr.Write("replaced", 0o600, 2000),
		wr.Write("dir/mode", 0o644, 300),
		wr.Link("link"),
		wr.Write("goes", 0o644, 700),
		wr.Write("here", 0o640, 900),
		wr.Write("file", 0o644, 400),
		wr.Mkdirs("directory/sub"),
		wr.Write("directory/sub/file", 0o644, 400),
		wr.Link("directory/link"),
	))
	return &Mixed{w: w}
}

// Turn changes the source: a file and a symlink are replaced, one goes and one comes, one
// moves, a file and a directory change their modes, a file becomes a directory, and a
// directory a file. It is one changeset.
func (m *Mixed) Turn() {
	m.w.Helper()
	wr := m.w.Writer
	hold := wr.Name(".confsyncd-hold")
	m.w.do(os.WriteFile(hold, nil, 0o600))
	if m.held != nil {
		m.held()
	}
	m.odd = !m.odd
	if m.odd {
		m.w.do(errors.Join(
			wr.Remove("goes"), wr.Mkdirs("comes"), wr.Write("comes/file", 0o600, 800),
			wr.RenameTo("here", "dir/there"),
			wr.ChmodTo("dir/mode", 0o755), wr.ChmodTo("dir", 0o750),
			wr.Remove("file"), wr.Mkdirs("file/sub"), wr.Write("file/sub/file", 0o644, 400), wr.Link("file/link"),
			wr.Remove("directory"), wr.Write("directory", 0o644, 400),
		))
	} else {
		m.w.do(errors.Join(
			wr.Remove("comes"), wr.Write("goes", 0o644, 700),
			wr.RenameTo("dir/there", "here"),
			wr.ChmodTo("dir/mode", 0o644), wr.ChmodTo("dir", 0o755),
			wr.Remove("file"), wr.Write("file", 0o644, 400),
			wr.Remove("directory"), wr.Mkdirs("directory/sub"), wr.Write("directory/sub/file", 0o644, 400), wr.Link("directory/link"),
		))
	}
	m.w.do(errors.Join(wr.Write("replaced", 0o600, 2000), wr.Link("link"), os.Remove(hold)))
}
