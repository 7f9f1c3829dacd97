package install

import (
	"encoding/binary"
	"hash/crc32"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stampsOf returns where the stamps of a target lie.
func stampsOf(dir string) string { return filepath.Join(ControlDir(dir), stampsName) }

// unread returns the managed files and symlinks that a look would read.
func unread(t *testing.T, target *Target, dir string) (paths []string) {
	t.Helper()
	for path, e := range target.State().Managed.All() {
		if !e.HasContent() {
			continue
		}
		if hash, ok := target.stamps.hash(path, nodeAt(t, dir, path), target.now()); !ok || hash != e.Hash {
			paths = append(paths, path)
		}
	}
	return paths
}

// remembered returns a closed target that has left its stamps to the next process.
func remembered(t *testing.T, m Mode) (dir string) {
	t.Helper()
	dir = newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	if !target.keepsTimes() {
		t.Skip("stamps are not kept on this file system; set TMPDIR to another one")
	}
	mustApply(t, target, 1, published)
	old(t, dir)
	mustDrift(t, target, nil, map[string]Deviation{})
	do(t, target.Close())
	return dir
}

// old waits until no file is racy any more.
func old(t *testing.T, dir string) {
	t.Helper()
	newest := int64(0)
	do(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		newest = max(newest, st.Mtim.Nano(), st.Ctim.Nano())
		return err
	}))
	window := raceWindow
	if newest%int64(time.Second) == 0 {
		window = coarseWindow
	}
	time.Sleep(time.Until(time.Unix(0, newest).Add(2 * window)))
}

// altered changes the stamps of a target, and makes their sum right again.
func altered(t *testing.T, dir string, alter func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(stampsOf(dir))
	do(t, err)
	b = alter(b[:len(b)-4])
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	do(t, os.WriteFile(stampsOf(dir), b, 0o600))
}

func TestOpen_goesByTheStampsOfTheProcessBefore(t *testing.T) {
	all := []string{"a", "b", "d/e/f", "d/g", "l"}
	flip := func(at int) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			altered(t, dir, func(b []byte) []byte { b[at] ^= 1; return b })
		}
	}
	for name, tt := range map[string]struct {
		between func(t *testing.T, dir string)
		now     time.Duration // what the clock says afterwards
		read    []string
	}{
		"nothing changed": {},
		"a file written in place, and its mtime set back": {
			between: func(t *testing.T, dir string) { restamped(t, filepath.Join(dir, "a"), "eno") }, read: []string{"a"},
		},
		"a file written anew with the same bytes, mode and mtime": {
			between: func(t *testing.T, dir string) {
				at := filepath.Join(dir, "d/g")
				do(t, exec.Command("cp", "-a", at, at+".new").Run())
				do(t, os.Rename(at+".new", at))
			},
			read: []string{"d/g"},
		},
		"a mode changed and changed back": {
			between: func(t *testing.T, dir string) {
				do(t, os.Chmod(filepath.Join(dir, "b"), 0o644))
				do(t, os.Chmod(filepath.Join(dir, "b"), 0o600))
			},
			read: []string{"b"},
		},
		"a symlink made anew": {
			between: func(t *testing.T, dir string) {
				do(t, os.Remove(filepath.Join(dir, "l")))
				do(t, os.Symlink("a", filepath.Join(dir, "l")))
			},
			read: []string{"l"},
		},
		"the target restored from a copy": {
			between: func(t *testing.T, dir string) {
				do(t, exec.Command("cp", "-a", dir, dir+".backup").Run())
				do(t, os.RemoveAll(dir))
				do(t, os.Rename(dir+".backup", dir))
			},
			read: all,
		},
		"its files restored from a copy": {
			between: func(t *testing.T, dir string) {
				do(t, exec.Command("cp", "-a", dir, dir+".backup").Run())
				do(t, os.RemoveAll(filepath.Join(dir, "d")))
				do(t, exec.Command("cp", "-a", dir+".backup/d", dir).Run())
			},
			read: []string{"d/e/f", "d/g"},
		},
		"the stamps of another boot":      {between: flip(5), read: all},
		"the stamps of another directory": {between: flip(5 + 36 + 8), read: all},
		"the stamps of another tree":      {between: flip(5 + 36 + 24), read: all},
		"the stamps of a newer version":   {between: flip(4), read: all},
		"stamps from a time to come": {
			between: func(t *testing.T, dir string) {
				altered(t, dir, func(b []byte) []byte {
					binary.LittleEndian.PutUint64(b[5+36+16:], uint64(time.Now().Add(time.Hour).UnixNano()))
					return b
				})
			},
			read: all,
		},
		"the stamps cut": {between: func(t *testing.T, dir string) {
			altered(t, dir, func(b []byte) []byte { return b[:len(b)-28] })
		}, read: all},
		"the stamps rotted": {between: func(t *testing.T, dir string) {
			b, err := os.ReadFile(stampsOf(dir))
			do(t, err)
			b[len(b)-6] ^= 1
			do(t, os.WriteFile(stampsOf(dir), b, 0o600))
		}, read: all},
		"the stamps emptied": {between: func(t *testing.T, dir string) { do(t, os.Truncate(stampsOf(dir), 0)) }, read: all},
		"the stamps deleted": {between: func(t *testing.T, dir string) { do(t, os.Remove(stampsOf(dir))) }, read: all},
		"a directory in their place": {between: func(t *testing.T, dir string) {
			do(t, os.Remove(stampsOf(dir)))
			do(t, os.Mkdir(stampsOf(dir), 0o700))
		}, read: all},
		"the clock set back, so that all is from a time to come": {now: -time.Hour, read: all},
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m Mode) {
				dir := remembered(t, m)
				if tt.between != nil {
					tt.between(t, dir)
				}
				target := mustOpen(t, optionsIn(m, dir))
				target.now = func() time.Time { return time.Now().Add(tt.now) }
				if got := unread(t, target, dir); !slices.Equal(got, tt.read) {
					t.Errorf("%q are to be read, want %q", got, tt.read)
				}
				found, err := target.Drift(t.Context(), Where{}, true)
				do(t, err)
				shallow, err := target.Drift(t.Context(), Where{}, false)
				do(t, err)
				if len(shallow) != len(found) {
					t.Errorf("found %v, by content %v", shallow, found)
				}
			})
		})
	}
}

