//go:build faults

package faults

import (
	"os"
	"path/filepath"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// homeCases are the file systems that targets lie on.
func homeCases() []Case {
	usual := func(kind, options string) func(w *World) {
		return func(w *World) {
			w.Disk(kind, options)
			w.Start()
			w.traffic()
		}
	}
	return []Case{
		{
			Name: "on tmpfs", How: "the usual traffic, kills and drift, with the target on a tmpfs",
			Needs: Needs{Root: true}, Setup: Setup{Empty: true}, Try: usual("tmpfs", "size=16m"),
		},
		{
			Name: "on XFS", How: "the same on an XFS image",
			Needs: Needs{Root: true, Programs: []string{"mkfs.xfs:xfsprogs"}}, Setup: Setup{Empty: true}, Try: usual("xfs", ""),
		},
		{
			Name: "on overlayfs", How: "the same on an overlayfs, all in its upper directory",
			Needs: Needs{Root: true}, Setup: Setup{Empty: true},
			Try: func(w *World) {
				lower := filepath.Join(filepath.Dir(w.Target.Dir), "lower")
				w.do(os.Mkdir(lower, 0o755))
				w.Disk("overlay", "lowerdir="+lower)
				w.Start()
				w.traffic()
			},
		},
		{
			Name: "adopted from an overlayfs's lower directory", Modes: []string{"files"}, How: "the same where the files were there already, in the lower directory",
			Needs: Needs{Root: true}, Setup: Setup{Empty: true},
			Try: func(w *World) {
				lower := filepath.Join(filepath.Dir(w.Target.Dir), "lower")
				w.do(os.Mkdir(lower, 0o755))
				w.Command("cp", "-a", w.Source.Dir, filepath.Join(lower, "dir"))
				w.Disk("overlay", "lowerdir="+lower)
				w.Publish()
				w.Agent()
				w.Says(w.Target, "applied", "adopted")
				w.Measure()
				w.Read()
				w.traffic()
			},
		},
		{
			Name: "whole tree from an overlayfs's lower directory", Modes: []string{"tree"},
			How:   "the target is a directory of the lower directory, which an overlayfs cannot exchange; the agent is started with mode = \"files\" then",
			Needs: Needs{Root: true}, Setup: Setup{Empty: true},
			Try: tryLowerTree,
		},
	}
}

// traffic is the usual: changesets, kills in the midst, drift.
func (w *World) traffic() {
	w.Helper()
	for range 3 {
		w.Edit(10)
		w.Mixed()
		w.Restart()
		w.Replace(20)
		w.Healed()
		w.Converge()
	}
	file := w.Files()[0]
	w.touches(file)
	w.do(os.WriteFile(w.At(file), []byte("edited\n"), 0o600))
	w.Healed()
	w.Converge()
	w.mustKeep(1)
}

func tryLowerTree(w *World) {
	lower := filepath.Join(filepath.Dir(w.Target.Dir), "lower")
	w.do(os.Mkdir(lower, 0o755))
	w.Command("cp", "-a", w.Source.Dir, filepath.Join(lower, "dir"))
	w.Disk("overlay", "lowerdir="+lower)
	w.Publish()
	w.Agent()
	w.Says(w.Target, "applied", "adopted") // Nothing is exchanged, as the files are there.
	w.Mixed()
	w.tells("holding", "is not possible here", w.Target.Dir, "overlayfs", `mode = \"files\"`)
	before, err := lab.ReadTree(w.Target.Dir)
	w.do(err)
	if len(before) == 0 {
		w.wrong("d", "the target is empty")
	}
	w.do(w.Target.Stop())
	w.Mode = "files"
	w.Agent()
	w.Healed()
	w.Converge()
	w.Note(`The remedy is mode = "files", which the log names.`)
}
