//go:build !lean

package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/devetcd"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/store"
)

// generation is what a commit is to hold: a line for each path, with kind, mode and content.
type generation struct {
	have store.Have
	want map[string]string
}

// model is a tenant whose history is known, in an etcd that is taken back now and then.
type model struct {
	*place
	rng      *rand.Rand
	server   *devetcd.Server
	dir      string
	history  map[uint64]generation // that etcd holds
	past     []generation          // that it ever held
	contents []string              // that any file ever had
	before   map[string]string     // what a path had before
	backup   string
	saved    map[uint64]generation // in the backup
	staged   *store.Keyframe

	foundings, keyframes, rewinds, rollbacks int
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{rng: rand.New(rand.NewPCG(seed, 1)), dir: t.TempDir(), history: make(map[uint64]generation), contents: []string{""}, before: make(map[string]string)}
	m.start(t, devetcdtest.Address())
	t.Cleanup(func() {
		if m.server != nil {
			m.server.Close()
		}
	})
	m.place = newPlaceAt(t, m.server.Endpoint())
	m.options.Allow = publisher.Allow{Delete: true}
	return m
}

func (m *model) start(t *testing.T, address string) {
	t.Helper()
	s, err := devetcd.Start(t.Context(), devetcd.Options{Dir: m.dir, Address: address, NoFsync: true, Log: hclog.NewNullLogger()})
	if err != nil {
		t.Fatal(err)
	}
	m.server = s
}

func (m *model) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

// swap stops etcd, has its data changed, and starts it again.
func (m *model) swap(change func() error) {
	m.Helper()
	address := strings.TrimPrefix(m.server.Endpoint(), "http://")
	m.server.Close()
	m.server = nil
	err := change()
	m.start(m.T, address)
	m.must(err)
	m.view()
}

// view returns the head, once etcd answers.
func (m *model) view() (v store.View) {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Context(), time.Minute)
	defer cancel()
	m.must(m.store.WithHead(ctx, func(now store.View) error {
		v = now
		return now.Err
	}))
	return v
}

func (m *model) save() {
	m.backup = filepath.Join(m.TempDir(), "backup")
	m.swap(func() error { return os.CopyFS(m.backup, os.DirFS(m.dir)) })
	m.saved = maps.Clone(m.history)
}

func (m *model) restore() {
	if m.saved == nil {
		return
	}
	m.rewinds++
	m.swap(func() error {
		if err := os.RemoveAll(m.dir); err != nil {
			return err
		}
		return os.CopyFS(m.dir, os.DirFS(m.backup))
	})
	m.history = maps.Clone(m.saved)
}

// line says what an entry is.
func line(kind diff.Kind, mode uint32, content string) string {
	return fmt.Sprintf("%v %o %s", kind, mode, content)
}

// walk returns what the directory holds, and its files.
func (m *model) walk() (want map[string]string, files []string) {
	m.Helper()
	want = make(map[string]string)
	root := m.options.Dir
	m.must(filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		path, mode := name[len(root)+1:], uint32(info.Mode().Perm())
		switch {
		case d.IsDir():
			want[path] = line(diff.Directory, mode, "")
		case d.Type() == fs.ModeSymlink:
			to, err := os.Readlink(name)
			want[path], files = line(diff.Symlink, 0, to), append(files, path)
			return err
		default:
			b, err := os.ReadFile(name)
			want[path], files = line(diff.File, mode, string(b)), append(files, path)
			return err
		}
		return nil
	}))
	return want, files
}

