//go:build bench

package bench

import (
	"fmt"
	"os/exec"
	"path/filepath"

	"github.com/confsyncd/confsyncd/internal/lab"
)

func startFigure() Figure {
	return Figure{
		Name: "start",
		How: `A tree of 100,000 files of 2 KB, 100 in each directory, all in the page cache, of which nothing has changed: ` + "`push`, `pull`, `rsync -an`" + ` of a
copy of it, and ` + "`git status`" + ` without fsmonitor and untracked cache, in turn, each as a process from its beginning to its end.`,
		Profile: `a pull stats each of 101,000 names, on both processors; two thirds of it are the kernel's (perf: looking the name up, and its attributes), the rest is the journal's tree, read and checked. Less would take a file system that tells what has changed since.`,
		Measure: measureStart,
	}
}

// argv is what runs a subcommand on the host.
func argv(h *lab.Host, subcommand string) []string {
	return []string{
		h.Lab.Program, "--config", h.Config, "--endpoints", h.Via, "--state-dir", h.State, subcommand, "--tenant", h.Tenant, "--dir", h.Dir,
	}
}

// Process returns a Side: a process from its beginning to its end.
func (m *Meter) Process(name string, argv ...string) Side {
	return Side{name, func() float64 { return m.Timed(exec.Command(argv[0], argv[1:]...).Run) }}
}

func measureStart(m *Meter) {
	const files, rounds = 100_000, 5
	l := m.Lab(m.Etcd())
	source, target := l.Host(m.T, "start", "source"), l.Host(m.T, "start", "target")
	source.Dir = m.Tree(files)
	source.Must(m.T, "push")
	target.Must(m.T, "pull")
	sides := []Side{m.Process("push", argv(source, "push")...), m.Process("pull", argv(target, "pull")...)}
	floors := []string{"rsync", "git"}
	for _, need := range floors {
		if _, err := exec.LookPath(need); err != nil {
			m.LeaveOut("there is no %s", need)
		}
	}
	// The target has all but the modification times, by which rsync goes.
	m.Must(exec.Command("rsync", "-a", "--size-only", source.Dir+"/", target.Dir).Run())
	git := []string{"git", "--git-dir", filepath.Join(m.Dir, "git"), "--work-tree", source.Dir, "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false"}
	m.Must(exec.Command(git[0], append(git[1:], "init", "-q")...).Run())
	m.Must(exec.Command(git[0], append(git[1:], "add", "-A")...).Run())
	sides = append(sides, m.Process("rsync", "rsync", "-an", source.Dir+"/", target.Dir), m.Process("git", append(git, "status", "--short")...))
	for _, s := range sides {
		s.Once() // What was made just now is looked at once more.
	}
	got := Interleave(rounds, sides...)
	push, pull, rsync, status := got[0], got[1], got[2], got[3]
	for _, ours := range []struct {
		name string
		took Sample
	}{{"push", push}, {"pull", pull}} {
		what := fmt.Sprintf("no-change start on 100,000 files, warm cache: %s", ours.name)
		m.Row(ours.took.row(Row{What: what, Target: "≤ 1.2 × `rsync -an`", Unit: "ms", Floor: rsync.Median(), FloorIs: "`rsync -an`", Bound: 1.2 * rsync.Median()}))
		m.Row(ours.took.row(Row{What: "the same", Target: "≤ `git status`", Unit: "ms", Floor: status.Median(), FloorIs: "`git status`", Bound: status.Median()}))
	}
	m.Note("Of a push half is the stat of each name, on all processors, as in `git status`; the rest is the committed tree, read and checked, and lists of names. " +
		"A pull does the same with the names of the target; what was read within the hour, in this boot of the machine, is not read again.")
}
