package lab

import (
	"context"
	"encoding/base64"
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

// Writer edits a source, and knows what must be in it. It is for one goroutine.
type Writer struct {
	Dir     string
	outside string // where new files are written before they are renamed in
	rng     *rand.Rand
	Ledger  *Ledger
	Model   Tree
	numbers map[string]uint64 // of files and symlinks
	next    uint64
	Edits   int
	Last    time.Time // of the newest edit
	// Kinds makes most edits changes of kind.
	Kinds bool
}

// NewWriter returns a writer for an empty directory that is there.
func NewWriter(dir string, seed uint64) (*Writer, error) {
	w := &Writer{
		Dir: dir, outside: dir + ".outside", rng: rand.New(rand.NewPCG(seed, 1)), Ledger: NewLedger(),
		Model: make(Tree), numbers: make(map[string]uint64),
	}
	return w, os.Mkdir(w.outside, 0o700)
}

// Move tells the writer where its directory lies from now on. New files are written
// beside it first, in a directory of the same name with ".outside" after it.
func (w *Writer) Move(dir string) { w.Dir, w.outside = dir, dir+".outside" }

// Fill makes n files in a few directories.
func (w *Writer) Fill(n int) error {
	for i := range n {
		dir := fmt.Sprintf("d%d", i%7)
		if i%3 == 0 {
			dir += "/sub"
		}
		if err := w.Mkdirs(dir); err != nil {
			return err
		}
		if err := w.Put(fmt.Sprintf("%s/f%03d.conf", dir, i)); err != nil {
			return err
		}
	}
	return nil
}

// Run edits until ctx ends, in bursts and with pauses.
func (w *Writer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := w.Edit(); err != nil {
			return fmt.Errorf("edit %d: %w", w.Edits, err)
		}
		w.Last = time.Now()
		pause := time.Duration(w.rng.IntN(4)) * time.Millisecond
		if w.rng.IntN(40) == 0 {
			pause = time.Duration(w.rng.IntN(120)) * time.Millisecond
		}
		Sleep(ctx, pause)
	}
	return nil
}

// Edit does one Edit of some kind.
func (w *Writer) Edit() error {
	w.Edits++
	files := w.Paths(func(n Node) bool { return n.Mode.Type() != fs.ModeDir })
	dirs := w.Paths(func(n Node) bool { return n.Mode.IsDir() })
	switch n := w.rng.IntN(100); {
	case len(files) < 40 || len(dirs) == 0:
		return w.Grow(dirs)
	case len(w.Model) > 250:
		return w.Remove(w.Pick(files))
	case w.Kinds && n < 70:
		return w.ChangeKind(slices.Concat(files, dirs))
	case n < 60:
		return w.Put(w.Pick(files))
	case n < 68:
		return w.Chmod(w.Pick(files))
	case n < 72:
		return w.Chmod(w.Pick(dirs))
	case n < 78:
		return w.Grow(dirs)
	case n < 84:
		return w.Remove(w.Pick(files))
	case n < 88:
		return w.Remove(w.Pick(dirs))
	case n < 95:
		return w.Rename(w.Pick(files), dirs)
	case n < 98:
		return w.Rename(w.Pick(dirs), dirs)
	}
	return w.ChangeKind(files)
}

// Paths returns the paths of what is of some kind, sorted.
func (w *Writer) Paths(is func(Node) bool) []string {
	var found []string
	for _, p := range slices.Sorted(maps.Keys(w.Model)) {
		if is(w.Model[p]) {
			found = append(found, p)
		}
	}
	return found
}

// Pick returns one of the paths at random.
func (w *Writer) Pick(paths []string) string { return paths[w.rng.IntN(len(paths))] }

// newPath returns a new path in one of the directories, or in the root.
func (w *Writer) newPath(dirs []string) string {
	w.next++
	name := fmt.Sprintf("n%d", w.next)
	if len(dirs) == 0 || w.rng.IntN(5) == 0 {
		return name
	}
	dir := w.Pick(dirs)
	if strings.Count(dir, "/") > 4 {
		return name
	}
	return dir + "/" + name
}

