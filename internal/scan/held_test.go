package scan_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
)

// TestHeld scans what cannot be published, first unknown to the committed tree, then
// over a committed file, then over a committed directory.
func TestHeld(t *testing.T) {
	tests := []struct {
		name  string
		build func(t *testing.T, path string)
		want  scan.Reason
	}{
		{"a FIFO", func(t *testing.T, p string) { must(t, unix.Mkfifo(p, 0o644)) }, scan.Unsupported},
		{"a socket", func(t *testing.T, p string) {
			l, err := net.Listen("unix", p)
			must(t, err)
			closeAtEnd(t, l)
		}, scan.Unsupported},
		{"a file over the limit", func(t *testing.T, p string) {
			must(t, os.WriteFile(p, make([]byte, 11), 0o644))
		}, scan.TooLarge},
		{"a symlink where they are refused", func(t *testing.T, p string) { must(t, os.Symlink("/", p)) }, scan.SymlinkRefused},
		{"a file open for writing", func(t *testing.T, p string) {
			f, err := os.Create(p)
			must(t, err)
			closeAtEnd(t, f)
		}, scan.Writing},
		{"an unreadable file", func(t *testing.T, p string) { must(t, os.WriteFile(p, nil, 0)) }, scan.Unreadable},
		{"an unreadable directory", func(t *testing.T, p string) {
			must(t, os.Mkdir(p, 0o755))
			must(t, os.WriteFile(filepath.Join(p, "other"), nil, 0o644))
			must(t, os.Chmod(p, 0))
			t.Cleanup(func() { must(t, os.Chmod(p, 0o755)) })
		}, scan.Unreadable},
	}
	committed := []entries{
		{},
		{"h": file(0o600, "old")},
		{"h": dir(0o700), "h/a": dir(0o755), "h/a/f": file(0o600, "old")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := openToAll(t)
			write(t, d, "ok", "x")
			tt.build(t, filepath.Join(d, "h"))
			giveToNobody(t, d, "h")
			asNobody(t, func() {
				s := newScanner(t, d, settled, func(o *scan.Options) { o.RefuseSymlinks, o.MaxFileSize = true, 10 })
				for _, c := range committed {
					res := mustScan(t, s, c.tree(t), []string{})
					want := entries{"ok": file(0o644, "x")}
					for p, e := range c {
						want[p] = e
					}
					wantTree(t, res.Tree, want)
					wantHeld(t, res, "h: "+tt.want.String())
					if len(res.Held) > 0 && res.Held[0].Reason.Remedy() == "" {
						t.Error("no remedy")
					}
				}
			})
		})
	}
}

