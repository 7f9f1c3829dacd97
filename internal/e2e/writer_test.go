//go:build !lean

package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// writer edits a source, and knows what must be in it. It is for one goroutine.
type writer struct {
	dir     string
	outside string // where new files are written before they are renamed in
	rng     *rand.Rand
	ledger  *ledger
	model   tree
	numbers map[string]uint64 // of files and symlinks
	next    uint64
	edits   int
	last    time.Time // of the newest edit
	// kinds makes most edits changes of kind.
	kinds bool
}

func newWriter(dir string, seed uint64) (*writer, error) {
	w := &writer{
		dir: dir, outside: dir + ".outside", rng: rand.New(rand.NewPCG(seed, 1)), ledger: newLedger(),
		model: make(tree), numbers: make(map[string]uint64),
	}
	return w, os.Mkdir(w.outside, 0o700)
}

// fill makes n files in a few directories.
func (w *writer) fill(n int) error {
	for i := range n {
		dir := fmt.Sprintf("d%d", i%7)
		if i%3 == 0 {
			dir += "/sub"
		}
		if err := w.mkdirs(dir); err != nil {
			return err
		}
		if err := w.put(fmt.Sprintf("%s/f%03d.conf", dir, i)); err != nil {
			return err
		}
	}
	return nil
}

// run edits until ctx ends, in bursts and with pauses.
func (w *writer) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := w.edit(); err != nil {
			return fmt.Errorf("edit %d: %w", w.edits, err)
		}
		w.last = time.Now()
		pause := time.Duration(w.rng.IntN(4)) * time.Millisecond
		if w.rng.IntN(40) == 0 {
			pause = time.Duration(w.rng.IntN(120)) * time.Millisecond
		}
		sleep(ctx, pause)
	}
	return nil
}

// edit does one edit of some kind.
func (w *writer) edit() error {
	w.edits++
	files := w.paths(func(n node) bool { return n.mode.Type() != fs.ModeDir })
	dirs := w.paths(func(n node) bool { return n.mode.IsDir() })
	switch n := w.rng.IntN(100); {
	case len(files) < 40 || len(dirs) == 0:
		return w.grow(dirs)
	case len(w.model) > 250:
		return w.remove(w.pick(files))
	case w.kinds && n < 70:
		return w.changeKind(slices.Concat(files, dirs))
	case n < 60:
		return w.put(w.pick(files))
	case n < 68:
		return w.chmod(w.pick(files))
	case n < 72:
		return w.chmod(w.pick(dirs))
	case n < 78:
		return w.grow(dirs)
	case n < 84:
		return w.remove(w.pick(files))
	case n < 88:
		return w.remove(w.pick(dirs))
	case n < 95:
		return w.rename(w.pick(files), dirs)
	case n < 98:
		return w.rename(w.pick(dirs), dirs)
	}
	return w.changeKind(files)
}

func (w *writer) paths(is func(node) bool) []string {
	var found []string
	for _, p := range slices.Sorted(maps.Keys(w.model)) {
		if is(w.model[p]) {
			found = append(found, p)
		}
	}
	return found
}

func (w *writer) pick(paths []string) string { return paths[w.rng.IntN(len(paths))] }

// fresh returns a new path in one of the directories, or in the root.
func (w *writer) fresh(dirs []string) string {
	w.next++
	name := fmt.Sprintf("n%d", w.next)
	if len(dirs) == 0 || w.rng.IntN(5) == 0 {
		return name
	}
	dir := w.pick(dirs)
	if strings.Count(dir, "/") > 4 {
		return name
	}
	return dir + "/" + name
}

