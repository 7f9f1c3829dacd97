package install

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// labVar asks, in the environment, for the tests that need root, loop devices and
// minutes.
const labVar = "CONFSYNCD_LAB"

// goingDown is the ioctl that shuts a mounted ext4 or XFS down at once, as
// XFS_IOC_GOINGDOWN in xfs_fs.h and EXT4_IOC_SHUTDOWN in ext4.h.
const goingDown = 0x8004587d

// A power cut at random moments, with the file system's own journal flushed before
// it (1) or not (2).
func TestPowerCut(t *testing.T) {
	if os.Getenv(labVar) == "" || os.Geteuid() != 0 {
		t.Skipf("set %s=1 and be root", labVar)
	}
	for _, tt := range []struct{ name, mkfs, options string }{
		{"ext4", "mkfs.ext4", "noauto_da_alloc"},
		{"xfs", "mkfs.xfs", ""},
	} {
		for _, flush := range []int{1, 2} {
			t.Run(tt.name+"/"+[]string{"", "flushed", "unflushed"}[flush], func(t *testing.T) {
				eachMode(t, func(t *testing.T, m Mode) {
					if _, err := exec.LookPath(tt.mkfs); err != nil {
						t.Skip(err)
					}
					image := filepath.Join(t.TempDir(), "image")
					run(t, "truncate", "-s", "512M", image)
					run(t, tt.mkfs, "-q", image)
					powerCuts(t, m, image, "loop,"+tt.options, flush)
				})
			})
		}
	}
}

func powerCuts(t *testing.T, m Mode, image, mountOptions string, flush int) {
	mnt := t.TempDir()
	dir := filepath.Join(mnt, "target")
	last := uint64(0)
	interrupted := 0
	for i := range 25 {
		run(t, "mount", "-o", mountOptions, image, mnt)
		if i == 0 {
			do(t, os.Mkdir(dir, 0o755))
			unix.Sync()
		}
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), killDir+"="+dir, killMode+"="+string(m))
		do(t, child.Start())
		time.Sleep(20*time.Millisecond + time.Duration(rand.Int64N(int64(200*time.Millisecond))))
		f, err := os.Open(mnt)
		do(t, err)
		do(t, unix.IoctlSetPointerInt(int(f.Fd()), goingDown, flush))
		do(t, f.Close())
		_ = child.Wait()
		run(t, "umount", mnt)

		run(t, "mount", "-o", mountOptions, image, mnt)
		if _, pending, err := ReadState(dir); err == nil && pending != nil {
			interrupted++
		}
		target, err := Open(optionsIn(m, dir))
		do(t, err)
		s := target.State()
		if s.Position.Generation < last || len(s.Suspect) > 0 {
			t.Errorf("from generation %d to %d, suspect %q", last, s.Position.Generation, s.Suspect)
		}
		if last = s.Position.Generation; last > 0 {
			mustLook(t, dir, generation(last))
			mustRest(t, target, last, generation(last))
		}
		do(t, target.Close())
		run(t, "umount", mnt)
	}
	t.Logf("%d generations, %d interrupted applies", last, interrupted)
	if m == Tree {
		if len(inSibling(t, dir)) == 0 && last == 0 {
			t.Error("no tree was ever switched")
		}
		return // What is interrupted leaves the old tree.
	}
	if last == 0 || interrupted == 0 {
		t.Error("no cut fell into an apply")
	}
}

func run(t *testing.T, command string, args ...string) {
	t.Helper()
	if out, err := exec.Command(command, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}
