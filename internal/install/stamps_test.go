package install

import (
	"context"
	"testing"
	"time"
)

// Reading 100,000 files again because links to them came and went would cost seconds.
func TestStamps_surviveSwitchesAndTidying(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(Tree, dir))
	f := files{"a": "644 a", "b": "644 b", "d": "755/", "d/x": "644 x", "l": "->a"}
	mustApply(t, target, 1, f)
	target.now = func() time.Time { return time.Now().Add(time.Second) } // All is old enough to be known.
	_, err := target.Drift(context.Background(), nil, false)
	do(t, err)
	known := func(when string) {
		t.Helper()
		for _, path := range []string{"d/x", "l"} {
			if _, ok := target.stamps.hash(path, nodeAt(t, dir, path)); !ok {
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