// Grow makes a directory with a few files, or a file.
func (w *Writer) Grow(dirs []string) error {
	at := w.newPath(dirs)
	if w.rng.IntN(2) == 0 {
		return w.Put(at)
	}
	if err := w.Mkdirs(at); err != nil {
		return err
	}
	for i := range 1 + w.rng.IntN(4) {
		if err := w.Put(fmt.Sprintf("%s/m%d", at, i)); err != nil {
			return err
		}
	}
	return nil
}

// Name returns where a path lies.
func (w *Writer) Name(p string) string { return filepath.Join(w.Dir, p) }

// Mkdirs makes a directory and its parents.
func (w *Writer) Mkdirs(p string) error {
	if p == "." {
		return nil
	}
	if _, ok := w.Model[p]; ok {
		return nil
	}
	if err := w.Mkdirs(path.Dir(p)); err != nil {
		return err
	}
	w.Model[p] = Node{Mode: fs.ModeDir | 0o755}
	if err := os.Mkdir(w.Name(p), 0o755); err != nil {
		return err
	}
	return os.Chmod(w.Name(p), 0o755)
}

// Put replaces a file atomically by a new version, or now and then by a symlink.
func (w *Writer) Put(p string) error {
	if w.rng.IntN(25) == 0 {
		return w.Link(p)
	}
	mode := w.fileMode()
	filling := 100 + w.rng.IntN(4000)
	if w.rng.IntN(40) == 0 {
		filling = 100_000
	}
	return w.Write(p, mode, filling)
}

// Add makes a file, or replaces it atomically, with a content that tells no number: the
// Ledger allows it there.
func (w *Writer) Add(p string, mode fs.FileMode, content string) error {
	w.Ledger.Allow(p, uint32(mode.Perm()), content)
	w.Model[p] = Node{Mode: mode, Content: content}
	return w.place(p, uint32(mode.Perm()), content)
}

// PutFile is Put that never makes a symlink.
func (w *Writer) PutFile(p string) error { return w.Write(p, w.fileMode(), 100+w.rng.IntN(4000)) }

// Write replaces a file atomically by a new version of a few bytes more than filling.
func (w *Writer) Write(p string, mode uint32, filling int) error {
	if err := w.vacate(p); err != nil {
		return err
	}
	return w.place(p, mode, w.Version(p, mode, filling))
}

// Version returns a new content for a file, which counts as written from now on: the
// caller writes it, in a way of its own.
func (w *Writer) Version(p string, mode uint32, filling int) string {
	number := w.number(p)
	return w.note(p, number, mode, Compose(number, p, mode, filling))
}

// Large replaces a file atomically by a new version of a size that hardly compresses.
func (w *Writer) Large(p string, size int) error {
	if err := w.vacate(p); err != nil {
		return err
	}
	noise := make([]byte, size*3/4)
	for i := range noise {
		noise[i] = byte(w.rng.Uint32())
	}
	number, mode := w.number(p), w.fileMode()
	return w.place(p, mode, w.note(p, number, mode, compose(number, p, mode, base64.StdEncoding.EncodeToString(noise))))
}

// vacate removes a directory where a file is to be written: an edit before may have made
// one there.
func (w *Writer) vacate(p string) error {
	if !w.Model[p].Mode.IsDir() {
		return nil
	}
	return w.Remove(p)
}

// note notes that a path has a version from now on, and returns its content.
func (w *Writer) note(p string, number uint64, mode uint32, content string) string {
	w.Ledger.Mode(number, mode)
	w.Model[p] = Node{Mode: fs.FileMode(mode), Content: content}
	return content
}

func (w *Writer) place(p string, mode uint32, content string) error {
	if err := os.WriteFile(w.fresh(), []byte(content), 0o600); err != nil {
		return err
	}
	if err := os.Chmod(w.fresh(), fs.FileMode(mode)); err != nil {
		return err
	}
	return os.Rename(w.fresh(), w.Name(p))
}

