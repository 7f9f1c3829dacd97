//go:build faults

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// eventCases have more happen at once than events tell of.
func eventCases() []Case {
	return []Case{
		{
			Name:  "more events than the queue of inotify holds",
			How:   "30,000 changes of mode while the publisher is stopped (SIGSTOP), and then edits that find its queue of 16,384 full",
			Modes: []string{"files"},
			Setup: Setup{Publish: []string{"--log-level", "debug", "--max-delete", "100%"}},
			Try:   overflow,
		},
		{
			Name:  "thirty thousand files at once",
			How:   "30,000 files made in 300 new directories as fast as can be, then one directory of them deleted",
			Modes: []string{"files"},
			Alone: true,
			Slow:  true,
			// Making them durable and comparing them takes that long here.
			Within: time.Minute,
			Try: func(w *World) {
				for i := range 30_000 {
					dir := fmt.Sprintf("many/%03d", i%300)
					w.do(w.Writer.Mkdirs(dir))
					w.Overwrite(fmt.Sprintf("%s/f%d", dir, i), 0)
				}
				w.Count("events", 30_000)
				w.do(w.Writer.Remove("many/007"))
				w.Healed()
			},
		},
		{
			Name:  "watches exhausted, then freed",
			How:   "the publisher runs in a user namespace with max_inotify_watches = 4 (unshare -Ur); what status names as the remedy is typed there",
			Modes: []string{"files"},
			Needs: Needs{Root: true, Programs: []string{"unshare", "nsenter", "setpriv"}},
			Setup: Setup{Empty: true},
			Slow:  true, // Watches are asked for again every minute.
			Try:   exhausted,
		},
		{
			Name:  "directories made with files in them",
			How:   "400 times mkdir -p of three directories, a file written in each at once, some renamed or deleted at once",
			Modes: []string{"files"},
			Try: func(w *World) {
				for i := range 400 {
					dir := fmt.Sprintf("storm%d/a%d/b/c", i%9, i)
					w.do(w.Writer.Mkdirs(dir))
					for at := dir; strings.Contains(at, "/"); at = filepath.Dir(at) {
						w.Overwrite(at+"/first", 10)
					}
					if i%10 == 0 {
						w.do(w.Writer.Remove(fmt.Sprintf("storm%d/a%d", i%9, i)))
					}
					if i%50 == 49 {
						w.Arrives(dir + "/first") // Now and then it has caught up.
					}
					w.Count("faults", 1)
				}
				w.Healed()
			},
		},
		{
			Name:  "edits without a pause",
			How:   "an edit every 5 ms for 10 s; settle and max_delay are 500 ms, so that only max_delay ever publishes",
			Modes: []string{"files"},
			Setup: Setup{Publish: []string{"--settle", "500ms", "--max-delay", "500ms"}},
			Try:   storm,
		},
		{
			Name:   "a directory of 5,000 files renamed to and fro",
			How:    "renamed and waited for, then renamed twenty times without a pause",
			Alone:  true,
			Within: time.Minute,
			Try: func(w *World) {
				for i := range 5000 {
					dir := fmt.Sprintf("large/%02d", i%50)
					w.do(w.Writer.Mkdirs(dir))
					w.Overwrite(fmt.Sprintf("%s/f%d", dir, i), 0)
				}
				w.Equal(time.Minute)
				w.AllowBelow(w.Writer.Name("large"), "moved")
				w.AsFound()
				from, to := w.Writer.Name("large"), w.Writer.Name("moved")
				for i := range 24 {
					w.do(os.Rename(from, to))
					from, to = to, from
					if i < 3 {
						w.Equal(time.Minute)
					}
					w.Count("faults", 1)
				}
				w.Healed()
			},
		},
	}
}

func overflow(w *World) {
	files := w.sortedFiles()
	w.Signal(syscall.SIGSTOP)
	for i := range 30_000 {
		// No two alike in a row: the kernel merges those.
		p := files[i%len(files)]
		w.do(os.Chmod(w.Writer.Name(p), w.Writer.Model[p].Mode.Perm()))
	}
	w.Edit(30)
	w.Signal(syscall.SIGCONT)
	w.Healed()
	w.Count("events", 30_000)
	_, err := lab.FindLine(w.Source.Log, 20*time.Second, "events were lost", "overflow")
	w.do(err)
	w.Converge()
	w.Edit(10) // The watches are as good as new.
	w.Healed()
}

func exhausted(w *World) {
	w.Source.Through = []string{
		"unshare", "-Ur", "sh", "-c",
		`echo 4 >/proc/sys/user/max_inotify_watches && exec setpriv --pdeathsig KILL "$0" "$@"`,
	}
	w.Start()
	w.Says(w.Source, "changes may be noticed late", "not watched", "sysctl user.max_inotify_watches=")
	for range 3 {
		w.Edit(5)
		w.Equal(20 * time.Second)
	}
	reason := w.Stands("live", "polling", "user.max_inotify_watches")
	_, setting, _ := strings.Cut(reason, `"sysctl `)
	setting, _, _ = strings.Cut(setting, `"`)
	name, value, _ := strings.Cut(setting, "=")
	w.run("nsenter", "-U", "-t", strconv.Itoa(w.Source.Daemon.Cmd.Process.Pid), "sh", "-c",
		"echo "+value+" >/proc/sys/"+strings.ReplaceAll(name, ".", "/"))
	w.Count("faults", 1)
	_, err := lab.FindLine(w.Source.Log, 90*time.Second, "everything is watched again")
	w.do(err)
	w.Edit(20)
	w.Healed()
}

func storm(w *World) {
	before := w.Source.Generation(w.T)
	edits := 0
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); edits++ {
		w.do(w.Writer.PutFile(w.Writer.Pick(w.sortedFiles())))
		time.Sleep(5 * time.Millisecond)
	}
	w.Healed()
	w.Converge()
	// At most 500 ms and the commit itself lie between two; a loaded machine has its time.
	commits := w.Source.Generation(w.T) - before
	if commits < 6 {
		w.wrong("e", "%d commits of %d edits in 10 s", commits, edits)
	}
	w.Count("faults", edits)
	w.Note("%d edits made %d commits", edits, commits)
}
