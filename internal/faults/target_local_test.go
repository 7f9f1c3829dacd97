//go:build faults

package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// localCases let people and programs on the host change what is managed.
func localCases() []Case {
	return []Case{
		{
			Name: "managed files edited, deleted, swapped",
			How:  "on the host: a file replaced, one deleted, one made a directory, one a symlink, a directory made a file, modes changed",
			Try: func(w *World) {
				w.stopReading()
				w.BeStrange()
				for range 3 {
					w.InStep()
					w.meddle(w.Files(), 12)
					w.Healed()
					w.Converge()
				}
				w.mustKeep(1)
				w.Read()
			},
		},
		{
			Name: "the same under load", How: "the same while generations that replace and add files arrive all the time",
			Try: func(w *World) {
				w.stopReading()
				w.BeStrange()
				files := w.Files() // What arrives only later is nobody's yet.
				for range 8 {
					// None deletes: what others make anew at a path that has just gone is theirs.
					w.Replace(10)
					w.meddle(files, 4)
					w.Replace(10)
					w.do(w.Writer.PutFile(fmt.Sprint("d2/load", w.Writer.Draw(1000))))
				}
				w.Healed()
			},
		},
		{
			Name: "setuid bits", How: "files with setuid, setgid and sticky bits are published; chmod sets such bits on the host",
			Try: trySetuid,
		},
		{
			Name: "owner and group", Needs: Needs{Root: true}, Setup: Setup{Agent: []string{"--owner", "65534", "--group", "65533"}},
			How: "the agent gives files to an owner and a group; chown takes them away on the host while generations arrive",
			Try: tryOwner,
		},
		{
			Name: "umask 077", How: "the agent is run with umask 077", Setup: Setup{Empty: true},
			Try: func(w *World) { w.umask("077") },
		},
		{
			Name: "umask 000", How: "the agent is run with umask 000", Setup: Setup{Empty: true},
			Try: func(w *World) { w.umask("000") },
		},
		{
			Name: "immutable and append-only files", Needs: Needs{Root: true, Programs: []string{"chattr:e2fsprogs"}},
			How: "chattr +i, then +a, on a file that a generation replaces and on one that it deletes; taken back",
			Try: func(w *World) {
				w.unchangeable("+i", "-i")
				w.unchangeable("+a", "-a")
			},
		},
		{
			Name: "immutable directory", Needs: Needs{Root: true, Programs: []string{"chattr:e2fsprogs"}},
			How: "chattr +i on a managed directory in which a generation makes, replaces and deletes files; taken back",
			Try: tryImmutableDirectory,
		},
		{
			Name: "immutable file that drifted", Needs: Needs{Root: true, Programs: []string{"chattr:e2fsprogs"}},
			How: "a managed file is edited and made immutable for 35 s, in which repairs fail, and freed",
			Try: tryImmutableDrift,
		},
		{
			Name: "foreign files in a directory that becomes a file",
			How:  "a file is put into a managed directory, which the next generation turns into a file; then it is moved away",
			Try: func(w *World) {
				dir := "foreign"
				w.Batch(func() { w.do(errors.Join(w.Writer.Mkdirs(dir), w.Writer.Put(dir+"/ours"))) })
				w.InStep()
				w.reader.Skip(func(p string) bool { return p == dir+"/theirs" })
				w.do(os.WriteFile(w.At(dir+"/theirs"), []byte("not ours\n"), 0o600))
				before, err := lab.Stamps(w.At(dir))
				w.do(err)
				w.Batch(func() { w.do(errors.Join(w.Writer.Remove(dir), w.Writer.Put(dir))) })
				w.tells("holding", dir+"/theirs", "not managed", "move it away")
				after, err := lab.Stamps(w.At(dir))
				w.do(err)
				if len(before) != len(after) {
					w.wrong("d", "the blocked directory held %d entries, and now %d", len(before), len(after))
				}
				w.do(os.Remove(w.At(dir + "/theirs")))
				w.Healed()
			},
		},
		{
			Name: "a parent swapped for a symlink in a tight loop", Needs: Needs{Root: true},
			How: "a user who owns a directory in the target exchanges a directory in it with a symlink that leads outside, thousands of times, while generations change what lies there",
			Try: trySwappedParent,
		},
		{
			Name: "old descriptors stay open", How: "all files, and the target, are kept open over 20 generations, and read again then",
			Try: tryOldDescriptors,
		},
	}
}

