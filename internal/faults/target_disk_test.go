//go:build faults

package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// diskCases use a target's file system up, or have it refuse to be written.
func diskCases() []Case {
	mounts := Needs{Root: true}
	image := Needs{Root: true, Programs: []string{"mkfs.ext4:e2fsprogs"}}
	return []Case{
		{
			Name: "disk full, in memory", How: "a tmpfs of 3 MiB is filled to the last byte, and freed",
			Needs: mounts, Setup: Setup{Empty: true},
			Try: func(w *World) { w.full(w.Disk("tmpfs", "size=3m"), w.FillUp) },
		},
		{
			Name: "disk full, ext4", How: "an ext4 image of 24 MiB is filled to the last byte, and freed",
			Needs: image, Setup: Setup{Empty: true},
			Try: func(w *World) { w.full(w.Disk("ext4", ""), w.FillUp) },
		},
		{
			Name: "inodes full, in memory", How: "a tmpfs of 600 inodes is filled with empty files, and freed",
			Needs: mounts, Setup: Setup{Empty: true},
			Try: func(w *World) { w.full(w.Disk("tmpfs", "size=8m,nr_inodes=600"), w.FillUpInodes) },
		},
		{
			Name: "inodes full, ext4", How: "all inodes of an ext4 image are used up, and freed",
			Needs: image, Setup: Setup{Empty: true},
			Try: func(w *World) { w.full(w.Disk("ext4", ""), w.FillUpInodes) },
		},
		{
			Name: "disk full at first contact", How: "a tmpfs that is full before the first apply, and then freed",
			Needs: mounts, Setup: Setup{Empty: true},
			Try: func(w *World) {
				free := w.FillUp(w.Disk("tmpfs", "size=3m"))
				w.Publish()
				w.Agent()
				w.tells("no space left on device", "make room", w.Target.Dir)
				free()
				w.Healed()
				w.Converge()
				w.Measure()
				w.Read()
			},
		},
		{
			Name: "disk full while drift is repaired", Needs: mounts, Setup: Setup{Empty: true},
			How: "a file is deleted locally, the tmpfs filled for 35 s so that every repair fails, and freed",
			Try: tryFullRepair,
		},
		{
			Name: "read-only and back", Needs: mounts, Setup: Setup{Empty: true},
			How: "the target's file system is remounted read-only while the agent is down (it has the journal open for writing, which forbids that), and back while it runs",
			Try: func(w *World) {
				disk := w.Disk("tmpfs", "size=16m")
				w.Start()
				for range 2 {
					w.do(w.Target.Daemon.Kill())
					w.do(unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
					w.Mixed()
					w.Agent()
					w.tells("read-only file system", "mount it writable", w.Target.Dir)
					w.do(unix.Mount("", disk, "", unix.MS_REMOUNT, ""))
					w.Healed()
					w.Converge()
				}
			},
		},
		{
			Name: "ext4 turns read-only after an error", Needs: image, Setup: Setup{Empty: true},
			How: "an error is reported to an ext4 with errors=remount-ro by /sys/fs/ext4/*/trigger_fs_error; then it is checked by e2fsck and mounted again",
			Try: tryErrorsReadOnly,
		},
		{
			Name: "too many open files, agent", How: "prlimit sets the agent's RLIMIT_NOFILE below what it has open, and back",
			Try: func(w *World) {
				restore := w.limit(w.Target.Daemon)
				w.Mixed()
				w.Says(w.Target, "too many open files", "LimitNOFILE=")
				w.Edit(5)
				restore()
				w.Healed()
			},
		},
		{
			Name: "too many open files, publisher", Modes: []string{"files"},
			How: "prlimit sets the publisher's RLIMIT_NOFILE below what it has open, and back",
			Try: func(w *World) {
				restore := w.limit(w.Source.Daemon)
				w.Mixed()
				w.Says(w.Source, "too many open files")
				w.Edit(5)
				restore()
				w.Healed()
			},
		},
	}
}

// full tries a disk that is filled again and again.
func (w *World) full(disk string, fill func(string) func()) {
	w.Helper()
	w.Start()
	for i := range 3 {
		free := fill(disk)
		w.Mixed()
		w.tells("no space left on device", "make room", w.Target.Dir)
		w.Edit(5)
		if i > 0 {
			w.Restart()
			fill(disk) // Old trees that were removed have made room.
			w.Mixed()
			w.shows("no space left on device", "make room")
		}
		free()
		w.Healed()
		w.Converge()
		w.Count("fillings", 1)
	}
}

func tryFullRepair(w *World) {
	disk := w.Disk("tmpfs", "size=3m")
	w.Start()
	var files []string
	for _, p := range w.Files() {
		if len(w.Writer.Model[p].Content) < 4096 { // It fits where nothing else does.
			files = append(files, p)
		}
	}
	w.touches(files[0])
	w.FillUp(disk)
	w.do(os.Remove(w.At(files[0])))
	free := w.FillUp(disk)
	w.Says(w.Target, "repairing", "no space left on device", "make room")
	end := time.Now().Add(35 * time.Second)
	for time.Now().Before(end) {
		w.shows("no space left on device")
		lab.Sleep(w.Context(), time.Second)
	}
	free()
	w.Healed()
}

func tryErrorsReadOnly(w *World) {
	disk := w.Disk("ext4", ",errors=remount-ro")
	base := filepath.Dir(disk)
	w.Start()
	var st unix.Stat_t
	w.do(unix.Stat(disk, &st))
	loop := fmt.Sprintf("loop%d", unix.Minor(st.Dev))
	w.Replace(3)
	w.do(os.WriteFile(filepath.Join("/sys/fs/ext4", loop, "trigger_fs_error"), []byte("tried by the fault lab"), 0))
	w.Mixed()
	w.tells("read-only file system", "mount it writable", w.Target.Dir)
	w.stopReading()
	w.do(w.Target.Daemon.Kill())
	w.Target.Daemon = nil
	w.Honest()
	w.do(unix.Unmount(disk, 0))
	image := filepath.Join(base, "image")
	if out, err := exec.Command("e2fsck", "-fy", image).CombinedOutput(); err != nil && !strings.Contains(string(out), "MODIFIED") {
		w.Fatalf("e2fsck: %v\n%s", err, out)
	}
	w.Command("mount", "-o", "loop", image, disk)
	w.do(os.RemoveAll(filepath.Join(disk, "lost+found")))
	w.Agent()
	w.Healed()
	w.Read()
}

// limit lets a process open no more files, and returns what takes that back.
func (w *World) limit(p *lab.Process) (restore func()) {
	w.Helper()
	pid := p.Cmd.Process.Pid
	var was unix.Rlimit
	w.do(unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &was))
	w.do(unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: was.Max}, nil))
	return func() { w.do(errors.Join(unix.Prlimit(pid, unix.RLIMIT_NOFILE, &was, nil))) }
}
