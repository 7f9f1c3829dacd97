//go:build faults

package faults

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// heldCases leave behind what keeps the publisher from publishing.
func heldCases() []Case {
	return []Case{
		{
			Name: "hold file left behind", How: ".confsyncd-hold in the source while files are edited, for much longer than max_delay; then deleted", Modes: []string{"files"}, Setup: manyDeleted(),
			Try: func(w *World) {
				w.leftBehind(".confsyncd-hold")
				w.Note("the warning after 10 minutes is not waited for: status names it from the first moment")
			},
		},
		{
			Name: ".git/index.lock left behind", How: "the same with the lock of a git that was killed; the publisher is started again meanwhile", Modes: []string{"files"}, Setup: manyDeleted(),
			Try: func(w *World) {
				w.do(os.Mkdir(w.Writer.Name(".git"), 0o755))
				w.AsFound()
				w.leftBehind(".git/index.lock")
			},
		},
		{
			Name: "symlinks: loop, dangling, absolute, out of the source", How: "symlinks to themselves, to each other, to the root, to nothing, to /etc/passwd and ../../; in place of files and of directories; never followed",
			Try: func(w *World) {
				w.AsFound()
				outside := w.Aside("secret")
				w.do(os.WriteFile(outside, []byte(lab.Secret), 0o644))
				links := map[string]string{
					"self": "self", "a-loop": "b-loop", "b-loop": "a-loop", "d1/up": "..", "here": ".", "dangling": "no/such/file",
					"absolute": "/etc/passwd", "out": "../../", "d0": "/etc", "slashes": "///", "long": longTarget(), "out-file": outside,
				}
				for range 3 {
					w.AllowBelow(w.Writer.Name("d0"), "d0")
					w.do(os.Rename(w.Writer.Name("d0"), w.Writer.Dir+".outside/d0"))
					for p, to := range links {
						w.Writer.Ledger.Allow(p, 0, to)
						w.do(os.Symlink(to, w.Writer.Name(p)))
						w.Count("bad inputs", 1)
					}
					w.Equal(20 * time.Second)
					for p := range links {
						w.do(os.Remove(w.Writer.Name(p)))
					}
					w.do(os.Rename(w.Writer.Dir+".outside/d0", w.Writer.Name("d0")))
					w.Equal(20 * time.Second)
				}
				w.Healed()
			},
		},
	}
}

// manyDeleted are the settings where what the Writer deletes meanwhile may be most of it.
func manyDeleted() Setup { return Setup{Publish: []string{"--max-delete", "100%"}} }

// longTarget is a symlink's target of nearly as many bytes as there may be.
func longTarget() string {
	b := make([]byte, 4000)
	for i := range b {
		b[i] = "abcdefg/"[i%8]
	}
	return string(b)
}

// leftBehind leaves a busy file in the source, and deletes it after a while.
func (w *World) leftBehind(busy string) {
	w.Helper()
	for i := range 2 {
		generation, target := w.Now()
		w.do(os.WriteFile(w.Writer.Name(busy), nil, 0o644))
		w.Edit(20)
		reason := w.Stands("busy", busy, "delete it if nobody is at work in "+w.Source.Dir)
		w.Logf("status: %s", reason)
		for range 10 {
			w.Edit(5)
			w.pause(300)
		}
		if i == 1 {
			w.do(w.Source.Stop())
			w.Publish()
			w.Stands("busy", busy)
		}
		if now := w.Source.Generation(w.T); now != generation {
			w.wrong("d", "generation %d was published although %s is there", now, busy)
		}
		got, err := lab.ReadTree(w.Target.Dir)
		w.do(errors.Join(err, lab.Differ(target, got)))
		w.do(os.Remove(w.Writer.Name(busy)))
		w.Healed()
		w.Converge()
		if now := w.Source.Generation(w.T); now != generation+1 {
			w.wrong("c", "what was edited meanwhile made %d generations", now-generation)
		}
		w.Count("faults", 1)
	}
}

func specials(w *World) {
	w.AsFound()
	w.Overwrite("turned", 100)
	for range 3 {
		_, target := w.Now()
		// Renamed over the file: one that is deleted first may be published as that.
		fifo := w.Writer.Dir + ".outside/fifo"
		w.do(errors.Join(unix.Mkfifo(fifo, 0o644), os.Rename(fifo, w.Writer.Name("turned"))))
		socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: w.socketName(), Net: "unix"})
		w.do(err)
		w.do(errors.Join(
			unix.Mkfifo(w.Writer.Name("d0/fifo"), 0o644),
			unix.Mknod(w.Writer.Name("tty"), unix.S_IFCHR|0o600, int(unix.Mkdev(5, 0))),
			unix.Mknod(w.Writer.Name("zero"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))),
			unix.Mknod(w.Writer.Name("loop"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 200))),
		))
		names := []string{"turned", "d0/fifo", "tty", "zero", "loop", "d0/s"}
		for _, p := range names {
			w.HeldBack(p, "neither file, directory nor symlink")
		}
		w.Beside()
		w.keeps(target, names...)
		w.do(socket.Close())
		for _, p := range names[1:5] {
			w.do(os.Remove(w.Writer.Name(p)))
		}
		content := w.Writer.Version("turned", 0o644, 150)
		w.do(errors.Join(os.WriteFile(fifo, []byte(content), 0o644), os.Rename(fifo, w.Writer.Name("turned"))))
		w.Count("bad inputs", len(names))
		w.Healed()
		w.Converge()
	}
}

// socketName is d0/s in the source, by a way that is short enough for a socket's address.
func (w *World) socketName() string {
	dir, err := os.Open(filepath.Join(w.Writer.Dir, "d0"))
	w.do(err)
	w.Cleanup(func() { dir.Close() })
	return fmt.Sprintf("/proc/self/fd/%d/s", dir.Fd())
}