// grow makes a directory with a few files, or a file.
func (w *writer) grow(dirs []string) error {
	at := w.fresh(dirs)
	if w.rng.IntN(2) == 0 {
		return w.put(at)
	}
	if err := w.mkdirs(at); err != nil {
		return err
	}
	for i := range 1 + w.rng.IntN(4) {
		if err := w.put(fmt.Sprintf("%s/m%d", at, i)); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) name(p string) string { return filepath.Join(w.dir, p) }

func (w *writer) mkdirs(p string) error {
	if p == "." {
		return nil
	}
	if _, ok := w.model[p]; ok {
		return nil
	}
	if err := w.mkdirs(path.Dir(p)); err != nil {
		return err
	}
	w.model[p] = node{mode: fs.ModeDir | 0o755}
	if err := os.Mkdir(w.name(p), 0o755); err != nil {
		return err
	}
	return os.Chmod(w.name(p), 0o755)
}

// put replaces a file atomically by a new version, or now and then by a symlink.
func (w *writer) put(p string) error {
	w.next++
	number := w.next
	outside := filepath.Join(w.outside, "new")
	if w.rng.IntN(25) == 0 {
		to := fmt.Sprint(linkPrefix, number)
		if err := os.Symlink(to, outside); err != nil {
			return err
		}
		w.model[p] = node{mode: fs.ModeSymlink, content: to}
	} else {
		mode := w.fileMode()
		filling := 100 + w.rng.IntN(4000)
		if w.rng.IntN(40) == 0 {
			filling = 100_000
		}
		content := compose(number, p, mode, filling)
		if err := os.WriteFile(outside, []byte(content), 0o600); err != nil {
			return err
		}
		if err := os.Chmod(outside, fs.FileMode(mode)); err != nil {
			return err
		}
		w.ledger.mode(number, mode)
		w.model[p] = node{mode: fs.FileMode(mode), content: content}
	}
	w.ledger.path(number, p)
	w.numbers[p] = number
	return os.Rename(outside, w.name(p))
}

func (w *writer) fileMode() uint32 {
	return []uint32{0o644, 0o600, 0o640, 0o755}[w.rng.IntN(4)]
}

// chmod changes the mode of a file or directory in place.
func (w *writer) chmod(p string) error {
	n := w.model[p]
	switch n.mode.Type() {
	case fs.ModeSymlink:
		return nil
	case fs.ModeDir:
		n.mode = fs.ModeDir | []fs.FileMode{0o755, 0o700, 0o750}[w.rng.IntN(3)]
	default:
		mode := w.fileMode()
		w.ledger.mode(w.numbers[p], mode)
		n.mode = fs.FileMode(mode)
	}
	w.model[p] = n
	return os.Chmod(w.name(p), n.mode.Perm())
}

// remove removes a file, or a directory with all in it, piece by piece.
func (w *writer) remove(p string) error {
	for _, at := range w.paths(func(node) bool { return true }) {
		if at == p || strings.HasPrefix(at, p+"/") {
			delete(w.model, at)
			delete(w.numbers, at)
		}
	}
	return os.RemoveAll(w.name(p))
}

// rename moves a file or a directory to a new path, or a file over another.
func (w *writer) rename(from string, dirs []string) error {
	to := w.fresh(dirs)
	if to == from || strings.HasPrefix(to, from+"/") {
		return nil
	}
	for _, at := range w.paths(func(node) bool { return true }) {
		rest, ok := strings.CutPrefix(at, from)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		w.model[to+rest] = w.model[at]
		delete(w.model, at)
		if number, ok := w.numbers[at]; ok {
			w.ledger.path(number, to+rest)
			w.numbers[to+rest] = number
			delete(w.numbers, at)
		}
	}
	return os.Rename(w.name(from), w.name(to))
}

// changeKind makes a file a directory with files in it, or a directory a file.
func (w *writer) changeKind(paths []string) error {
	p := w.pick(paths)
	was := w.model[p].mode.IsDir()
	if err := w.remove(p); err != nil {
		return err
	}
	if was {
		return w.put(p)
	}
	if strings.Count(p, "/") > 4 {
		return w.put(p)
	}
	if err := w.mkdirs(p); err != nil {
		return err
	}
	for i := range w.rng.IntN(3) {
		if err := w.put(fmt.Sprintf("%s/k%d", p, i)); err != nil {
			return err
		}
	}
	return nil
}
