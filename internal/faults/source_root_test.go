//go:build faults

package faults

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// rootCases are what becomes of the source's own directory.
func rootCases() []Case {
	files := []string{"files"}
	return []Case{
		{
			Name: "directory renamed away, and back", How: "mv of the source; the publisher holds; mv back, edited at once", Modes: files,
			Try: func(w *World) {
				for range 3 {
					generation, target := w.Now()
					back := w.away()
					w.Holds(generation, target, w.Source.Dir, "missing", "nothing is deleted")
					back()
					w.Edit(5)
					w.Healed()
					w.Converge()
					w.Count("faults", 1)
				}
			},
		},
		{
			Name: "directory deleted, and put back", How: "mv of the source, rm -r of what was moved, a copy of all moved to its place", Modes: files,
			Try: func(w *World) {
				generation, target := w.Now()
				w.Copied(w.Aside("copy"))
				w.do(os.Rename(w.Source.Dir, w.Aside("gone")))
				w.do(os.RemoveAll(w.Aside("gone")))
				w.Holds(generation, target, w.Source.Dir, "missing", "nothing is deleted")
				w.do(os.Rename(w.Aside("copy"), w.Source.Dir))
				w.Edit(5)
				w.Count("faults", 1)
				w.Healed()
			},
		},
		{
			Name: "directory replaced by a file, and back", How: "mv of the source, a file in its place; then mv back", Modes: files,
			Try: func(w *World) {
				generation, target := w.Now()
				back := w.away()
				w.do(os.WriteFile(w.Source.Dir, []byte("no directory\n"), 0o644))
				w.Holds(generation, target, w.Source.Dir, "missing", "nothing is deleted")
				back()
				w.Edit(5)
				w.Count("faults", 1)
				w.Healed()
			},
		},
		{
			Name: "directory replaced by a symlink that leads nowhere, and back", How: "mv of the source, ln -s of nothing in its place; then mv back", Modes: files,
			Try: func(w *World) {
				generation, target := w.Now()
				back := w.away()
				w.do(os.Symlink("nothing", w.Source.Dir))
				w.Holds(generation, target, w.Source.Dir, "missing", "nothing is deleted")
				back()
				w.Edit(5)
				w.Count("faults", 1)
				w.Healed()
			},
		},
		{
			Name: "directory replaced by a symlink to where it is now, and back", How: "mv of the source, ln -s to it in its place, edits; then mv back; then the symlink is led to a copy with edits", Modes: files,
			Try: func(w *World) {
				w.AsFound()
				w.Copied(w.Aside("copy"))
				back := w.away()
				w.do(os.Symlink(w.Aside("away"), w.Source.Dir))
				w.Edit(5)
				w.Equal(20 * time.Second)
				back()
				w.Edit(5)
				w.Equal(20 * time.Second)
				w.away()
				w.do(os.Symlink(w.Aside("copy"), w.Source.Dir))
				w.Count("faults", 3)
				w.Healed()
			},
		},
		{
			Name: "directory replaced by one that has less, and back", How: "mv of the source, another with one file in its place: the guard trips; then mv back", Modes: files,
			Try: func(w *World) {
				generation, target := w.Now()
				back := w.away()
				w.do(os.Mkdir(w.Source.Dir, 0o755))
				w.do(os.WriteFile(w.Writer.Name("other"), []byte("other\n"), 0o644))
				w.Holds(generation, target, w.Source.Dir, "replaced", "--allow root")
				back()
				w.Edit(5)
				w.Count("faults", 1)
				w.Healed()
			},
		},
		{
			Name: "directory replaced by one that has less, which is meant", How: "the same; then the remedy that status names is typed as written", Modes: files,
			Try: func(w *World) {
				generation, target := w.Now()
				w.away()
				w.do(os.Mkdir(w.Source.Dir, 0o755))
				w.Writer.Ledger.Allow("other", 0o644, "other\n")
				w.do(os.WriteFile(w.Writer.Name("other"), []byte("other\n"), 0o644))
				reason := w.Holds(generation, target, w.Source.Dir, "replaced", "--allow root")
				w.AsFound()
				w.Type(reason)
				w.Healed()
				w.Converge()
				w.Stands("live")
				w.Beside()
				w.Count("faults", 1)
			},
		},
		{
			Name: "emptied, which is meant", How: "all in the source deleted at once (publisher stopped meanwhile); the guard trips; then the remedy that status names is typed as written",
			Try: func(w *World) {
				generation, target := w.Now()
				w.empty()
				reason := w.Holds(generation, target, "would be deleted", "--allow delete")
				w.AsFound()
				w.Type(reason)
				w.Healed()
				w.Converge()
				w.Stands("live")
				w.Beside()
				w.Count("faults", 1)
			},
		},
		{
			Name: "emptied while the publisher is away, and put back", How: "TERM, all deleted, started again: the guard trips; the files come back", Modes: files,
			Try: func(w *World) {
				generation, target := w.Now()
				w.Copied(w.Aside("copy"))
				w.do(w.Source.Stop())
				w.empty()
				w.Publish()
				w.Holds(generation, target, "would be deleted", "--allow delete")
				w.run("cp", "-a", w.Aside("copy")+"/.", w.Source.Dir)
				w.Count("faults", 1)
				w.Healed()
			},
		},
		{
			Name: "directory away while the publisher starts", How: "TERM, mv of the source, started again: it holds; mv back", Modes: files,
			Try: func(w *World) {
				generation, target := w.Now()
				w.do(w.Source.Stop())
				back := w.away()
				w.Publish()
				w.Holds(generation, target, w.Source.Dir, "missing", "nothing is deleted")
				back()
				w.Edit(5)
				w.Count("faults", 1)
				w.Healed()
			},
		},
	}
}