func TestRemember_leavesOutWhatIsRacy(t *testing.T) {
	dir := newDir(t)
	target := mustOpen(t, options(dir))
	mustApply(t, target, 1, published)
	clear(target.stamps.known) // It may know what it wrote long enough before.
	a := nodeAt(t, dir, "a")
	born := a.ctime.Nano()
	target.now = func() time.Time { return time.Unix(0, born) } // It was looked at when it was written.
	mustDrift(t, target, []string{""}, map[string]Deviation{})
	do(t, target.Close())
	old(t, dir)
	if got := unread(t, mustOpen(t, options(dir)), dir); !slices.Contains(got, "a") {
		t.Errorf("%q are to be read, and not what was racy", got)
	}
}

func TestRemember_keepsWhenAllWasRead(t *testing.T) {
	dir := remembered(t, Files)
	first := mustOpen(t, options(dir))
	read := first.Read()
	if since := time.Since(read); since < 0 || since > time.Minute {
		t.Fatalf("all was read %v ago", since)
	}
	write(t, filepath.Join(dir, "a"), "eno")
	mustDrift(t, first, nil, map[string]Deviation{"a": OtherBytes})
	mustApply(t, first, 2, published.with(files{"b": "600 2"}))
	do(t, first.Close())
	next := mustOpen(t, options(dir))
	if !next.Read().Equal(read) {
		t.Errorf("all was read at %v, want %v", next.Read(), read)
	}
	_, err := next.Drift(t.Context(), Where{}, true)
	do(t, err)
	if !next.Read().After(read) {
		t.Error("a deep look is no reading of all")
	}
}

// A crash between an apply and its stamps leaves those of the tree before.
func TestOpen_takesNoStampsOfATreeBefore(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		dir := remembered(t, m)
		before, err := os.ReadFile(stampsOf(dir))
		do(t, err)
		target := mustOpen(t, optionsIn(m, dir))
		mustApply(t, target, 2, published.with(files{"a": "644 eno", "b": "600 owt"}))
		do(t, target.Close())
		do(t, os.WriteFile(stampsOf(dir), before, 0o600))
		target = mustOpen(t, optionsIn(m, dir))
		if got := unread(t, target, dir); len(got) != 5 {
			t.Errorf("%q alone are to be read", got)
		}
		mustDrift(t, target, nil, map[string]Deviation{})
	})
}

// Trees that are switched in, and old ones that are removed, change the ctime of all that
// they share.
func TestRemember_afterSwitches(t *testing.T) {
	dir := remembered(t, Tree)
	f := maps.Clone(published)
	for i, c := range []string{"2", "3", "4"} {
		target := mustOpen(t, optionsIn(Tree, dir))
		f = f.with(files{"a": "644 " + c, "b": "600 " + c})
		mustApply(t, target, uint64(i)+2, f)
		target.now = func() time.Time { return time.Now().Add(time.Minute) }
		for target.Tidy(time.Second) == 0 {
		}
		do(t, target.Close())
		old(t, dir)
	}
	got := unread(t, mustOpen(t, optionsIn(Tree, dir)), dir)
	if slices.Contains(got, "d/e/f") || slices.Contains(got, "l") {
		t.Errorf("%q are to be read", got)
	}
}

// What others put in the place of the stamps costs a reading of all, and nothing else.
func TestStamps_thatOthersPutThere(t *testing.T) {
	dir := remembered(t, Files)
	do(t, os.Truncate(stampsOf(dir), 1<<40)) // Sparse.
	target := mustOpen(t, options(dir))
	if got := unread(t, target, dir); len(got) != 5 {
		t.Errorf("%q alone are to be read", got)
	}
	victim := filepath.Join(t.TempDir(), "victim")
	do(t, os.WriteFile(victim, []byte("theirs"), 0o600))
	do(t, os.Symlink(victim, stampsOf(dir)+".new"))
	mustDrift(t, target, nil, map[string]Deviation{})
	do(t, target.Close())
	if b, err := os.ReadFile(victim); err != nil || string(b) != "theirs" {
		t.Errorf("%q, %v", b, err)
	}
	if got := unread(t, mustOpen(t, options(dir)), dir); len(got) != 0 {
		t.Errorf("%q are to be read", got)
	}
}

// A look that cannot read a file says so until one can.
func TestStamps_ofWhatCouldNotBeRead(t *testing.T) {
	target := mustOpen(t, options(remembered(t, Files)))
	mustDrift(t, target, nil, map[string]Deviation{})
	target.stamps.doubt("a")
	if got := unread(t, target, target.o.Dir); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%q are to be read", got)
	}
}
