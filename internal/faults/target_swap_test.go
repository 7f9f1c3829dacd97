//go:build faults

package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// swapVar makes a process of this test binary exchange two paths, with a colon between, until
// its standard input ends, and print how often it did.
const swapVar = "CONFSYNCD_FAULTS_SWAP"

// nobody is the user who swaps.
const nobody = 65534

// swapIfAsked does not return where it is asked.
func swapIfAsked() {
	a, b, ok := strings.Cut(os.Getenv(swapVar), ":")
	if !ok {
		return
	}
	end := make(chan struct{})
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		close(end)
	}()
	n := 0
	for {
		select {
		case <-end:
			fmt.Print(n)
			os.Exit(0)
		default:
		}
		if unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) == nil {
			n++
		}
	}
}

// trySwappedParent lets another user own d1, and lead d1/sub out of the target and back.
func trySwappedParent(w *World) {
	base := filepath.Dir(w.Target.Dir)
	victim := filepath.Join(base, "bystander", "victim")
	outside := filepath.Join(base, "lab-attack")
	w.do(errors.Join(os.Mkdir(victim, 0o755), os.Mkdir(outside, 0o777)))
	// What would be hit has the names of what is managed.
	files := w.Files()
	in := func(dir string) (below []string) {
		for _, p := range files {
			if filepath.Dir(p) == dir {
				below = append(below, p)
			}
		}
		return below
	}
	dir := filepath.Dir(files[0])
	for _, p := range files {
		if strings.Contains(p, "/sub/") {
			dir = filepath.Dir(p)
			break
		}
	}
	targets := in(dir)
	for _, p := range targets {
		w.do(os.WriteFile(filepath.Join(victim, filepath.Base(p)), []byte("not ours\n"), 0o666))
	}
	link := filepath.Join(outside, "link")
	w.do(errors.Join(
		os.Chmod(victim, 0o777), os.Symlink(victim, link), os.Lchown(outside, nobody, nobody),
		os.Lchown(link, nobody, nobody), os.Lchown(w.At(dir), nobody, nobody), os.Lchown(w.At(filepath.Dir(dir)), nobody, nobody),
	))
	for at := base; at != "/"; at = filepath.Dir(at) {
		w.do(os.Chmod(at, 0o755)) // nobody must be able to get there.
	}
	w.bystander = w.bystanders()
	w.touches(filepath.Dir(dir))
	swapper := exec.Command("/proc/self/exe")
	swapper.Env = append(os.Environ(), swapVar+"="+w.At(dir)+":"+link)
	swapper.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Pdeathsig: syscall.SIGKILL}
	var out strings.Builder
	swapper.Stdout, swapper.Stderr = &out, &out
	stop, err := swapper.StdinPipe()
	w.do(err)
	w.do(swapper.Start())
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); {
		w.Batch(func() {
			for _, p := range targets {
				w.do(w.Writer.PutFile(p))
			}
		})
		time.Sleep(20 * time.Millisecond) // So that it is a generation, or some.
		w.do(w.Writer.PutFile(targets[0]))
		w.Batch(func() {
			w.do(w.Writer.PutFile(dir + "/extra"))
			w.do(w.Writer.Remove(targets[len(targets)-1]))
		})
		time.Sleep(20 * time.Millisecond)
		w.Batch(func() {
			w.do(w.Writer.Remove(dir + "/extra"))
			w.do(w.Writer.PutFile(targets[len(targets)-1]))
		})
		time.Sleep(20 * time.Millisecond)
	}
	w.do(stop.Close())
	w.do(swapper.Wait())
	swaps, err := strconv.Atoi(out.String())
	if err != nil || swaps < 1000 {
		w.Errorf("the directory was swapped too rarely: %q", out.String())
	}
	w.Count("swaps", swaps)
	if now, err := lab.Stamps(victim); err != nil || len(now) != len(targets)+1 {
		w.wrong("d", "the directory outside holds %d entries, held %d: %v", len(now)-1, len(targets), err)
	}
	// What the user brought back may hold what was managed once, or comes to be managed: it
	// is in the way, and the log says to move it away.
	w.remove(w.At(dir))
	w.Healed()
}
