package hook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/confsyncd/confsyncd/internal/hook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logged is a log that is read.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func runner(t *testing.T) (hook.Runner, *logged) {
	l := &logged{}
	return hook.Runner{
		Scratch: t.TempDir(), Beat: func() {}, Grace: 100 * time.Millisecond, KillAfter: 100 * time.Millisecond,
		Log: hclog.New(&hclog.LoggerOptions{Output: l}),
	}, l
}

func shell(script string) hook.Hook {
	return hook.Hook{Argv: []string{"sh", "-c", script}, Timeout: time.Minute}
}

func TestRun(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		hook hook.Hook
		want string // of the error; "" is none
	}{
		"ends well":                {shell("exit 0"), ""},
		"ends badly":               {shell("exit 7"), "check failed: exit status 7"},
		"is killed":                {shell("kill -9 $$"), "check failed: signal: killed"},
		"is not there":             {hook.Hook{Argv: []string{"/no/such"}, Timeout: time.Minute}, "check failed: stat /no/such"},
		"is on no path":            {hook.Hook{Argv: []string{"no-such-program"}, Timeout: time.Minute}, `"no-such-program" is not in /usr/local/sbin`},
		"is a relative path":       {hook.Hook{Argv: []string{"./program"}, Timeout: time.Minute}, "neither an absolute path nor a name"},
		"is not executable":        {hook.Hook{Argv: []string{program}, Timeout: time.Minute}, "cannot be executed"},
		"is a directory":           {hook.Hook{Argv: []string{"/usr"}, Timeout: time.Minute}, "is no file"},
		"takes too long":           {hook.Hook{Argv: []string{"sleep", "1000"}, Timeout: 50 * time.Millisecond}, "check failed: it took longer than 50ms"},
		"takes no notice of TERM":  {hook.Hook{Argv: []string{"sh", "-c", "trap '' TERM; while :; do sleep 1; done"}, Timeout: 50 * time.Millisecond}, "longer than 50ms"},
		"leaves output open":       {shell("sleep 3 & exit 0"), ""},
		"reads its input":          {shell("cat"), ""},
		"is in the root directory": {shell(`test "$PWD" = /`), ""},
		"has no other environment": {shell(`test "$(env | grep -cv -e ^CONFSYNCD_ -e ^PATH= -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD=)" = 0`), ""},
		"knows what it is about": {shell(`test "$CONFSYNCD_TENANT $CONFSYNCD_GENERATION $CONFSYNCD_PREVIOUS $CONFSYNCD_TARGET $CONFSYNCD_CANDIDATE" = "prod 7 5 /t /c" &&
			test "$(tr '\0' '|' < "$CONFSYNCD_CHANGED")" = 'a|b c|'`), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, l := runner(t)
			err := r.Run(t.Context(), hook.Check, tt.hook, hook.Subject{
				Tenant: "prod", Generation: 7, Previous: 5, Target: "/t", Candidate: "/c", Changed: []string{"a", "b c"},
			})
			if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || !errors.Is(err, hook.ErrFailed)) {
				t.Errorf("the error is %v, want %q; the log is\n%v", err, tt.want, l)
			}
			if left, _ := os.ReadDir(r.Scratch); len(left) > 0 {
				t.Errorf("it left %v", left)
			}
		})
	}
}

// awaitFile waits until a hook has written a number to a file.
func awaitFile(t *testing.T, path string) int {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(path)
		if n, bad := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && bad == nil {
			return n
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s holds %q, %v", path, b, err)
		}
	}
}

func mustEnd(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(state), ") Z ") || syscall.Kill(pid, 0) != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d is still there: %s", pid, state)
		}
	}
}

func TestWholeGroupIsEnded(t *testing.T) {
	for _, when := range []string{"when its time is up", "when the context ends"} {
		t.Run(when, func(t *testing.T) {
			r, _ := runner(t)
			file := filepath.Join(t.TempDir(), "pid")
			h := shell("(trap '' TERM; while :; do sleep 1; done) & echo $! > " + file + "; wait")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			want := hook.ErrInterrupted
			if when == "when its time is up" {
				h.Timeout, want = 500*time.Millisecond, hook.ErrFailed
			}
			go func() { done <- r.Run(ctx, hook.Reload, h, hook.Subject{}) }()
			child := awaitFile(t, file)
			if want == hook.ErrInterrupted { //nolint:errorlint // It is the sentinel itself.
				cancel()
			}
			if err := <-done; !errors.Is(err, want) {
				t.Errorf("the error is %v", err)
			}
			mustEnd(t, child)
		})
	}
}

func TestHookMayEndWhenTheContextHas(t *testing.T) {
	r, _ := runner(t)
	r.Grace = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	file, begun := filepath.Join(t.TempDir(), "go"), filepath.Join(t.TempDir(), "begun")
	done := make(chan error, 1)
	go func() {
		done <- r.Run(ctx, hook.Reload, shell("echo $$ > "+begun+"; until test -e "+file+"; do sleep 0.01; done"), hook.Subject{})
	}()
	awaitFile(t, begun)
	cancel()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := r.Run(ctx, hook.Reload, shell("exit 0"), hook.Subject{}); !errors.Is(err, hook.ErrInterrupted) {
		t.Errorf("it was begun after the end: %v", err)
	}
}

func TestHookThatIsEndedWithTheAgentHasNotFailed(t *testing.T) {
	r, _ := runner(t)
	r.Grace = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun := filepath.Join(t.TempDir(), "begun")
	done := make(chan error, 1)
	go func() {
		done <- r.Run(ctx, hook.Check, shell("echo $$ > "+begun+"; while :; do sleep 0.01; done"), hook.Subject{})
	}()
	pid := awaitFile(t, begun)
	cancel()
	if err := syscall.Kill(-pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, hook.ErrInterrupted) {
		t.Errorf("a check that was ended with its agent: %v", err)
	}
}

func TestOutputIsLoggedLineByLine(t *testing.T) {
	r, l := runner(t)
	if err := r.Run(t.Context(), hook.Check, shell(`echo one; echo two >&2; printf 'a\033[1mb'`), hook.Subject{Generation: 3}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"line=one", "line=two", "hook=check", "generation=3", "a\uFFFD[1mb"} {
		if !strings.Contains(l.String(), want) {
			t.Errorf("%q is not in the log:\n%v", want, l)
		}
	}
}

func TestOutputIsCapped(t *testing.T) {
	r, l := runner(t)
	if err := r.Run(t.Context(), hook.Check, shell(`yes 0123456789 | head -c 10000000; head -c 5000000 /dev/zero | tr '\0' x`), hook.Subject{}); err != nil {
		t.Fatal(err)
	}
	if n := len(l.String()); n > 2<<20 || !strings.Contains(l.String(), "too long to be logged") {
		t.Errorf("%d bytes were logged", n)
	}
}

func TestBeatGoesOnWhileAHookRuns(t *testing.T) {
	r, _ := runner(t)
	file := filepath.Join(t.TempDir(), "beaten")
	r.Beat = func() { _ = os.WriteFile(file, nil, 0o600) }
	if err := r.Run(t.Context(), hook.Check, shell("until test -e "+file+"; do sleep 0.01; done"), hook.Subject{}); err != nil {
		t.Error(err)
	}
}
