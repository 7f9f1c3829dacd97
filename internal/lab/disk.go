package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is a file system of its own, of which the power can be cut. It takes root.
type Disk struct {
	Dir     string // where it is mounted
	image   string
	options string
	mounted bool
}

// NewDisk makes a file system in a file beside dir and mounts it at dir. kind is what mkfs
// calls it; options are those of mount, "" for none. It is unmounted with the test.
func NewDisk(t testing.TB, dir, kind, options string) *Disk {
	t.Helper()
	d := &Disk{Dir: dir, image: dir + ".image", options: options}
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.WriteFile(d.image, nil, 0o600)
	}
	if err == nil {
		err = os.Truncate(d.image, 512<<20) // XFS takes 300 MiB at least. It is sparse.
	}
	if err == nil {
		err = command("mkfs."+kind, "-q", d.image)
	}
	if err == nil {
		err = d.mount()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if d.mounted {
			// Lazily: a process of a failed test may still be there.
			if err := unix.Unmount(d.Dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	})
	return d
}

func (d *Disk) mount() error {
	options := "loop"
	if d.options != "" {
		options += "," + d.options
	}
	err := command("mount", "-o", options, d.image, d.Dir)
	d.mounted = err == nil
	return err
}

// Cut cuts the power: nothing reaches the disk any more. flag is 1 if the file system
// writes its journal before, and 2 if it does not, as XFS_IOC_GOINGDOWN in xfs_fs.h and
// EXT4_IOC_SHUTDOWN in ext4.h have it.
func (d *Disk) Cut(flag int) error {
	f, err := os.Open(d.Dir)
	if err != nil {
		return err
	}
	err = unix.IoctlSetPointerInt(int(f.Fd()), 0x8004587d, flag)
	return errors.Join(err, f.Close())
}

// Sync makes durable what was written so far.
func (d *Disk) Sync() error {
	f, err := os.Open(d.Dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

// Remount has the file system recover as after a power cut. Nobody may use it.
func (d *Disk) Remount() error {
	_, err := Eventually(10*time.Second, func() error { return unix.Unmount(d.Dir, 0) })
	if err != nil {
		return fmt.Errorf("unmount %s: %w", d.Dir, err)
	}
	d.mounted = false
	// As long as anything keeps it alive, a mount would show the one that was cut.
	if _, err = Eventually(30*time.Second, d.gone); err != nil {
		return err
	}
	return d.mount()
}

// gone returns nil once no loop device leads to the image any more: the file system that
// lay on it has ended.
func (d *Disk) gone() error {
	devices, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return err
	}
	for _, device := range devices {
		b, err := os.ReadFile(device)
		if err == nil && strings.TrimSpace(string(b)) == d.image { // It may have gone meanwhile.
			return fmt.Errorf("%s is in use still", d.image)
		}
	}
	return nil
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w: %s", name, args, err, out)
	}
	return nil
}