// edit makes one random edit.
func (m *model) edit() {
	m.Helper()
	_, files := m.walk()
	at := func(path string) string { return filepath.Join(m.options.Dir, path) }
	fresh := fmt.Sprintf("%c/%c/%d", 'a'+m.rng.IntN(3), 'a'+m.rng.IntN(3), m.rng.IntN(30))
	if _, err := os.Lstat(at(fresh)); err == nil {
		return
	}
	put := func(path, content string) {
		m.contents = append(m.contents, content)
		m.write(path, content)
	}
	if len(files) < 3 || m.rng.IntN(8) == 0 {
		put(fresh, text([]int{0, 1, 50, 300, 5000, 20000, 90000}[m.rng.IntN(7)], m.rng.Uint64N(1000)))
		return
	}
	path := files[m.rng.IntN(len(files))]
	b, err := os.ReadFile(at(path))
	if err != nil {
		m.remove(path) // a symlink to nowhere
		return
	}
	old := string(b)
	if before, ok := m.before[path]; ok && m.rng.IntN(4) == 0 {
		put(path, before)
		m.before[path] = old
		return
	}
	switch m.rng.IntN(10) {
	case 0, 1, 2: // a line
		m.before[path] = old
		i := m.rng.IntN(len(old) + 1)
		put(path, old[:i]+fmt.Sprintf("edit %d\n", m.rng.IntN(1000))+old[i:])
	case 3: // what some file once was
		put(path, m.contents[m.rng.IntN(len(m.contents))])
	case 4: // moved, and edited now and then
		m.must(os.MkdirAll(filepath.Dir(at(fresh)), 0o755))
		m.must(os.Rename(at(path), at(fresh)))
		if m.rng.IntN(2) == 0 {
			put(fresh, old+"moved\n")
		}
	case 5:
		put(fresh, old)
	case 6: // a symlink of the same bytes
		m.remove(path)
		if len(old) > 0 && len(old) < 400 {
			m.must(os.Symlink(old, at(path)))
		}
	case 7: // a directory
		m.remove(path)
		put(path+"/"+fmt.Sprint(m.rng.IntN(3)), old)
	case 8:
		m.must(os.Chmod(at(path), 0o600|fs.FileMode(m.rng.IntN(64))))
	case 9: // two files change places
		other := files[m.rng.IntN(len(files))]
		if b, err := os.ReadFile(at(other)); err == nil && other != path {
			put(path, string(b))
			put(other, old)
		}
	}
}

// commit pushes, and notes what the head is to be.
func (m *model) commit() {
	m.Helper()
	var po publisher.PushOptions
	if head := m.view().Head; head != nil && head.Rollback > 0 {
		po.Parent = &head.Position.Generation // Else it would not be undone.
	}
	c, err := m.push(m.options, po)
	m.must(err)
	if c == nil {
		return
	}
	if c.Founding {
		m.foundings++
	}
	v, err := m.store.Resolve(m.Context(), store.Have{}, m.view())
	m.must(err)
	want, _ := m.walk()
	g := generation{store.Have{Position: c.Position, Tree: v.Tree}, want}
	m.history[c.Position.Generation] = g
	m.past = append(m.past, g)
}

// rollback makes the tree of any generation the newest again.
func (m *model) rollback() {
	m.Helper()
	if len(m.history) == 0 {
		return
	}
	generations := slices.Sorted(maps.Keys(m.history))
	to := m.history[generations[m.rng.IntN(len(generations))]]
	c, err := publisher.Rollback(m.Context(), publisher.RollbackOptions{
		Store: m.store, Tenant: m.options.Tenant, Generation: to.have.Position.Generation, Allow: publisher.Allow{Delete: true},
	})
	m.must(err)
	if c == nil {
		return
	}
	m.rollbacks++
	g := generation{store.Have{Position: c.Position, Tree: to.have.Tree}, to.want}
	m.history[c.Position.Generation] = g
	m.past = append(m.past, g)
	m.check(false)
}

// keyframe stages a keyframe, or has the head name the one that was staged, if the
// publisher stands on it.
func (m *model) keyframe() {
	m.Helper()
	view := m.view()
	if view.Head == nil || len(m.past) == 0 || view.Head.Position != m.past[len(m.past)-1].have.Position {
		return
	}
	var err error
	if m.staged == nil {
		m.staged, err = m.store.StageKeyframe(m.Context(), view, m.held())
		m.must(err)
		return
	}
	if _, err := m.store.PublishKeyframe(m.Context(), view.Head, m.staged); err == nil {
		m.keyframes++
	} else if !errors.Is(err, store.ErrLostRace) {
		m.Fatal(err)
	}
	m.staged = nil
}

// held returns what somebody holds: nothing, some contents, or others than it says.
func (m *model) held() func(diff.Hash) []byte {
	share := m.rng.IntN(3)
	if share == 0 {
		return nil
	}
	by := make(map[diff.Hash][]byte)
	for _, c := range m.contents {
		switch {
		case m.rng.IntN(8) == 0:
			by[diff.Sum([]byte(c))] = []byte("damaged " + c)
		case m.rng.IntN(2) == 0:
			by[diff.Sum([]byte(c))] = []byte(c)
		}
	}
	return func(h diff.Hash) []byte { return by[h] }
}

// disturb does something to what patches of the next commits apply to.
func (m *model) disturb() {
	found, err := filepath.Glob(filepath.Join(m.options.StateDir, "sources", "*", "bases", "*"))
	m.must(err)
	for _, name := range found {
		switch m.rng.IntN(4) {
		case 0:
			m.must(os.Remove(name))
		case 1:
			m.must(os.WriteFile(name, []byte("damaged"), 0o600))
		}
	}
}

