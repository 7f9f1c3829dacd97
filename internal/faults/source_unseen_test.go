//go:build faults

package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// unseenCases are edits that raise no event, or leave what is looked at as it was.
func unseenCases() []Case {
	return []Case{
		{
			Name:  "same size, same mtime",
			How:   "100 times a file is written in place with as many bytes, and its mtime set back (touch -r)",
			Modes: []string{"files"},
			Try: func(w *World) {
				w.sameSize(100, func(name string, was os.FileInfo) error { return os.Chtimes(name, was.ModTime(), was.ModTime()) })
			},
		},
		{
			Name:  "twice within one tick of the clock",
			How:   "100 times a file is written in place with as many bytes, twice without a pause",
			Modes: []string{"files"},
			Try: func(w *World) {
				w.sameSize(100, func(name string, _ os.FileInfo) error {
					w.number++
					content := w.fixed("same.conf")
					f, err := os.OpenFile(name, os.O_WRONLY, 0)
					if err != nil {
						return err
					}
					_, err = f.WriteString(content)
					return errors.Join(err, f.Close())
				})
			},
		},
		{
			Name:  "written through a mapping",
			How:   "on tmpfs: mmap(MAP_SHARED) of a file, written, msync, munmap, which raises no event; found on USR1, else by the rescan a minute later, since this kernel stamps the first write to a page",
			Modes: []string{"files"},
			Needs: Needs{Mounts: true},
			Setup: Setup{Empty: true},
			Try: func(w *World) {
				w.Onto("tmpfs", "")
				w.mapped()
			},
		},
		{
			Name:  "written through a mapping, on a disk",
			How:   "the same where the source lies on the disk of the tests",
			Modes: []string{"files"},
			Setup: Setup{Empty: true},
			Try:   func(w *World) { w.mapped() },
		},
		{
			Name:  "written through a hard link outside",
			How:   "a file of the source linked outside of it and written in place there, which raises no event; found on USR1, else by the rescan a minute later",
			Modes: []string{"files"},
			Try: func(w *World) {
				for i := range 5 {
					p := fmt.Sprintf("linked%d.conf", i)
					w.Overwrite(p, 300)
					w.Arrives(p)
					outside := filepath.Join(w.Writer.Dir+".outside", "link")
					w.do(os.Link(w.Writer.Name(p), outside))
					w.Equal(20 * time.Second)
					content := w.Writer.Version(p, 0o644, 300+i)
					w.do(os.WriteFile(outside, []byte(content), 0o644))
					w.do(os.Remove(outside))
					w.Rehash()
					w.Arrives(p)
					w.Count("faults", 1)
				}
				w.Healed()
			},
		},
	}
}

// fixed returns a new content that always has the same size.
func (w *World) fixed(path string) string {
	content := fmt.Sprintf("version = %08d\n%s", w.number, strings.Repeat("filling\n", 100))
	w.Writer.Ledger.Allow(path, 0o644, content)
	return content
}

// sameSize writes a file in place again and again, with its size unchanged.
func (w *World) sameSize(times int, then func(name string, was os.FileInfo) error) {
	w.Helper()
	w.AsFound()
	name := w.Writer.Name("same.conf")
	w.do(os.WriteFile(name, []byte(w.fixed("same.conf")), 0o644))
	for i := range times {
		if i%4 == 0 {
			w.Arrives("same.conf") // What is written next is the only news.
		}
		was, err := os.Stat(name)
		w.do(err)
		w.number++
		content := w.fixed("same.conf")
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		w.do(err)
		_, err = f.WriteString(content)
		w.do(errors.Join(err, f.Close(), then(name, was)))
		time.Sleep(time.Duration(w.Writer.Draw(15)) * time.Millisecond)
		w.Count("faults", 1)
	}
	w.Arrives("same.conf")
	w.Healed()
}

// mapped starts all, and writes through mappings.
func (w *World) mapped() {
	w.Helper()
	w.AsFound()
	name := w.Writer.Name("mapped.conf")
	w.do(os.WriteFile(name, []byte(w.fixed("mapped.conf")), 0o644))
	w.Start()
	for range 5 {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		w.do(err)
		info, err := f.Stat()
		w.do(err)
		page, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		w.do(errors.Join(err, f.Close()))
		w.number++
		copy(page, w.fixed("mapped.conf"))
		w.do(errors.Join(unix.Msync(page, unix.MS_SYNC), unix.Munmap(page)))
		w.Rehash()
		w.Arrives("mapped.conf")
		w.Count("faults", 1)
	}
	w.Healed()
}