// empty deletes all in the source, as one edit to who watches.
func (w *World) empty() {
	w.Helper()
	hold := filepath.Join(w.Source.Dir, ".confsyncd-hold")
	w.do(os.WriteFile(hold, nil, 0o600))
	entries, err := os.ReadDir(w.Source.Dir)
	w.do(err)
	for _, e := range entries {
		if name := filepath.Join(w.Source.Dir, e.Name()); name != hold {
			err = errors.Join(err, os.RemoveAll(name))
		}
	}
	w.do(errors.Join(err, os.Remove(hold)))
}

// subdirectoryCases are what becomes of directories in the source.
func subdirectoryCases() []Case {
	files := []string{"files"}
	return []Case{
		{
			Name: "subdirectory renamed, edited at once", How: "mv of a directory with directories in it to a new name, and a file in it edited at once; twenty times", Modes: files,
			Try: func(w *World) {
				w.AsFound()
				from, to := "d0", "other"
				for range 20 {
					w.AllowBelow(w.Writer.Name(from), to)
					w.do(os.Rename(w.Writer.Name(from), w.Writer.Name(to)))
					from, to = to, from
					for _, p := range []string{from + "/sub/new", from + "/new"} {
						w.Overwrite(p, 100)
					}
					w.Arrives(from + "/sub/new")
					w.Count("faults", 1)
				}
				w.Healed()
			},
		},
		{
			Name: "subdirectory moved out, edited there, and moved in", How: "mv of a directory out of the source, edited outside, moved in again under another name, edited at once; twenty times", Modes: files,
			Try: func(w *World) {
				w.AsFound()
				from, to := "d0", "other"
				for i := range 20 {
					out := filepath.Join(w.Writer.Dir+".outside", "out")
					w.do(os.Rename(w.Writer.Name(from), out))
					if i%2 == 0 {
						w.Equal(20 * time.Second)
					}
					content := w.Writer.Version(to+"/edited", 0o644, 100)
					w.do(os.WriteFile(filepath.Join(out, "edited"), []byte(content), 0o644))
					w.AllowBelow(out, to)
					w.do(os.Rename(out, w.Writer.Name(to)))
					w.Overwrite(to+"/sub/new", 100)
					w.Arrives(to + "/sub/new")
					from, to = to, from
					w.Count("faults", 1)
				}
				w.Healed()
			},
		},
		{
			Name: "subdirectory deleted, and made again", How: "rm -r of a directory, made again with the same and with other files, with and without a pause",
			Try: func(w *World) {
				for i := range 10 {
					w.do(w.Writer.Remove("d0"))
					if i%2 == 0 {
						w.Equal(20 * time.Second)
					}
					w.do(w.Writer.Mkdirs("d0/sub/deep"))
					for _, p := range []string{"d0/f", "d0/sub/f", "d0/sub/deep/f"} {
						w.Overwrite(p, 100)
					}
					w.Arrives("d0/sub/deep/f")
					w.Count("faults", 1)
				}
				w.Healed()
			},
		},
		{
			Name: "subdirectory replaced by a file, by a symlink, and back", How: "mv of a directory out, a file, then a symlink to where the directory is now, then the directory itself in its place; all with and without a pause",
			Try: func(w *World) {
				w.AsFound()
				out := w.Writer.Name("moved")
				w.AllowBelow(w.Writer.Name("d0"), "moved")
				w.Writer.Ledger.Allow("d0", 0, "moved")
				pause := false
				step := func(err error) {
					w.do(err)
					w.Count("faults", 1)
					if pause {
						w.Equal(20 * time.Second)
					}
				}
				for i := range 6 {
					pause = i%2 == 0
					step(os.Rename(w.Writer.Name("d0"), out))
					w.Overwrite("d0", 100)
					step(os.Remove(w.Writer.Name("d0")))
					step(os.Symlink("moved", w.Writer.Name("d0")))
					w.Overwrite("moved/sub/new", 50)
					w.AllowBelow(out, "d0")
					step(os.Remove(w.Writer.Name("d0")))
					step(os.Rename(out, w.Writer.Name("d0")))
				}
				w.Healed()
			},
		},
	}
}