func TestHeldBelow(t *testing.T) {
	t.Run("a nested .confsyncd is reported and nothing below it is looked at", func(t *testing.T) {
		d := t.TempDir()
		write(t, d, "a/.confsyncd/f", "x")
		res := mustScan(t, newScanner(t, d), diff.Tree{}, nil)
		wantTree(t, res.Tree, entries{"a": dir(0o755)})
		wantHeld(t, res, "a/.confsyncd: "+scan.BadPath.String())
		if !errors.Is(res.Held[0].Err, diff.ErrPath) {
			t.Errorf("got %v", res.Held[0].Err)
		}
	})
	t.Run("a held new file in what was committed as a file is absent", func(t *testing.T) {
		d := t.TempDir()
		must(t, os.Mkdir(filepath.Join(d, "a"), 0o755))
		must(t, unix.Mkfifo(filepath.Join(d, "a/f"), 0o644))
		res := mustScan(t, newScanner(t, d), entries{"a": file(0o644, "x")}.tree(t), nil)
		wantTree(t, res.Tree, entries{"a": dir(0o755)})
		wantHeld(t, res, "a/f: "+scan.Unsupported.String())
	})
	t.Run("a path that is too long", func(t *testing.T) {
		d := t.TempDir()
		fd, err := unix.Open(d, unix.O_PATH, 0)
		must(t, err)
		name := strings.Repeat("n", 255)
		for range 16 { // 16 × 255 and 15 slashes are 4095 bytes.
			must(t, unix.Mkdirat(fd, name, 0o755))
			next, err := unix.Openat(fd, name, unix.O_PATH, 0)
			must(t, err)
			must(t, unix.Close(fd))
			fd = next
		}
		must(t, unix.Mkdirat(fd, "x", 0o755))
		must(t, unix.Close(fd))
		res := mustScan(t, newScanner(t, d), diff.Tree{}, nil)
		if res.Tree.Len() != 16 || len(res.Held) != 1 || res.Held[0].Reason != scan.BadPath {
			t.Errorf("%d entries, held %v", res.Tree.Len(), len(res.Held))
		}
	})
	t.Run("a name that may be listed but not looked at stays, listed or not", func(t *testing.T) {
		d := openToAll(t)
		write(t, d, "a/f", "x")
		c := entries{"a": dir(0o755), "a/f": file(0o644, "old"), "a/unlisted": file(0o644, "old")}
		giveToNobody(t, d, "a")
		must(t, os.Chmod(filepath.Join(d, "a"), 0o444))
		t.Cleanup(func() { must(t, os.Chmod(filepath.Join(d, "a"), 0o755)) })
		asNobody(t, func() {
			res := mustScan(t, newScanner(t, d), c.tree(t), nil)
			c["a"] = dir(0o444)
			wantTree(t, res.Tree, c)
			wantHeld(t, res, "a/f: "+scan.Unreadable.String(), "a/unlisted: "+scan.Unreadable.String())
		})
	})
	t.Run("holds are reported once, also where the scan has to start over from above", func(t *testing.T) {
		d := t.TempDir()
		var want []string
		for _, sub := range []string{"a", "b", "c", "d", "e", "f"} {
			must(t, os.Mkdir(filepath.Join(d, sub), 0o755))
			must(t, unix.Mkfifo(filepath.Join(d, sub, "p"), 0o644))
			want = append(want, sub+"/p: "+scan.Unsupported.String())
		}
		s := newScanner(t, d)
		wantHeld(t, mustScan(t, s, diff.Tree{}, nil), want...)
		for range 5 {
			wantHeld(t, mustScan(t, s, diff.Tree{}, []string{"unknown"}), want...)
		}
	})
	t.Run("a hold ends unasked, and Since tells when it began", func(t *testing.T) {
		d := t.TempDir()
		p := filepath.Join(d, "a/f")
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, unix.Mkfifo(p, 0o644))
		now := time.Now()
		s := newScanner(t, d, func(o *scan.Options) { o.Now = func() time.Time { return now } })
		began := mustScan(t, s, diff.Tree{}, nil).Held[0].Since
		now = now.Add(time.Minute)
		if since := mustScan(t, s, diff.Tree{}, []string{}).Held[0].Since; !since.Equal(began) {
			t.Errorf("held since %v, then since %v", began, since)
		}
		must(t, os.Remove(p))
		write(t, d, "a/f", "x")
		res := mustScan(t, s, diff.Tree{}, []string{})
		wantTree(t, res.Tree, entries{"a": dir(0o755), "a/f": file(0o644, "x")})
		wantHeld(t, res)
	})
}

func TestAFileThatChangesKindUnderOurEyesIsHeld(t *testing.T) {
	d := t.TempDir()
	write(t, d, "f", "x")
	link(t, d, "l", "f")
	s := newScanner(t, d, func(o *scan.Options) {
		o.Ignore = []string{"l"}
		o.Now = func() time.Time { // It is asked before each reading.
			must(t, unix.Renameat2(unix.AT_FDCWD, filepath.Join(d, "f"), unix.AT_FDCWD, filepath.Join(d, "l"), unix.RENAME_EXCHANGE))
			return later()
		}
	})
	res := mustScan(t, s, entries{"f": file(0o600, "old")}.tree(t), nil)
	wantHeld(t, res, "f: "+scan.Vanishing.String())
	wantTree(t, res.Tree, entries{"f": file(0o600, "old")})
}

func TestAFileThatChangedKindOnceIsTakenAsItIs(t *testing.T) {
	d := t.TempDir()
	write(t, d, "f", "x")
	toLink := func() {
		must(t, os.Remove(filepath.Join(d, "f")))
		link(t, d, "f", "target")
	}
	res := mustScan(t, newScanner(t, d, meanwhile(2, toLink)), diff.Tree{}, nil)
	wantHeld(t, res)
	wantTree(t, res.Tree, entries{"f": symlink("target")})
}

func TestUnreadableDirectoryComesBackChanged(t *testing.T) {
	d := openToAll(t)
	sub := filepath.Join(d, "sub")
	write(t, d, "sub/deep/f", "old")
	s := newScanner(t, d)
	first := mustScan(t, s, diff.Tree{}, nil)
	write(t, d, "sub/deep/f", "new")
	must(t, os.Chmod(sub, 0))
	asNobody(t, func() {
		res := mustScan(t, s, first.Tree, []string{"sub/deep"})
		wantHeld(t, res, "sub: "+scan.Unreadable.String())
		if res.Tree.Digest() != first.Tree.Digest() {
			t.Error("the tree changed")
		}
	})
	must(t, os.Chmod(sub, 0o755))
	res := mustScan(t, s, first.Tree, []string{})
	wantHeld(t, res)
	if e, _ := res.Tree.Get("sub/deep/f"); e != file(0o644, "new") {
		t.Errorf("f is %+v", e)
	}
}