// holds fails the test unless a version is what it is to be.
func (m *model) holds(what string, v *store.Version, want map[string]string) {
	m.Helper()
	contents := make(map[diff.Hash]string)
	var wanted []diff.Entry
	for _, e := range v.Tree.All() {
		if e.HasContent() {
			wanted = append(wanted, e)
		}
	}
	m.rng.Shuffle(len(wanted), func(i, j int) { wanted[i], wanted[j] = wanted[j], wanted[i] })
	wanted = wanted[:len(wanted)-m.rng.IntN(2)*len(wanted)/2]
	err := v.Fetch(m.Context(), wanted, m.held(), func(e diff.Entry, b []byte) error {
		contents[e.Hash] = string(b)
		return nil
	})
	if err != nil {
		m.Fatalf("%s: %v", what, err)
	}
	n := 0
	for path, e := range v.Tree.All() {
		n++
		got, fetched := contents[e.Hash]
		if e.HasContent() && !fetched {
			got = strings.SplitN(want[path]+"  ", " ", 3)[2]
			got = got[:max(0, len(got)-2)]
			if diff.Sum([]byte(got)) != e.Hash {
				m.Fatalf("%s: %q is another content", what, path)
			}
		}
		if got := line(e.Kind, e.Mode, got); got != want[path] {
			m.Fatalf("%s: %q is %.60q, want %.60q", what, path, got, want[path])
		}
	}
	if n != len(want) {
		m.Fatalf("%s: %d paths, want %d", what, n, len(want))
	}
}

// check reads generations, and the head as hosts do that have older ones.
func (m *model) check(every bool) {
	m.Helper()
	view := m.view()
	if view.Head == nil {
		return
	}
	head := view.Head.Position
	now, ok := m.history[head.Generation]
	if !ok || now.have.Position != head {
		m.Fatalf("the head is %v", head)
	}
	for _, at := range slices.Sorted(maps.Keys(m.history)) {
		if !every && m.rng.IntN(len(m.history)) > 2 {
			continue
		}
		v, err := m.store.At(m.Context(), view, at)
		if err != nil {
			m.Fatalf("generation %d of %d: %v", at, head.Generation, err)
		}
		m.holds(fmt.Sprintf("generation %d of %d", at, head.Generation), v, m.history[at].want)
	}
	for _, g := range m.past {
		if !every && m.rng.IntN(len(m.past)) > 2 {
			continue
		}
		at := g.have.Position
		v, err := m.store.Resolve(m.Context(), g.have, view)
		lost := at.Generation >= view.Head.Founding && m.history[at.Generation].have.Position != at
		switch {
		case lost && errors.Is(err, store.ErrRewound):
		case lost, err != nil:
			m.Fatalf("from generation %d to %d, founded at %d, lost %v: %v", at.Generation, head.Generation, view.Head.Founding, lost, err)
		default:
			m.holds(fmt.Sprintf("from generation %d to %d", at.Generation, head.Generation), v, now.want)
		}
	}
	if every || m.rng.IntN(5) == 0 {
		_, err := m.store.Verify(m.Context(), view, store.VerifyOptions{
			Wrong:    func(err error) { m.Errorf("generation %d: verify: %v", head.Generation, err) },
			Progress: func(string, int, int) {},
		})
		m.must(err)
	}
}

// Whatever is edited, wherever keyframes are made, and however often etcd is taken back,
// each generation that it holds is what was committed. MODEL_SEED names another history.
func TestHistoryIsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	seeds := []uint64{1, 3}
	if s, err := strconv.ParseUint(os.Getenv("MODEL_SEED"), 10, 64); err == nil {
		seeds = []uint64{s}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			newModel(t, seed).live()
		})
	}
}

// live makes a history, and checks it after each commit.
func (m *model) live() {
	m.Helper()
	for range 120 {
		for range 1 + m.rng.IntN(4) {
			m.edit()
		}
		switch n := m.rng.IntN(40); {
		case n < 4:
			m.keyframe()
		case n < 20:
			m.disturb()
		case n < 23:
			m.save()
		case n < 25:
			m.restore()
		case n == 25: // the head stays, and what was staged for it is lost
			m.save()
			m.keyframe()
			m.restore()
		case n < 30:
			m.rollback()
			if m.rng.IntN(2) == 0 {
				m.keyframe()
			}
		}
		m.commit()
		if m.rng.IntN(10) == 0 {
			m.keyframe()
		}
		m.check(false)
	}
	m.check(true)
	m.Logf("%d commits, of them %d foundings and %d rollbacks, %d keyframes, %d rewinds", len(m.past), m.foundings, m.rollbacks, m.keyframes, m.rewinds)
}
