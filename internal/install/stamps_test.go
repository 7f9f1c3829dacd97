package install

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRacy(t *testing.T) {
	seen := time.Unix(1000, 500_000_007)
	ago := func(d time.Duration) unix.Timespec { return unix.NsecToTimespec(seen.Add(-d).UnixNano()) }
	second := func(s int64) unix.Timespec { return unix.Timespec{Sec: s} }
	for _, tt := range []struct {
		name         string
		mtime, ctime unix.Timespec
		want         bool
	}{
		{"both old", ago(time.Second), ago(time.Second), false},
		{"written just now", ago(time.Millisecond), ago(time.Millisecond), true},
		{"mtime set back just now", ago(time.Hour), ago(time.Millisecond), true},
		{"the clock was set back since", ago(-time.Hour), ago(-time.Hour), true},
		{"whole seconds, this second", second(1000), second(1000), true},
		{"whole seconds, two seconds ago", second(998), second(998), false},
		{"mtime set to a whole second long ago", second(1000), ago(time.Second), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := racy(node{mtime: tt.mtime, ctime: tt.ctime}, seen); got != tt.want {
				t.Errorf("racy is %v", got)
			}
		})
	}
}

// Reading 100,000 files again because links to them came and went would cost seconds.
func TestStamps_surviveSwitchesAndTidying(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(Tree, dir))
	f := files{"a": "644 a", "b": "644 b", "d": "755/", "d/x": "644 x", "l": "->a"}
	mustApply(t, target, 1, f)
	target.now = func() time.Time { return time.Now().Add(time.Second) } // All is old enough to be known.
	_, err := target.Drift(context.Background(), Where{}, false)
	do(t, err)
	known := func(when string) {
		t.Helper()
		for _, path := range []string{"d/x", "l"} {
			if _, ok := target.stamps.hash(path, nodeAt(t, dir, path), target.now()); !ok {
				t.Errorf("%q is to be read again %s", path, when)
			}
		}
	}
	known("before")
	mustApply(t, target, 2, f.with(files{"a": "644 a2", "b": "644 b2"}))
	known("after a switch")
	mustApply(t, target, 3, f.with(files{"a": "644 a3", "b": "644 b3"}))
	target.now = func() time.Time { return time.Now().Add(time.Minute) }
	for target.Tidy(time.Second) == 0 {
	}
	if len(target.olds) != 1 {
		t.Fatalf("%d old trees are left", len(target.olds))
	}
	known("after an old tree was removed")
}