func TestWriter(t *testing.T) {
	t.Run("a slow writer's file is published once it closes, while others are", func(t *testing.T) {
		d := t.TempDir()
		write(t, d, "f", "old")
		s := newScanner(t, d)
		first := mustScan(t, s, diff.Tree{}, nil)
		w, err := os.OpenFile(filepath.Join(d, "f"), os.O_WRONLY|os.O_TRUNC, 0)
		must(t, err)
		defer func() { _ = w.Close() }()
		for _, line := range []string{"a\n", "b\n"} {
			_, err = w.WriteString(line)
			must(t, err)
			write(t, d, "other", line)
			res := mustScan(t, s, first.Tree, []string{""})
			wantTree(t, res.Tree, entries{"f": file(0o644, "old"), "other": file(0o644, line)})
			wantHeld(t, res, "f: "+scan.Writing.String())
			if !res.Held[0].Reason.Temporary() {
				t.Error("not temporary")
			}
		}
		must(t, w.Close())
		res := mustScan(t, s, first.Tree, []string{})
		wantTree(t, res.Tree, entries{"f": file(0o644, "a\nb\n"), "other": file(0o644, "b\n")})
		wantHeld(t, res)
	})
	t.Run("a file that is only opened stays as it is known", func(t *testing.T) {
		d := t.TempDir()
		write(t, d, "f", "old")
		s := newScanner(t, d, settled)
		mustScan(t, s, diff.Tree{}, nil)
		w, err := os.OpenFile(filepath.Join(d, "f"), os.O_WRONLY, 0)
		must(t, err)
		defer func() { _ = w.Close() }()
		res := mustScan(t, s, diff.Tree{}, nil)
		wantTree(t, res.Tree, entries{"f": file(0o644, "old")})
		wantHeld(t, res)
	})
	t.Run("a large file is not read in vain", func(t *testing.T) {
		d := t.TempDir()
		w, err := os.Create(filepath.Join(d, "f"))
		must(t, err)
		defer func() { _ = w.Close() }()
		must(t, w.Truncate(1<<20))
		res := mustScan(t, newScanner(t, d), diff.Tree{}, nil)
		wantHeld(t, res, "f: "+scan.Writing.String())
		if res.Read != 0 {
			t.Errorf("%d files were read", res.Read)
		}
	})
	t.Run("a writable mapping is a writer", func(t *testing.T) {
		d := t.TempDir()
		w, err := os.Create(filepath.Join(d, "f"))
		must(t, err)
		must(t, w.Truncate(4096))
		m, err := unix.Mmap(int(w.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		must(t, err)
		must(t, w.Close())
		defer func() { must(t, unix.Munmap(m)) }()
		wantHeld(t, mustScan(t, newScanner(t, d), diff.Tree{}, nil), "f: "+scan.Writing.String())
	})
}

func TestWithoutLeasesAnUnchangedSecondLookMustDo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to own a file that nobody may lease")
	}
	d := openToAll(t)
	write(t, d, "f", "one")
	asNobody(t, func() {
		now := time.Now()
		s := newScanner(t, d, func(o *scan.Options) { o.Now = func() time.Time { return now } })
		wantHeld(t, mustScan(t, s, diff.Tree{}, nil), "f: "+scan.Unsettled.String())
		now = now.Add(200 * time.Millisecond)
		res := mustScan(t, s, diff.Tree{}, []string{})
		wantHeld(t, res)
		wantTree(t, res.Tree, entries{"f": file(0o644, "one")})
	})
	// Time stamps in the future, as of a file server whose clock is ahead.
	future := time.Now().Add(time.Hour)
	must(t, os.Chtimes(filepath.Join(d, "f"), future, future))
	asNobody(t, func() {
		now := time.Now()
		s := newScanner(t, d, func(o *scan.Options) { o.Now = func() time.Time { return now } })
		wantHeld(t, mustScan(t, s, diff.Tree{}, nil), "f: "+scan.Unsettled.String())
		now = now.Add(99 * time.Millisecond)
		wantHeld(t, mustScan(t, s, diff.Tree{}, []string{}), "f: "+scan.Unsettled.String())
		now = now.Add(time.Millisecond)
		wantHeld(t, mustScan(t, s, diff.Tree{}, []string{}))
	})
}
