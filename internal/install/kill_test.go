package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// The target of the child that is to be killed, and its mode, in the environment.
const (
	killDir  = "CONFSYNCD_TEST_KILL_DIR"
	killMode = "CONFSYNCD_TEST_KILL_MODE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		applyForever(optionsIn(Mode(os.Getenv(killMode)), dir))
	}
	goleak.VerifyTestMain(m)
}

// signed is content that says what it is, so that a reader can tell that it is whole.
func signed(path string, g uint64) string {
	text := fmt.Sprintf("%s in generation %d%s", path, g, strings.Repeat(".", int(g%7)*500))
	return text + " " + diff.Sum([]byte(text)).String()
}

// generation is the tree of one generation. In some, a path is of another kind.
func generation(g uint64) files {
	f := files{"link": fmt.Sprintf("->f%d", g%8)}
	for i := range 8 {
		path := fmt.Sprintf("f%d", i)
		f[path] = fmt.Sprintf("%o %s", 0o600|g%2*0o44, signed(path, g))
		dir := fmt.Sprintf("d%d", (uint64(i)+g)%12)
		f[dir] = "755/"
		f[dir+"/x"] = "644 " + signed(dir+"/x", g)
	}
	if g%3 == 0 {
		f["turns"] = "644 " + signed("turns", g)
	} else {
		f["turns"] = "755/"
		f["turns/x"] = "644 " + signed("turns/x", g)
	}
	return f
}

// applyForever is the child.
func applyForever(o Options) {
	t := &testing.B{}
	fmt.Println("begins") // Until then it may take long, on a busy machine.
	for {
		target, err := Open(o)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for range 5 {
			p, c := plan(t, target.State().Position.Generation+1, generation(target.State().Position.Generation+1))
			if _, err := target.Apply(context.Background(), p, c); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		if err := target.Close(); err != nil {
			os.Exit(1)
		}
	}
}

// A process is killed at random moments, while a reader looks at every file.
func TestKill(t *testing.T) { eachMode(t, testKill) }

func testKill(t *testing.T, m Mode) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := newDir(t)
	ctx, stop := context.WithCancel(t.Context())
	read := make(chan error, 1)
	var reads atomic.Int64
	go func() { read <- readForever(ctx, dir, &reads) }()

	last := uint64(0)
	interrupted := 0
	for range 20 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), killDir+"="+dir, killMode+"="+string(m))
		var errs strings.Builder
		child.Stderr = &errs
		out, err := child.StdoutPipe()
		do(t, err)
		do(t, child.Start())
		_, err = out.Read(make([]byte, 1))
		do(t, err)
		time.Sleep(time.Duration(random.Int64N(int64(120 * time.Millisecond))))
		do(t, child.Process.Signal(unix.SIGKILL))
		_ = child.Wait()
		if errs.Len() > 0 {
			t.Fatal(errs.String())
		}
		if _, pending, err := ReadState(dir); err == nil && pending != nil {
			interrupted++
		}
		target := mustOpen(t, optionsIn(m, dir))
		g := target.State().Position.Generation
		if g < last {
			t.Errorf("the generation fell from %d to %d", last, g)
		}
		if last = g; g > 0 {
			mustLook(t, dir, generation(g))
			mustRest(t, target, g, generation(g))
		}
		do(t, target.Close())
	}
	stop()
	if err := <-read; err != nil {
		t.Error(err)
	}
	if got := kept(t, dir); len(got) > 0 {
		t.Errorf("kept %q", got)
	}
	t.Logf("%d generations, %d interrupted applies, %d files read", last, interrupted, reads.Load())
	if m == Tree && len(inSibling(t, dir)) < 2 {
		t.Error("no tree was ever switched")
	}
	if last == 0 {
		t.Error("no generation was ever applied")
	}
}

// readForever reads every file again and again, and returns an error if one is not
// whole.
func readForever(ctx context.Context, dir string, reads *atomic.Int64) error {
	for ctx.Err() == nil {
		err := filepath.WalkDir(dir, func(full string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return gone(err)
			case d.Name() == diff.OwnName:
				return fs.SkipDir
			case !d.Type().IsRegular():
				return nil
			}
			b, err := os.ReadFile(full)
			if err != nil {
				return gone(err)
			}
			reads.Add(1)
			path, err := filepath.Rel(dir, full)
			i := strings.LastIndexByte(string(b), ' ')
			if err != nil || i < 0 || diff.Sum(b[:i]).String() != string(b[i+1:]) || !strings.HasPrefix(string(b), path+" ") {
				return fmt.Errorf("%s is not whole: %.80q", path, b)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// gone passes over what was deleted or changed its kind between listing and reading.
func gone(err error) error {
	if absent(err) || errors.Is(err, unix.EISDIR) {
		return nil
	}
	return err
}
