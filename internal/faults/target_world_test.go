//go:build faults

package faults

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// Disk puts the target on a file system of its own, before anything is started, and
// returns where that is mounted. A kind that is not in memory lies in an image.
func (w *World) Disk(kind, options string) string {
	w.Helper()
	base := filepath.Dir(w.Target.Dir)
	at := filepath.Join(base, "disk")
	w.do(os.Mkdir(at, 0o755))
	switch kind {
	case "tmpfs":
		w.Mount("tmpfs", at, "tmpfs", options)
	case "overlay":
		upper, work := filepath.Join(base, "upper"), filepath.Join(base, "work")
		w.do(errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)))
		w.Mount("overlay", at, "overlay", fmt.Sprintf("%s,upperdir=%s,workdir=%s", options, upper, work))
	default:
		image := filepath.Join(base, "image")
		w.Command("truncate", "-s", map[string]string{"ext4": "24M", "xfs": "320M"}[kind], image)
		w.Command("mkfs."+kind, "-q", image)
		w.Command("mount", "-o", "loop"+options, image, at)
		w.unmountLater(at)
		w.do(os.RemoveAll(filepath.Join(at, "lost+found")))
	}
	w.MoveTarget(filepath.Join(at, "dir"))
	return at
}

// MoveTarget makes another directory the target, before anything is started.
func (w *World) MoveTarget(dir string) {
	w.Helper()
	w.do(os.MkdirAll(dir, 0o755))
	w.Target.Dir, w.reader.Dir = dir, dir
	w.surround(w.Target)
}

// Mount mounts a file system until the test ends.
func (w *World) Mount(source, at, kind, options string) {
	w.Helper()
	w.do(unix.Mount(source, at, kind, 0, options))
	w.unmountLater(at)
}

func (w *World) unmountLater(at string) {
	w.Cleanup(func() {
		if w.Target.Daemon != nil {
			_ = w.Target.Daemon.Kill() // Else it keeps the file system.
			w.Target.Daemon = nil
		}
		_ = unix.Unmount(at, unix.MNT_DETACH)
	})
}

