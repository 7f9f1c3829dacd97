//go:build faults

package faults

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	programFlag  = flag.String("program", "", "the confsyncd that is tried; empty: built for it")
	etcdFlag     = flag.String("etcd", "../../bin/etcd", "etcd's server; etcdctl and etcdutl lie beside it")
	sampleFlag   = flag.Duration("sample", 0, "try cases at random for this long; 0: all")
	seedFlag     = flag.Uint64("seed", 0, "seed of what is drawn; 0: a new one")
	documentFlag = flag.String("document", "", "where to write what was seen, in Markdown")

	program string   // path of the confsyncd that is tried
	results *Results // of all cases
)

// private is set in the environment of the process whose mounts are its own.
const private = "CONFSYNCD_FAULTS_PRIVATE"

func TestMain(m *testing.M) {
	swapIfAsked()
	flag.Parse()
	if err := ownMounts(); err != nil {
		fmt.Fprintln(os.Stderr, "take a mount namespace:", err)
		os.Exit(1)
	}
	os.Exit(buildAndRun(m))
}

// ownMounts begins this process anew in a mount namespace of its own, if it is root: so
// what is mounted in it goes with it, however it ends.
func ownMounts() error {
	if os.Getuid() != 0 || os.Getenv(private) != "" {
		return nil
	}
	runtime.LockOSThread() // A namespace is a thread's; execve(2) ends the others.
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), private+"=1"))
}

func buildAndRun(m *testing.M) int {
	if *seedFlag == 0 {
		*seedFlag = 1 + rand.Uint64N(1<<32)
	}
	var err error
	if *etcdFlag, err = filepath.Abs(*etcdFlag); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "confsyncd-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // It is temporary.
	if program, err = filepath.Abs(*programFlag); *programFlag == "" {
		program = filepath.Join(dir, "confsyncd")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", program, "../../cmd/confsyncd").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s", out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build confsyncd:", err)
		return 1
	}
	results = &Results{}
	code := m.Run()
	if *documentFlag != "" {
		if err := results.write(*documentFlag); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

func theSeed() uint64 { return *seedFlag }