// meddle changes some of the managed files.
func (w *World) meddle(files []string, times int) {
	w.Helper()
	changes := []func(name string) error{
		func(name string) error { return os.WriteFile(name, []byte("edited in place\n"), 0o644) },
		os.Remove,
		func(name string) error { return errors.Join(os.Remove(name), os.Mkdir(name, 0o700)) },
		func(name string) error { return errors.Join(os.Remove(name), os.Symlink("/etc/passwd", name)) },
		func(name string) error { return os.Chmod(name, 0o666) },
		func(name string) error { return os.RemoveAll(filepath.Dir(name)) },
		func(name string) error {
			dir := filepath.Dir(name)
			return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, []byte("a directory once\n"), 0o600))
		},
	}
	for i := range times {
		p := files[w.Writer.Draw(len(files))]
		for len(files) > 20 && !strings.Contains(p, "/") {
			p = files[w.Writer.Draw(len(files))]
		}
		err := changes[i%len(changes)](w.At(p))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOTEMPTY) {
			continue // Its directory was the last one's, or the agent was faster.
		}
		w.do(err)
		w.Count("local changes", 1)
	}
}

// mustKeep wants so many kept files at least.
func (w *World) mustKeep(least int) {
	w.Helper()
	n := 0
	kept := filepath.Join(w.own(), "kept")
	w.do(filepath.WalkDir(kept, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	}))
	if n < least {
		w.wrong("d", "%d files were kept of what was overwritten, want %d", n, least)
	}
}

// own is where stage and kept files lie.
func (w *World) own() string {
	if w.Mode == "tree" {
		return filepath.Join(filepath.Dir(w.Target.Dir), ".dir.confsyncd")
	}
	return w.At(".confsyncd")
}

func trySetuid(w *World) {
	files := w.Files()
	file := files[0]
	w.touches(file)
	name := w.Writer.Name(file)
	bits := fs.ModeSetuid | fs.ModeSetgid
	n := w.Writer.Model[file]
	n.Mode = n.Mode&^fs.ModePerm | 0o755
	w.Writer.Ledger.Allow(file, 0o755, n.Content)
	w.Writer.Model[file] = n
	w.do(os.Chmod(name, 0o755|bits))
	w.Want = func() (lab.Tree, error) { return w.Writer.Model, nil }
	w.InStep()
	for range 5 {
		w.do(os.Chmod(w.At(file), 0o755|bits|fs.ModeSticky))
		_, err := lab.Eventually(20*time.Second, func() error {
			info, err := os.Lstat(w.At(file))
			if err == nil && info.Mode() != 0o755 {
				err = fmt.Errorf("%s has mode %v", file, info.Mode())
			}
			return err
		})
		w.do(err)
		w.do(errors.Join(w.Writer.PutFile(files[1]), w.Writer.PutFile(files[2])))
	}
	w.Healed()
}

func tryOwner(w *World) {
	owned := func() error {
		return filepath.WalkDir(w.Target.Dir, func(name string, _ fs.DirEntry, err error) error {
			var st unix.Stat_t
			if err != nil || name == w.Target.Dir {
				return err
			}
			if name == w.At(".confsyncd") {
				return fs.SkipDir
			}
			if err := unix.Lstat(name, &st); err != nil {
				return err
			}
			if st.Uid != 65534 || st.Gid != 65533 {
				return fmt.Errorf("%s belongs to %d:%d", name, st.Uid, st.Gid)
			}
			return nil
		})
	}
	for range 3 {
		w.Mixed()
		w.InStep()
		w.do(owned())
		files := w.Files()
		for range 3 {
			w.do(os.Lchown(w.At(w.Writer.Pick(files)), 1234, 1234))
		}
		w.do(os.Lchown(filepath.Dir(w.At(slices.MaxFunc(files, func(a, b string) int { return strings.Count(a, "/") - strings.Count(b, "/") }))), 0, 0))
		w.Healed()
		_, err := lab.Eventually(20*time.Second, owned)
		w.do(err)
	}
	w.Healed()
}

