package install

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The state can be read at every instant, also while whole trees are exchanged, which
// takes an agent longer than here.
func TestReadStateWhileSwitching(t *testing.T) {
	dir := newDir(t)
	other := dir + ".other"
	for _, d := range []string{dir, other} {
		target := mustOpen(t, optionsIn(Files, d))
		p, c := plan(t, 1, files{"f": "644 one"})
		if _, err := target.Apply(t.Context(), p, c); err != nil {
			t.Fatal(err)
		}
		do(t, target.Close())
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			err = unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
			time.Sleep(100 * time.Microsecond)
		}
		done <- err
	}()
	for range 10_000 {
		if _, _, err := ReadState(dir); err != nil {
			t.Error(err)
			break
		}
	}
	stop()
	do(t, <-done)
}
