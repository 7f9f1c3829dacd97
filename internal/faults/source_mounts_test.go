//go:build faults

package faults

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// mountCases mount and unmount at the source and below it, which raises no event.
func mountCases() []Case {
	files := []string{"files"}
	mounts := Needs{Mounts: true}
	empty := Setup{Empty: true}
	looking := Setup{Empty: true, Publish: []string{"--rescan", "1s"}}
	return []Case{
		{
			Name: "source on tmpfs", How: "all of the source on a tmpfs", Modes: files, Needs: mounts, Setup: empty,
			Try: func(w *World) { w.editsOn("tmpfs", "") },
		},
		{
			Name: "source on overlayfs", How: "the source's first files in a lower directory, edits copy them up", Modes: files, Needs: mounts, Setup: empty,
			Try: func(w *World) { w.editsOn("overlay", "redirect_dir=on") },
		},
		{
			Name: "source on a bind mount that is read-only", How: "the publisher's directory is a read-only bind mount of the one that is edited", Modes: files, Needs: mounts,
			Setup: Setup{Empty: true, Publish: []string{"--max-delete", "100%"}}, // So many edits may delete half.
			Try: func(w *World) {
				w.Onto("", "")
				w.do(unix.Mount("", w.Source.Dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
				w.Start()
				w.Edit(100)
				w.Healed()
			},
		},
		{
			Name: "root unmounted, and mounted again", How: "umount of the source's file system (tmpfs): the empty mount point is seen, and the guard trips; mounted again, edited meanwhile", Modes: files, Needs: mounts, Setup: empty,
			Try: func(w *World) {
				w.Onto("tmpfs", "")
				w.Start()
				for range 3 {
					generation, target := w.Now()
					w.do(unix.Unmount(w.Source.Dir, 0))
					w.Holds(generation, target, w.Source.Dir, "replaced", "mounted", "--allow root")
					w.Edit(10)
					w.Bind(w.Writer.Dir, w.Source.Dir)
					w.Count("faults", 1)
					w.Healed()
					w.Converge()
				}
			},
		},
		{
			Name: "root unmounted while the publisher starts", How: "TERM, umount of the source's file system, started again: the guard trips; mounted again", Modes: files, Needs: mounts, Setup: empty,
			Try: func(w *World) {
				w.Onto("tmpfs", "")
				w.Start()
				generation, target := w.Now()
				w.do(w.Source.Stop())
				w.do(unix.Unmount(w.Source.Dir, 0))
				w.Publish()
				w.Holds(generation, target, "would be deleted", "--allow delete")
				w.Bind(w.Writer.Dir, w.Source.Dir)
				w.Count("faults", 1)
				w.Healed()
			},
		},
		{
			Name: "another file system mounted over the root, and unmounted", How: "a tmpfs with one file mounted over the source: the guard trips; umount", Modes: files, Needs: mounts,
			Try: func(w *World) {
				generation, target := w.Now()
				w.over(w.Source.Dir)
				w.Holds(generation, target, w.Source.Dir, "replaced", "--allow root")
				w.do(unix.Unmount(w.Source.Dir, 0))
				w.Edit(10)
				w.Count("faults", 1)
				w.Healed()
			},
		},
		{
			Name: "another file system mounted over the root, which is meant", How: "the same; then the remedy that status names is typed as written", Modes: files, Needs: mounts,
			Try: func(w *World) {
				generation, target := w.Now()
				w.over(w.Source.Dir)
				w.Writer.Ledger.Allow("other", 0o644, "other\n")
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
			Name: "a subdirectory mounted over, and uncovered", How: "a tmpfs with one file mounted over a directory of the source: it is held back; umount; five times, the last for good after a restart of the publisher, which is the remedy", Modes: files, Needs: mounts, Setup: looking,
			Try: func(w *World) {
				w.Start()
				w.covered(func(at string) { w.over(at) })
			},
		},
		{
			Name: "a directory of the same file system mounted over a subdirectory, and uncovered", How: "the same with mount --bind of another directory of the source's own file system", Modes: files, Needs: mounts, Setup: looking,
			Try: func(w *World) {
				w.do(os.Mkdir(w.Aside("other"), 0o755))
				w.do(os.WriteFile(filepath.Join(w.Aside("other"), "other"), []byte("other\n"), 0o644))
				w.Start()
				w.covered(func(at string) { w.Bind(w.Aside("other"), at) })
			},
		},
		{
			Name: "a mount in the source unmounted, and mounted again", How: "a tmpfs, then a bind mount, that were there from the beginning are unmounted: what they showed is held back; mounted again", Modes: files, Needs: mounts, Setup: looking,
			Try: func(w *World) {
				w.Onto("tmpfs", "")
				other, bound := w.Aside("other"), w.Aside("bound")
				w.do(errors.Join(os.Mkdir(other, 0o755), os.Mkdir(bound, 0o755)))
				w.do(unix.Mount("tmpfs", other, "tmpfs", 0, "mode=0755"))
				w.Cleanup(func() { _ = unix.Unmount(other, unix.MNT_DETACH) })
				w.do(os.Mkdir(w.Writer.Dir+"/same", 0o755)) // Of the source's own file system.
				w.AsFound()
				for from, at := range map[string]string{other: "m1", w.Writer.Dir + "/same": "m2"} {
					w.do(os.Mkdir(w.Writer.Name(at), 0o755))
					w.do(os.WriteFile(filepath.Join(from, "f"), []byte("first\n"), 0o644))
					w.Writer.Ledger.Allow(at+"/f", 0o644, "first\n")
					w.Writer.Ledger.Allow(at+"/f", 0o644, "second\n")
					w.Bind(from, filepath.Join(w.Source.Dir, at))
				}
				w.Writer.Ledger.Allow("same/f", 0o644, "first\n")
				w.Writer.Ledger.Allow("same/f", 0o644, "second\n")
				w.Start()
				for from, at := range map[string]string{other: "m1", w.Writer.Dir + "/same": "m2"} {
					_, target := w.Now()
					w.do(unix.Unmount(filepath.Join(w.Source.Dir, at), 0))
					w.HeldBack(at, "its mount came or went")
					w.Beside()
					w.keeps(target, at)
					w.do(os.WriteFile(filepath.Join(from, "f"), []byte("second\n"), 0o644))
					w.Bind(from, filepath.Join(w.Source.Dir, at))
					w.Count("faults", 1)
					w.Healed()
					w.Converge()
				}
			},
		},
	}
}

// Onto puts the source onto a file system of another kind, "" for none, and mounts it at
// its place. The Writer goes on where it lies now, whatever becomes of that mount.
func (w *World) Onto(kind, options string) {
	w.Helper()
	disk := w.Aside("disk")
	w.do(os.Mkdir(disk, 0o755))
	dir := filepath.Join(disk, "dir")
	first := dir
	if kind == "overlay" {
		lower, upper, work := w.Aside("lower"), w.Aside("upper"), w.Aside("work")
		w.do(errors.Join(os.Mkdir(lower, 0o755), os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)))
		options += ",lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work
		first = filepath.Join(lower, "dir")
		w.Copied(first)
	}
	if kind != "" {
		w.do(unix.Mount(kind, disk, kind, 0, options))
		w.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	}
	if first == dir {
		w.Copied(dir)
	}
	w.do(os.Mkdir(dir+".outside", 0o700))
	w.Writer.Move(dir)
	w.do(errors.Join(os.RemoveAll(w.Source.Dir), os.Mkdir(w.Source.Dir, 0o755)))
	w.Bind(dir, w.Source.Dir)
}

// Bind shows a directory at another path too, until the case ends.
func (w *World) Bind(from, at string) {
	w.Helper()
	w.do(unix.Mount(from, at, "", unix.MS_BIND, ""))
	w.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
}

// over mounts a tmpfs with one file over a directory.
func (w *World) over(at string) {
	w.Helper()
	w.do(unix.Mount("tmpfs", at, "tmpfs", 0, "mode=0755"))
	w.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	w.do(os.WriteFile(filepath.Join(at, "other"), []byte("other\n"), 0o644))
}

// editsOn has all kinds of edits made on a file system.
func (w *World) editsOn(kind, options string) {
	w.Helper()
	w.Onto(kind, options)
	w.Start()
	for range 5 {
		w.Edit(30)
		w.Equal(20 * time.Second)
	}
	w.Edit(30)
	w.Healed()
}

// covered has a subdirectory mounted over and uncovered, and at last what covers it
// published.
func (w *World) covered(cover func(at string)) {
	w.Helper()
	at := filepath.Join(w.Source.Dir, "d0")
	for i := range 5 {
		_, target := w.Now()
		cover(at)
		w.HeldBack("d0", "its mount came or went")
		w.Beside()
		w.keeps(target, "d0")
		w.Count("faults", 1)
		if i < 4 {
			w.do(unix.Unmount(at, 0))
			w.Overwrite("d0/edited", 100+i)
			w.Healed()
			w.Converge()
		}
	}
	w.Writer.Ledger.Allow("d0/other", 0o644, "other\n")
	w.AsFound()
	w.do(w.Source.Stop())
	w.Publish()
	w.Healed()
}
