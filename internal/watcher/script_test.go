package watcher

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// TestScripts runs testdata/*.txt. A script is one command a line, then the line
// "-- output --", then the expected output of its wait and quiet commands. Lines
// that start with # are comments. Paths are relative to a fresh directory;
// missing parents are made.
//
//	require user|root      skip otherwise
//	start DIR [IGNORE...]  watch DIR, settle 20 ms; an IGNORE ending in / is for directories
//	mkdir DIR...           with parents
//	write PATH TEXT        create or truncate, then write in place
//	mv OLD NEW             rename, replacing NEW
//	swap A B               RENAME_EXCHANGE
//	rm PATH...             with everything below
//	chmod MODE PATH
//	ln TARGET PATH         symlink
//	mount DIR, umount DIR  a tmpfs
//	wait                   until signalled, and until no signal follows for 200 ms;
//	                       prints "all" or "dirty: DIR...", the root as "."
//	quiet                  prints "quiet" if no signal comes within 200 ms
//	degraded               prints whether Degraded returns an error
//
// Where the output is another one, it may be that the machine stood still for so long: then
// the script has to pass with 4 s instead.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			commands, want, found := strings.Cut(string(text), "-- output --\n")
			if !found {
				t.Fatalf("%s: no line \"-- output --\"", file)
			}
			got := ""
			for _, quiet := range []time.Duration{quietTime, 20 * quietTime} {
				s := &script{t: t, dir: t.TempDir(), quiet: quiet}
				for line := range strings.Lines(commands) {
					if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(f[0], "#") {
						s.run(f[0], f[1:])
					}
				}
				if got = s.output.String(); got == want {
					return
				}
				t.Logf("with %v of quiet\n%s", quiet, got)
			}
			t.Errorf("%s\n%sgot:\n%swant:\n%s", file, commands, got, want)
		})
	}
}

const quietTime = 200 * time.Millisecond

type script struct {
	t      *testing.T
	dir    string
	w      *Watcher
	quiet  time.Duration
	output strings.Builder
}

func (s *script) run(name string, args []string) {
	s.t.Helper()
	path := func(i int) string { return filepath.Join(s.dir, args[i]) }
	var err error
	switch name {
	case "require":
		if (os.Geteuid() == 0) != (args[0] == "root") {
			s.t.Skipf("needs to run as %s", args[0])
		}
	case "start":
		s.w = start(s.t, Options{
			Dir: path(0), Settle: 20 * time.Millisecond, MaxDelay: 2 * time.Second,
			Ignore: ignoring(args[1:]),
		})
	case "mkdir":
		for i := range args {
			err = errors.Join(err, os.MkdirAll(path(i), 0o755))
		}
	case "write":
		err = errors.Join(os.MkdirAll(filepath.Dir(path(0)), 0o755), os.WriteFile(path(0), []byte(args[1]), 0o644))
	case "mv":
		err = os.Rename(path(0), path(1))
	case "swap":
		err = unix.Renameat2(unix.AT_FDCWD, path(0), unix.AT_FDCWD, path(1), unix.RENAME_EXCHANGE)
	case "rm":
		for i := range args {
			err = errors.Join(err, os.RemoveAll(path(i)))
		}
	case "chmod":
		var mode uint64
		mode, err = strconv.ParseUint(args[0], 8, 32)
		err = errors.Join(err, os.Chmod(path(1), os.FileMode(mode)))
	case "ln":
		err = os.Symlink(args[0], path(1))
	case "mount":
		err = unix.Mount("tmpfs", path(0), "tmpfs", 0, "size=1m")
		if errors.Is(err, unix.EPERM) {
			s.t.Skip("mounting is not permitted")
		}
		s.t.Cleanup(func() { _ = unix.Unmount(path(0), unix.MNT_DETACH) })
	case "umount":
		err = unix.Unmount(path(0), unix.MNT_DETACH)
	case "wait":
		s.print(waitQuiet(s.t, s.w, s.quiet))
	case "quiet":
		select {
		case <-s.w.Changed():
			s.print(s.w.Take())
		case <-time.After(s.quiet):
			s.output.WriteString("quiet\n")
		}
	case "degraded":
		s.output.WriteString("degraded: " + strconv.FormatBool(s.w.Degraded() != nil) + "\n")
	default:
		err = errors.New("unknown command")
	}
	if err != nil {
		s.t.Fatalf("%s %q: %v", name, args, err)
	}
}

func (s *script) print(d Dirty) {
	if d.All {
		s.output.WriteString("all\n")
		return
	}
	s.output.WriteString("dirty:")
	for _, dir := range d.Directories() {
		s.output.WriteString(" " + filepath.Clean(dir))
	}
	s.output.WriteString("\n")
}

// ignoring ignores base names.
func ignoring(names []string) func(string, bool) bool {
	return func(path string, dir bool) bool {
		for _, n := range names {
			if base, dirOnly := strings.CutSuffix(n, "/"); base == filepath.Base(path) && (dir || !dirOnly) {
				return true
			}
		}
		return false
	}
}

// start runs a watcher until the test ends, and fails the test if Run does not
// end then.
func start(t *testing.T, o Options) *Watcher {
	t.Helper()
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	w := New(o)
	runUntilTestEnds(t, w)
	return w
}

func runUntilTestEnds(t *testing.T, w *Watcher) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("Run did not return")
		}
	})
}

// wait merges signals until no more come.
func wait(t *testing.T, w *Watcher) Dirty {
	t.Helper()
	return waitQuiet(t, w, quietTime)
}

func waitQuiet(t *testing.T, w *Watcher, quiet time.Duration) Dirty {
	t.Helper()
	var all dirtySet
	await(t, w, &all)
	for {
		select {
		case <-w.Changed():
			merge(&all, w.Take())
		case <-time.After(quiet):
			return all.dirty()
		}
	}
}

// waitFor merges signals until they say what is waited for.
func waitFor(t *testing.T, w *Watcher, says func(Dirty) bool) {
	t.Helper()
	for all := (dirtySet{}); !says(all.dirty()); {
		await(t, w, &all)
	}
}

// await adds what the next signal says.
func await(t *testing.T, w *Watcher, all *dirtySet) {
	t.Helper()
	select {
	case <-w.Changed():
		merge(all, w.Take())
	case <-time.After(time.Minute):
		t.Fatalf("no signal after %+v", all.dirty())
	}
}

func merge(all *dirtySet, d Dirty) {
	if d.All {
		all.addAll()
	}
	for _, dir := range d.Directories() {
		all.add(dir)
	}
}

// undisturbed tries up to five times what a machine that stands still for a moment may spoil.
// try returns what is wrong; the test fails if that is something each time.
func undisturbed(t *testing.T, try func() string) {
	t.Helper()
	wrong := ""
	for range 5 {
		if wrong = try(); wrong == "" {
			return
		}
		t.Log(wrong)
	}
	t.Error("wrong five times, at last: " + wrong)
}

// inUserNamespace runs the test again as a child in a user namespace of its own,
// and reports whether this is that child.
func inUserNamespace(t *testing.T) (child bool) {
	const mark = "WATCHER_TEST_USERNS"
	if os.Getenv(mark) != "" {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EACCES) {
		t.Skipf("user namespaces are not permitted: %v", err)
	}
	if err != nil {
		t.Fatalf("in a user namespace: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("in a user namespace:\n%s", out)
	}
	return false
}