// Command runs a program, which must succeed.
func (w *World) Command(name string, args ...string) {
	w.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		w.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// FillUp uses up all room in a directory's file system, and returns what frees it.
func (w *World) FillUp(dir string) (free func()) {
	w.Helper()
	name := filepath.Join(dir, "lab-filler")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	w.do(err)
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	w.do(f.Close())
	return func() { w.do(os.Remove(name)) }
}

// FillUpInodes uses up all inodes in a directory's file system, and returns what frees
// them.
func (w *World) FillUpInodes(dir string) (free func()) {
	w.Helper()
	name := filepath.Join(dir, "lab-filler")
	w.do(os.MkdirAll(name, 0o700))
	for i := 0; ; i++ {
		err := os.WriteFile(filepath.Join(name, fmt.Sprint(i)), nil, 0o600)
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		w.do(err)
	}
	return func() { w.do(os.RemoveAll(name)) }
}

// Batch makes edits one changeset.
func (w *World) Batch(edit func()) {
	w.Helper()
	hold := filepath.Join(w.Source.Dir, ".confsyncd-hold")
	w.do(os.WriteFile(hold, nil, 0o600))
	edit()
	w.do(os.Remove(hold))
}

// Files are the paths of the files that are published.
func (w *World) Files() []string {
	return w.Writer.Paths(func(n lab.Node) bool { return n.Mode.IsRegular() })
}

// Mixed makes one changeset of all kinds of changes: contents, directories, a
// symlink, a change of kind each way, a deletion, a move.
func (w *World) Mixed() {
	w.Helper()
	w.Batch(func() {
		dirs := w.Writer.Paths(func(n lab.Node) bool { return n.Mode.IsDir() })
		for range 3 {
			w.do(w.Writer.Put(w.Writer.Pick(w.Files())))
		}
		w.do(errors.Join(w.Writer.Remove("link"), w.Writer.Link("link")))
		for range 2 {
			w.do(w.Writer.Grow(dirs))
		}
		w.do(w.Writer.Remove(w.Writer.Pick(w.Files())))
		w.do(w.Writer.Rename(w.Writer.Pick(w.Files()), dirs))
		w.do(w.Writer.ChangeKind(w.Files()))
		w.do(w.Writer.ChangeKind(w.Writer.Paths(func(n lab.Node) bool { return n.Mode.IsDir() })))
	})
}

// InStep waits until the target equals the source.
func (w *World) InStep() {
	w.Helper()
	w.Equal(w.c.within())
}

// At returns where a path lies in the target.
func (w *World) At(path string) string { return filepath.Join(w.Target.Dir, path) }

// shows waits until "confsyncd status" on the target's host says all the words.
func (w *World) shows(words ...string) {
	w.Helper()
	var r lab.Ran
	_, err := lab.Eventually(20*time.Second, func() error {
		r = w.Target.Command(w.T, "status", "--tenant", tenant, "-o", "json")
		for _, word := range words {
			if !strings.Contains(r.Out, word) {
				return fmt.Errorf("status does not say %q: %v", word, r)
			}
		}
		return nil
	})
	if err != nil {
		w.wrong("f", "%v\nagent: %s", err, lab.Tail(w.Target.Log))
		w.FailNow()
	}
	w.result.checked("f", true)
}

// tells waits until the agent's log and its status both say the words.
func (w *World) tells(words ...string) {
	w.Helper()
	w.Says(w.Target, words...)
	w.shows(words...)
}

// Restart kills the agent in whatever it does, compares journal and disk, and starts it
// again.
func (w *World) Restart() {
	w.Helper()
	w.do(w.Target.Daemon.Kill())
	w.Honest()
	w.Agent()
	w.Count("kills", 1)
}

// touches lets others change what keep names: what they write is drift that is put right,
// and is kept.
func (w *World) touches(touched ...string) {
	w.BeStrange()
	w.reader.Skip(func(path string) bool {
		for _, t := range touched {
			if path == t || strings.HasPrefix(path, t+"/") {
				return true
			}
		}
		return false
	})
}

// injection makes system calls of a running process fail, by strace(1).
type injection struct {
	w   *World
	cmd *exec.Cmd
	log string
}

// Inject makes the agent's system calls fail from now on: all of them with when = "1+",
// else, since strace counts for each thread, that one of each thread. With paths, only
// those calls do whose descriptor is one of these.
func (w *World) Inject(call, errno, when string, paths ...string) *injection {
	w.Helper()
	return w.inject(call, call, errno, when, paths...)
}

// inject is Inject that lists more calls than it makes fail.
func (w *World) inject(listed, call, errno, when string, paths ...string) *injection {
	w.Helper()
	pid := w.Target.Daemon.Cmd.Process.Pid
	in := &injection{w: w, log: filepath.Join(w.TempDir(), "strace")}
	args := []string{
		"-f", "-qq", "-y", "-o", in.log, "-p", fmt.Sprint(pid),
		"-e", "trace=" + listed, "-e", fmt.Sprintf("inject=%s:error=%s:when=%s", call, errno, when),
	}
	for _, p := range paths {
		args = append(args, "-P", p)
	}
	in.cmd = exec.Command("strace", args...)
	var errs bytes.Buffer
	in.cmd.Stderr = &errs
	w.do(in.cmd.Start())
	w.Cleanup(in.End)
	_, err := lab.Eventually(10*time.Second, func() error { return traced(pid, &errs) })
	w.do(err)
	return in
}

// traced returns nil once all threads of a process are traced.
func traced(pid int, said fmt.Stringer) error {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return err
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err == nil && strings.Contains(string(b), "TracerPid:\t0\n") {
			return fmt.Errorf("%s is not traced: %s", task, said)
		}
	}
	return nil
}

// Hits returns how many calls were made to fail.
func (in *injection) Hits() int {
	b, err := os.ReadFile(in.log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		in.w.do(err)
	}
	return strings.Count(string(b), "(INJECTED)")
}

// Await waits until so many calls were made to fail.
func (in *injection) Await(hits int) {
	in.w.Helper()
	_, err := lab.Eventually(20*time.Second, func() error {
		if n := in.Hits(); n < hits {
			return fmt.Errorf("%d calls failed, want %d", n, hits)
		}
		return nil
	})
	in.w.do(err)
}

// End lets calls succeed again.
func (in *injection) End() {
	if in.cmd.ProcessState != nil {
		return
	}
	in.w.Count("failed calls", in.Hits())
	_ = in.cmd.Process.Signal(unix.SIGTERM) // It lets go of the process, and ends.
	late := time.AfterFunc(20*time.Second, func() {
		in.w.Errorf("strace did not end")
		_ = in.cmd.Process.Kill() // The kernel lets go then.
	})
	_ = in.cmd.Wait() // By the signal.
	late.Stop()
}
