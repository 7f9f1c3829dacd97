package install

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
)

// nobody is an ordinary user's id.
const nobody = 65534

// runAsUser runs the calling test as an ordinary user, with the path of a target of
// that user in the environment. Root prepares the target.
func runAsUser(t *testing.T, env string, prepare func(dir string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may change users")
	}
	base, err := os.MkdirTemp("/tmp", "confsyncd-user-")
	do(t, err)
	t.Cleanup(func() { do(t, os.RemoveAll(base)) })
	do(t, os.Chmod(base, 0o755))
	dir := filepath.Join(base, "target")
	do(t, os.Mkdir(dir, 0o755))
	do(t, os.Chown(dir, nobody, nobody))
	prepare(dir)

	program := filepath.Join(base, "test")
	copyProgram(t, program)
	child := exec.Command(program, "-test.run", "^"+regexp.QuoteMeta(t.Name())+"$", "-test.count=1")
	child.Dir = base
	child.Env = append(os.Environ(), env+"="+dir)
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("as uid %d: %v\n%s", nobody, err, out)
	}
}

// copyProgram copies this test to where every user may run it.
func copyProgram(t *testing.T, to string) {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	do(t, err)
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	do(t, err)
	_, err = io.Copy(f, self)
	do(t, err)
	do(t, f.Chmod(0o755))
	do(t, f.Close())
	do(t, self.Close())
}