// Link replaces a file atomically by a new symlink.
func (w *Writer) Link(p string) error {
	to := fmt.Sprint(linkPrefix, w.number(p))
	if err := os.Symlink(to, w.fresh()); err != nil {
		return err
	}
	w.Model[p] = Node{Mode: fs.ModeSymlink, Content: to}
	return os.Rename(w.fresh(), w.Name(p))
}

// number gives a path's new version its number.
func (w *Writer) number(p string) uint64 {
	w.next++
	w.Ledger.Path(w.next, p)
	w.numbers[p] = w.next
	return w.next
}

// fresh is where a new version is written before it is renamed in.
func (w *Writer) fresh() string { return filepath.Join(w.outside, "new") }

func (w *Writer) fileMode() uint32 {
	return []uint32{0o644, 0o600, 0o640, 0o755}[w.rng.IntN(4)]
}

// Chmod changes the mode of a file or directory in place.
func (w *Writer) Chmod(p string) error {
	switch w.Model[p].Mode.Type() {
	case fs.ModeSymlink:
		return nil
	case fs.ModeDir:
		return w.ChmodTo(p, []fs.FileMode{0o755, 0o700, 0o750}[w.rng.IntN(3)])
	}
	return w.ChmodTo(p, fs.FileMode(w.fileMode()))
}

// ChmodTo gives a file or directory a mode in place.
func (w *Writer) ChmodTo(p string, mode fs.FileMode) error {
	n := w.Model[p]
	if n.Mode.IsRegular() {
		w.Ledger.Mode(w.numbers[p], uint32(mode))
	}
	n.Mode = n.Mode.Type() | mode
	w.Model[p] = n
	return os.Chmod(w.Name(p), mode)
}

// AllowMode notes that a path is about to get a mode that no Edit gives it.
func (w *Writer) AllowMode(p string, mode fs.FileMode) {
	n := w.Model[p]
	n.Mode = mode
	w.Model[p] = n
	if !mode.IsDir() {
		w.Ledger.Mode(w.numbers[p], uint32(mode.Perm()))
	}
}

// Remove removes a file, or a directory with all in it, piece by piece.
func (w *Writer) Remove(p string) error {
	for _, at := range w.Paths(func(Node) bool { return true }) {
		if at == p || strings.HasPrefix(at, p+"/") {
			delete(w.Model, at)
			delete(w.numbers, at)
		}
	}
	return os.RemoveAll(w.Name(p))
}

// Rename moves a file or a directory to a new path, or a file over another.
func (w *Writer) Rename(from string, dirs []string) error {
	return w.RenameTo(from, w.newPath(dirs))
}

// RenameTo moves a file or a directory, not into itself.
func (w *Writer) RenameTo(from, to string) error {
	if to == from || strings.HasPrefix(to, from+"/") {
		return nil
	}
	for _, at := range w.Paths(func(Node) bool { return true }) {
		rest, ok := strings.CutPrefix(at, from)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		w.Model[to+rest] = w.Model[at]
		delete(w.Model, at)
		if number, ok := w.numbers[at]; ok {
			w.Ledger.Path(number, to+rest)
			w.numbers[to+rest] = number
			delete(w.numbers, at)
		}
	}
	return os.Rename(w.Name(from), w.Name(to))
}

// ChangeKind makes a file a directory with files in it, or a directory a file.
func (w *Writer) ChangeKind(paths []string) error {
	p := w.Pick(paths)
	was := w.Model[p].Mode.IsDir()
	if err := w.Remove(p); err != nil {
		return err
	}
	if was {
		return w.Put(p)
	}
	if strings.Count(p, "/") > 4 {
		return w.Put(p)
	}
	if err := w.Mkdirs(p); err != nil {
		return err
	}
	for i := range w.rng.IntN(3) {
		if err := w.Put(fmt.Sprintf("%s/k%d", p, i)); err != nil {
			return err
		}
	}
	return nil
}

// Draw returns a number from 0 to n-1, from the seed that edits are drawn from.
func (w *Writer) Draw(n int) int { return w.rng.IntN(n) }
