//go:build faults

package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// otherCases let agents meet each other, and file systems be mounted in a target.
func otherCases() []Case {
	mounts := Needs{Root: true}
	return []Case{
		{
			Name: "two agents on one target", How: "a second agent, and a pull, are started on the target of the first, which is killed then",
			Try: tryTwoAgents,
		},
		{
			Name: "one host's agents on two targets", How: "a second agent with the same tenant and state_dir keeps another directory; both are killed and started again",
			Try: tryTwoTargets,
		},
		{
			Name: "a target inside a target", How: "an agent is started on a directory in the target, and on one that the target lies in",
			Try: tryNested,
		},
		{
			Name: "a tenant publishes into another's target", Modes: []string{"files"},
			How: "a target is made in a directory of the target, while the agent is stopped, and forgotten",
			Try: tryNestedLater,
		},
		{
			Name: "a file system mounted in the target", Needs: mounts,
			How: "a tmpfs is mounted on a managed directory; a generation changes what lies in it; it is unmounted",
			Try: func(w *World) {
				w.InStep()
				w.reader.Skip(func(p string) bool { return p == "d1" || strings.HasPrefix(p, "d1/") }) // It is another one meanwhile.
				for _, busy := range []bool{false, true} {
					dir := w.At("d1")
					w.do(unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
					w.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
					before, err := lab.ReadTree(w.Target.Dir)
					w.do(err)
					w.Batch(func() {
						w.do(w.Writer.PutFile("d1/mounted"))
						w.do(w.Writer.PutFile("d2/beside"))
						w.do(w.Writer.PutFile("d0/beside"))
					})
					w.tells("another file system is mounted in the target", dir, "unmount it")
					if busy {
						w.Edit(5)
						w.Restart()
						w.shows("another file system is mounted in the target")
					}
					after, err := lab.ReadTree(w.Target.Dir)
					w.do(err)
					if err := lab.Differ(before, after); err != nil {
						w.wrong("a", "something was written before it was refused: %v", err)
					}
					w.do(unix.Unmount(dir, 0))
					w.Healed()
					w.Converge()
				}
			},
		},
		{
			Name: "a file mounted over a managed file", Needs: mounts,
			How: "a file is bind-mounted over a managed file that a generation replaces; it is unmounted",
			Try: func(w *World) {
				file := w.Files()[0]
				over := filepath.Join(w.TempDir(), "over")
				w.touches(file)
				w.do(os.WriteFile(over, []byte("mounted\n"), 0o600))
				w.do(unix.Mount(over, w.At(file), "", unix.MS_BIND, ""))
				w.Cleanup(func() { _ = unix.Unmount(w.At(file), unix.MNT_DETACH) })
				w.Batch(func() { w.do(errors.Join(w.Writer.PutFile(file), w.Writer.PutFile("d2/beside"))) })
				w.tells("another file system is mounted in the target", w.At(file), "unmount it")
				w.do(unix.Unmount(w.At(file), 0))
				w.Healed()
			},
		},
		{
			Name: "the parent is read-only", Modes: []string{"tree"}, Needs: Needs{Root: true, Programs: []string{"chattr:e2fsprogs"}},
			How: "chattr +i on what the target lies in: before the agent starts, and while it runs; taken back",
			Try: tryFixedParent,
		},
		{
			Name: "the target is a mount point", Modes: []string{"tree"}, Needs: mounts, Setup: Setup{Empty: true},
			How: "the target is bind-mounted on itself, as ReadWritePaths= of a unit does, before the agent starts and while it runs; unmounted",
			Try: tryMountPoint,
		},
	}
}

// twin is a second agent's host that shares all but the log with the target's.
func (w *World) twin(dir string) *lab.Host {
	w.Helper()
	other := *w.Target
	other.Dir, other.Daemon, other.Log = dir, nil, filepath.Join(w.Lab.Dir, "log-other")
	w.Cleanup(func() {
		if other.Daemon != nil {
			_ = other.Daemon.Kill()
		}
	})
	return &other
}

func tryTwoAgents(w *World) {
	other := w.twin(w.Target.Dir)
	w.do(other.Start("agent", w.AgentFlags()...))
	pid := fmt.Sprint(w.Target.Daemon.Cmd.Process.Pid)
	w.Says(other, "another agent works on this target", w.Target.Dir, "stop it first", pid)
	r := other.Run(w.T, "pull", "--mode", w.Mode)
	if r.Code != 5 || !strings.Contains(r.Err, "another agent works on this target") || !strings.Contains(r.Err, pid) {
		w.wrong("f", "a pull beside an agent: %v", r)
	}
	w.Mixed()
	w.Edit(10)
	w.InStep()
	w.do(w.Target.Daemon.Kill())
	w.Mixed()
	w.Healed()
	w.Converge() // The second agent takes over.
	w.Target.Daemon, other.Daemon = other.Daemon, nil
	w.Replace(3)
	w.Healed()
}

func tryTwoTargets(w *World) {
	dir := filepath.Join(w.Lab.Dir, "prod-other", "dir")
	w.do(os.MkdirAll(dir, 0o755))
	other := w.twin(dir)
	w.do(other.Start("agent", w.AgentFlags()...))
	equal := func() {
		w.InStep()
		_, err := lab.Eventually(20*time.Second, func() error {
			got, err := lab.ReadTree(dir)
			return errors.Join(err, lab.Differ(w.Writer.Model, got))
		})
		w.do(err)
	}
	equal()
	w.Mixed()
	w.do(errors.Join(w.Target.Daemon.Kill(), other.Daemon.Kill()))
	w.Edit(10)
	w.Agent()
	w.do(other.Start("agent", w.AgentFlags()...))
	w.Healed()
	equal()
	r := w.Target.Command(w.T, "status", "--tenant", tenant, "-o", "json")
	if !strings.Contains(r.Out, w.Target.Dir) || !strings.Contains(r.Out, dir) {
		w.wrong("f", "status does not show both targets: %v", r)
	}
	w.do(other.Stop())
	other.Daemon = nil
}

func tryNested(w *World) {
	for _, dir := range []string{w.At("d1"), w.At("d1/own")} {
		w.reader.Skip(func(p string) bool { return p == "d1/own" })
		made := os.Mkdir(dir, 0o755) == nil
		other := w.twin(dir)
		r := other.Run(w.T, "pull", "--mode", w.Mode)
		if r.Code != 5 || !strings.Contains(r.Err, "a target inside another target") || !strings.Contains(r.Err, w.Target.Dir) {
			w.wrong("f", "a pull inside a target: %v", r)
		}
		w.do(other.Start("agent", w.AgentFlags()...))
		w.Says(other, "a target inside another target", dir, w.Target.Dir)
		w.do(other.Stop())
		other.Daemon = nil
		if made {
			w.do(os.Remove(dir))
		}
	}
	w.Mixed()
	w.Healed()
}

func tryNestedLater(w *World) {
	w.stopReading()
	w.do(w.Target.Stop())
	inner := w.twin(w.At("d1"))
	aside := w.At(".confsyncd")
	w.do(os.Rename(aside, aside+".aside")) // What Open looks for.
	r := inner.Command(w.T, "pull", "--tenant", tenant, "--dir", inner.Dir, "--mode", "files", "--existing", "replace")
	if r.Code != 0 {
		w.Fatalf("make the inner target: %v", r)
	}
	w.do(os.Rename(aside+".aside", aside))
	w.Agent()
	w.Batch(func() { w.do(errors.Join(w.Writer.PutFile("d1/f008.conf"), w.Writer.PutFile("d2/beside"))) })
	w.tells("a target inside another target", w.At("d1"), "leave it out of the selection")
	r = inner.Command(w.T, "forget", inner.Dir)
	if r.Code != 0 {
		w.Fatalf("forget the inner target: %v", r)
	}
	for _, p := range []string{"d0", "d1", "d2", "d3", "d4", "d5", "d6"} {
		w.do(os.RemoveAll(filepath.Join(inner.Dir, p)))
	}
	w.BeStrange()
	w.do(os.RemoveAll(filepath.Join(inner.Dir, ".confsyncd")))
	w.Healed()
	w.Converge()
	w.Read()
}

func tryFixedParent(w *World) {
	parent := filepath.Dir(w.Target.Dir)
	w.Cleanup(func() { w.do(setFlags(parent, 0)) })
	w.do(setFlags(parent, unix.STATX_ATTR_IMMUTABLE))
	w.Mixed()
	w.tells("operation not permitted", w.Target.Dir, "chattr +i")
	w.do(setFlags(parent, 0))
	w.Healed()
	w.Converge()
	w.do(w.Target.Daemon.Kill())
	w.do(setFlags(parent, unix.STATX_ATTR_IMMUTABLE))
	w.Mixed()
	w.do(w.Target.Start("agent", w.AgentFlags()...))
	w.tells("holding", "is not possible here", parent, "immutable or append-only", "chattr -i -a")
	w.do(setFlags(parent, 0))
	w.Healed()
}

// setFlags sets a directory's flags, as chattr(1) does.
func setFlags(dir string, flags int) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
}

func tryMountPoint(w *World) {
	bind := func() { w.do(unix.Mount(w.Target.Dir, w.Target.Dir, "", unix.MS_BIND, "")) }
	unbind := func() { w.do(unix.Unmount(w.Target.Dir, unix.MNT_DETACH)) }
	bind()
	w.Publish()
	w.Agent()
	w.tells("holding", "is not possible here", w.Target.Dir, "is a mount point", "use a directory inside of it")
	unbind()
	w.Healed()
	w.Converge()
	w.Measure()
	w.Read()
	bind()
	w.Cleanup(func() { _ = unix.Unmount(w.Target.Dir, unix.MNT_DETACH) })
	w.Mixed()
	w.tells(w.Target.Dir, "is a mount point")
	w.shows("holding")
	unbind()
	w.Healed()
}