// umask runs the agent with an umask, and looks at what modes come of it.
func (w *World) umask(mask string) {
	w.Helper()
	script := filepath.Join(w.TempDir(), "masked")
	w.do(os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\numask %s\nexec %s \"$@\"\n", mask, w.Lab.Program), 0o755))
	masked := *w.Lab
	masked.Program = script
	w.Target.Lab = &masked
	w.Start()
	for range 5 {
		w.Mixed()
		w.Edit(5)
		w.Healed()
		w.Converge()
	}
	for _, own := range []string{w.At(".confsyncd"), w.own()} {
		info, err := os.Lstat(own)
		w.do(err)
		if info.Mode().Perm() != 0o700 {
			w.wrong("a", "with umask %s %s has mode %v", mask, own, info.Mode())
		}
	}
}

// unchangeable has chattr keep files from being replaced and deleted.
func (w *World) unchangeable(set, unset string) {
	w.Helper()
	w.InStep()
	files := w.Files()
	replaced, deleted := files[0], files[len(files)-1]
	for _, p := range []string{replaced, deleted} {
		w.Command("chattr", set, w.At(p))
	}
	w.Cleanup(func() { _ = unfix(w.Target.Dir, w.own()) }) // In tree mode it lies in an old tree now.
	w.Batch(func() {
		w.do(errors.Join(w.Writer.Remove(deleted), w.Writer.PutFile(files[1]), w.Writer.PutFile(replaced)))
	})
	w.tells("holding", replaced, deleted, "immutable or append-only", "chattr -i -a")
	w.Replace(2)
	w.Edit(2)
	for _, p := range []string{replaced, deleted} {
		w.Command("chattr", unset, w.At(p))
	}
	w.Healed()
	w.Converge()
}

// unfix takes back what chattr did.
func unfix(dirs ...string) error {
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() && !d.Type().IsRegular() {
				return err
			}
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			defer f.Close()
			return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0)
		}))
	}
	return errors.Join(errs...)
}

func tryImmutableDirectory(w *World) {
	files := slices.DeleteFunc(w.Files(), func(p string) bool { return !strings.HasPrefix(p, "d1/f") })
	dir := "d1"
	w.Command("chattr", "+i", w.At(dir))
	w.Cleanup(func() { _ = unfix(w.Target.Dir) })
	w.Batch(func() {
		w.do(errors.Join(w.Writer.PutFile(dir+"/new"), w.Writer.PutFile(files[0]), w.Writer.Remove(files[1])))
	})
	w.tells("holding", dir+"/", "its directory is immutable", "chattr -i -a")
	w.Replace(2)
	w.Command("chattr", "-i", w.At(dir))
	w.Healed()
}

func tryImmutableDrift(w *World) {
	files := w.Files()
	file := files[0]
	w.touches(file)
	w.do(os.WriteFile(w.At(file), []byte("edited and fixed\n"), 0o644))
	w.Command("chattr", "+i", w.At(file))
	w.Cleanup(func() { _ = unfix(w.Target.Dir) })
	w.tells(file, "immutable or append-only", "chattr -i -a")
	end := time.Now().Add(35 * time.Second)
	for time.Now().Before(end) {
		if w.Mode == "files" {
			w.do(w.Writer.PutFile(files[5])) // A whole tree that is built leaves the fixed file behind, in the old one.
		}
		w.shows(file, "chattr -i -a")
		time.Sleep(time.Second)
	}
	w.Command("chattr", "-i", w.At(file))
	w.Healed()
	w.Converge()
	w.mustKeep(1)
}

func tryOldDescriptors(w *World) {
	type held struct {
		*os.File
		was lab.Node
	}
	var all []held
	for _, p := range w.Files() {
		f, err := os.Open(w.At(p))
		w.do(err)
		defer f.Close()
		all = append(all, held{f, w.Writer.Model[p]})
	}
	root, err := os.Open(w.Target.Dir)
	w.do(err)
	defer root.Close()
	for range 10 {
		w.Replace(20)
		w.Mixed()
		w.InStep()
		w.Count("generations", 2)
	}
	for _, h := range all {
		info, err := h.Stat()
		w.do(err)
		b := make([]byte, info.Size()+1)
		n, _ := h.ReadAt(b, 0) // It ends with EOF.
		if string(b[:n]) != h.was.Content {
			w.wrong("a", "%s, open since the beginning, has another content now: %d bytes, were %d", h.Name(), n, len(h.was.Content))
		}
	}
	w.Healed()
}
