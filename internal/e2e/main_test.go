//go:build !lean

package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

var (
	killsFlag  = flag.Int("kills", 10, "how often agent and publisher are each killed")
	outageFlag = flag.Duration("outage", 2*time.Second, "how long etcd is away")
	seedFlag   = flag.Uint64("seed", 0, "seed of what is edited and when is killed; 0: a new one")

	switchesFlag = flag.Int("switches", 50, "how often the whole tree is switched under a reader")

	program string // path of the confsyncd that is tested
)

// TestMain builds the program, unless this process is to be an etcd server.
func TestMain(m *testing.M) {
	lab.ServeIfAsked()
	flag.Parse()
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "confsyncd-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // It is temporary.
	program = filepath.Join(dir, "confsyncd")
	out, err := exec.Command("go", "build", "-o", program, "../../cmd/confsyncd").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "build confsyncd: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// seed returns the run's seed, and tells it.
func seed(t testing.TB) uint64 {
	s := *seedFlag
	if s == 0 {
		s = rand.Uint64N(1 << 32)
	}
	t.Logf("seed %d (repeat with -seed %d)", s, s)
	return s
}

// kills returns how often each process is to be killed.
func kills() int {
	if testing.Short() {
		return max(1, *killsFlag/4)
	}
	return *killsFlag
}

// skipLong skips a test that takes more than a few seconds.
func skipLong(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes long: left out with -short")
	}
}

// newLab makes a lab whose etcd is part of this test binary.
func newLab(t testing.TB) *lab.Lab {
	t.Helper()
	return lab.New(t, program, lab.Embedded(t, t.TempDir()))
}
