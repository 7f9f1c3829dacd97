package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

var meta = Meta{Tenant: "prod", Prefix: "/confsyncd", Selection: "all", Instance: "x", UID: -1, GID: 7}

func file(content string) diff.Entry {
	return diff.Entry{Kind: diff.File, Mode: 0o644, Size: int64(len(content)), Hash: diff.Sum([]byte(content))}
}

var directory = diff.Entry{Kind: diff.Directory, Mode: 0o755}

func tree(t testing.TB, entries map[string]diff.Entry) diff.Tree {
	t.Helper()
	var changes []diff.Change
	for p, e := range entries {
		changes = append(changes, diff.Change{Path: p, New: e})
	}
	out, err := diff.Tree{}.With(changes)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func at(generation uint64) diff.Position {
	return diff.Position{Tenant: diff.TenantID{1}, Generation: generation, Commit: diff.Sum(fmt.Append(nil, generation))}
}

func root(t testing.TB) *os.Root {
	t.Helper()
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return dir
}

func create(t testing.TB, dir *os.Root, s State) *Journal {
	t.Helper()
	j, err := Create(dir, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func step(generation uint64, path string, old, entry diff.Entry) Pending {
	c := []diff.Change{{Path: path, Old: old, New: entry}}
	return Pending{Meta: meta, Position: at(generation), Changes: c, AllChanges: c}
}

func same(t *testing.T, got, want State) {
	t.Helper()
	if got.Managed.Digest() != want.Managed.Digest() || got.All.Digest() != want.All.Digest() {
		t.Errorf("trees differ: managed %d and %d entries, all %d and %d",
			got.Managed.Len(), want.Managed.Len(), got.All.Len(), want.All.Len())
	}
	got.Managed, got.All, want.Managed, want.All = diff.Tree{}, diff.Tree{}, diff.Tree{}, diff.Tree{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestJournal(t *testing.T) {
	dir := root(t)
	if _, _, err := Read(dir); !errors.Is(err, ErrNone) {
		t.Fatalf("Read without a journal: %v", err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrNone) {
		t.Fatalf("Open without a journal: %v", err)
	}
	j := create(t, dir, State{Meta: meta})
	if err := j.At(); !errors.Is(err, ErrPending) {
		t.Fatalf("At without Next: %v", err)
	}
	all := []diff.Change{{Path: "in", New: file("in")}, {Path: "out", New: file("out")}}
	p := Pending{Meta: meta, Position: at(1), Changes: all[:1], AllChanges: all}
	if err := j.Next(p); err != nil {
		t.Fatal(err)
	}
	if err := j.Next(p); !errors.Is(err, ErrPending) {
		t.Fatalf("Next twice: %v", err)
	}
	s, pending, err := Read(dir)
	if err != nil || pending == nil || !reflect.DeepEqual(*pending, p) {
		t.Fatalf("Read: %+v %v", pending, err)
	}
	same(t, s, State{Meta: meta})
	if err := j.At("in"); err != nil {
		t.Fatal(err)
	}
	want := State{
		Meta: meta, Position: at(1), Suspect: []string{"in"},
		Managed: tree(t, map[string]diff.Entry{"in": file("in")}),
		All:     tree(t, map[string]diff.Entry{"in": file("in"), "out": file("out")}),
	}
	same(t, j.State(), want)

	other := meta
	other.Selection = "other"
	leave := Pending{Meta: other, Position: at(1), Leave: []string{"in"}, Changes: []diff.Change{{Path: "out", New: file("out")}}}
	if err := j.Advance(leave); err != nil {
		t.Fatal(err)
	}
	want = State{
		Meta: other, Position: at(1), Left: []string{"in"},
		Managed: tree(t, map[string]diff.Entry{"out": file("out")}), All: want.All,
	}
	same(t, j.State(), want)
	s, pending, err = Read(dir)
	if err != nil || pending != nil {
		t.Fatalf("Read: %+v %v", pending, err)
	}
	same(t, s, want)

	both := Pending{Meta: other, Position: at(2), Changes: []diff.Change{{Path: "in", New: file("in")}}}
	if err := j.Advance(both); err != nil {
		t.Fatal(err)
	}
	if left := j.State().Left; len(left) != 0 {
		t.Errorf("managed again, but still left: %q", left)
	}
	s, _, err = Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	same(t, s, j.State())
}

func TestNext(t *testing.T) {
	foreign := at(1)
	foreign.Tenant = diff.TenantID{2}
	fork := at(5)
	fork.Commit = diff.Hash{9}
	elsewhere := meta
	elsewhere.Tenant = "other"
	tests := map[string]struct {
		pending Pending
		want    error
	}{
		"a higher generation is taken":                     {Pending{Meta: meta, Position: at(6)}, nil},
		"the same position is taken":                       {Pending{Meta: meta, Position: at(5)}, nil},
		"a lower generation is refused":                    {Pending{Meta: meta, Position: at(4)}, ErrGeneration},
		"another commit of the generation is refused":      {Pending{Meta: meta, Position: fork}, ErrGeneration},
		"no position is refused":                           {Pending{Meta: meta}, ErrGeneration},
		"another tenant id under the name is refused":      {Pending{Meta: meta, Position: foreign}, ErrTenant},
		"another tenant id under another name is taken":    {Pending{Meta: elsewhere, Position: foreign}, nil},
		"a deletion of what is not there is refused":       {Pending{Meta: meta, Position: at(6), Leave: []string{"b"}}, diff.ErrMismatch},
		"a change below what is no directory is refused":   {step(6, "a/b", diff.Entry{}, file("x")), diff.ErrMismatch},
		"a path that no tree may hold is refused":          {step(6, "../b", diff.Entry{}, file("x")), diff.ErrPath},
		"an entry that no tree may hold is refused":        {step(6, "b", diff.Entry{}, diff.Entry{Kind: 9}), diff.ErrEntry},
		"a lower generation is taken if that is asked for": {Pending{Meta: meta, Position: at(4), Back: true}, nil},
		"going back to another commit of it is refused":    {Pending{Meta: meta, Position: fork, Back: true}, ErrGeneration},
		"going back to another tenant id is refused":       {Pending{Meta: meta, Position: foreign, Back: true}, ErrTenant},
		"an entry that stays as it is can be written anew": {step(5, "a", file("a"), file("a")), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := root(t)
			a := tree(t, map[string]diff.Entry{"a": file("a")})
			j := create(t, dir, State{Meta: meta, Position: at(5), Managed: a, All: a})
			if err := j.Next(tt.pending); !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			_, pending, err := Read(dir)
			if err != nil || (pending == nil) != (tt.want != nil) {
				t.Errorf("on the disk: %+v %v", pending, err)
			}
		})
	}
}

func TestNext_prunesWhatWasLeftBehind(t *testing.T) {
	dir := root(t)
	j := create(t, dir, State{Meta: meta, Position: at(5), Left: []string{"a", "a/b", "c"}})
	p := Pending{Meta: meta, Position: at(4), Prune: []string{"a", "a/b"}, Back: true}
	if err := j.Next(p); err != nil {
		t.Fatal(err)
	}
	if _, pending, err := Read(dir); err != nil || !reflect.DeepEqual(pending.Prune, p.Prune) || !pending.Back {
		t.Fatalf("on the disk: %+v %v", pending, err)
	}
	if err := j.At(); err != nil {
		t.Fatal(err)
	}
	s, _, err := Read(dir)
	if err != nil || !reflect.DeepEqual(s.Left, []string{"c"}) || s.Position != at(4) {
		t.Fatalf("%+v %v", s, err)
	}
	// An older one, without these, is read as before.
	if p.Back, p.Prune = false, nil; encodePending(&p)[len(encodePending(&p))-1] != 0 {
		t.Error("the encoding of others has changed")
	}
}

// A crash while appending leaves any prefix of the frame, or zeros or rubbish in
// the place of its end.
func TestOpen_cutsATornTail(t *testing.T) {
	dir := root(t)
	j := create(t, dir, State{Meta: meta})
	if err := j.Advance(step(1, "a", diff.Entry{}, file("a"))); err != nil {
		t.Fatal(err)
	}
	before := j.State()
	good := contents(t, dir)
	if err := j.Next(step(2, "b", diff.Entry{}, file("b"))); err != nil {
		t.Fatal(err)
	}
	full := contents(t, dir)
	for n := len(good); n < len(full); n++ {
		for name, tail := range map[string][]byte{
			"short": nil, "zeros": make([]byte, len(full)-n), "rubbish": bytes.Repeat([]byte{3}, len(full)-n),
		} {
			torn := append(bytes.Clone(full[:n]), tail...)
			if bytes.Equal(torn, full) {
				continue
			}
			write(t, dir, torn)
			if s, p, err := Read(dir); err != nil || p != nil {
				t.Fatalf("%s at %d: read %+v %v", name, n, p, err)
			} else {
				same(t, s, before)
			}
			j, err := Open(dir)
			if err != nil {
				t.Fatalf("%s at %d: %v", name, n, err)
			}
			if !bytes.Equal(contents(t, dir), good) {
				t.Fatalf("%s at %d: the tail is still there", name, n)
			}
			if err := j.Advance(step(2, "b", diff.Entry{}, file("b"))); err != nil {
				t.Fatal(err)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestOpen_refusesDamage(t *testing.T) {
	dir := root(t)
	j := create(t, dir, State{Meta: meta})
	snapshot := len(contents(t, dir))
	if err := j.Advance(step(1, "a", diff.Entry{}, file("a"))); err != nil {
		t.Fatal(err)
	}
	middle := len(contents(t, dir))
	if err := j.Advance(step(2, "b", diff.Entry{}, file("b"))); err != nil {
		t.Fatal(err)
	}
	good := contents(t, dir)
	for i := range middle {
		bad := bytes.Clone(good)
		bad[i] ^= 0x80
		write(t, dir, bad)
		want := ErrDamaged
		if i == len(magic) || i == len(magic)+1 {
			want = ErrNewer
		}
		if _, err := Open(dir); !errors.Is(err, want) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	for n := range snapshot {
		write(t, dir, good[:n])
		if _, err := Open(dir); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at byte %d: %v", n, err)
		}
	}
	newer := binary.BigEndian.AppendUint16([]byte(magic), version+1)
	write(t, dir, newer)
	if _, err := Open(dir); !errors.Is(err, ErrNewer) {
		t.Fatalf("newer: %v", err)
	}
	if got := contents(t, dir); !bytes.Equal(got, newer) {
		t.Error("the newer journal was changed")
	}
	name, err := SetAside(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := dir.ReadFile(name); err != nil || !bytes.Equal(got, newer) || !strings.HasPrefix(name, damagedPrefix) {
		t.Errorf("set aside as %q: %v", name, err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrNone) {
		t.Errorf("after it was set aside: %v", err)
	}
}

func TestJournal_isRewrittenWhenItsFramesOutweighIt(t *testing.T) {
	dir := root(t)
	j := create(t, dir, State{Meta: meta})
	e := file("a")
	appended, rewritten := int64(0), 0
	for g := uint64(1); g < 1500; g++ {
		old := e
		if g == 1 {
			old = diff.Entry{}
		}
		before := j.size
		if err := j.Next(step(g, "file", old, e)); err != nil {
			t.Fatal(err)
		}
		appended += j.size - before
		if err := j.At(); err != nil {
			t.Fatal(err)
		}
		if j.size < before {
			rewritten++
		}
	}
	if want := int(appended / rewriteSize); rewritten < want || rewritten > want+1 {
		t.Errorf("rewritten %d times after %d bytes", rewritten, appended)
	}
	s, _, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	same(t, s, j.State())
}

// After a failed append the file's bytes are not trusted: the next one writes a
// fresh file.
func TestJournal_mendsAfterAFailedAppend(t *testing.T) {
	dir := root(t)
	j := create(t, dir, State{Meta: meta})
	original := j.file
	readOnly, err := dir.Open(fileName)
	if err != nil {
		t.Fatal(err)
	}
	j.file = readOnly
	if err := j.Next(step(1, "a", diff.Entry{}, file("a"))); err == nil || j.Pending() != nil {
		t.Fatalf("the append did not fail: %v", err)
	}
	if _, err := original.WriteAt([]byte("half of a next"), j.size); err != nil {
		t.Fatal(err)
	}
	if err := j.Mend(); err != nil {
		t.Fatal(err)
	}
	if _, p, err := Read(dir); err != nil || p != nil {
		t.Fatalf("after Mend: %+v %v", p, err)
	}
	if err := j.Next(step(1, "a", diff.Entry{}, file("a"))); err != nil {
		t.Fatal(err)
	}
	// The at fails: what was next still is.
	_ = j.file.Close()
	if err := j.At(); err == nil {
		t.Fatal("At on a closed file")
	}
	if err := j.At(); err != nil {
		t.Fatal(err)
	}
	s, p, err := Read(dir)
	if err != nil || p != nil || s.Position != at(1) {
		t.Errorf("%+v %+v %v", s, p, err)
	}
	_ = original.Close()
}

// Who reads the file has seen what was appended, though it is not durable: the generation
// must not fall again when the file is written anew.
func TestJournal_doesNotFallWhenAnAppendIsNotMadeDurable(t *testing.T) {
	for name, ahead := range map[string]func(j *Journal) error{
		"at":      func(j *Journal) error { return j.At("a") },
		"advance": func(j *Journal) error { return j.Advance(step(2, "b", diff.Entry{}, file("b"))) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := root(t)
			j := create(t, dir, State{Meta: meta})
			if err := j.Next(step(1, "a", diff.Entry{}, file("a"))); err != nil {
				t.Fatal(err)
			}
			if name == "advance" {
				if err := j.At(); err != nil {
					t.Fatal(err)
				}
			}
			j.sync = func(*os.File) error { return unix.EIO }
			before := j.State().Position.Generation
			if err := ahead(j); !errors.Is(err, unix.EIO) {
				t.Fatalf("%v", err)
			}
			is := j.State()
			if j.Pending() != nil || is.Position.Generation != before+1 {
				t.Errorf("the journal is at %d, pending %+v", is.Position.Generation, j.Pending())
			}
			if err := j.Mend(); err != nil {
				t.Fatal(err)
			}
			s, p, err := Read(dir)
			if err != nil || p != nil || s.Position != is.Position || !slices.Equal(s.Suspect, is.Suspect) {
				t.Errorf("%+v %+v %v", s, p, err)
			}
		})
	}
}

func TestMend_bringsBackAJournalThatVanished(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"deleted":  os.Remove,
		"replaced": func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := root(t)
			j := create(t, dir, State{Meta: meta})
			if err := j.Advance(step(1, "a", diff.Entry{}, file("a"))); err != nil {
				t.Fatal(err)
			}
			if err := harm(filepath.Join(dir.Name(), fileName)); err != nil {
				t.Fatal(err)
			}
			if err := j.Advance(step(2, "b", diff.Entry{}, file("b"))); err != nil {
				t.Fatal(err)
			}
			s, _, err := Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			same(t, j.State(), s)
		})
	}
}

func TestReset(t *testing.T) {
	dir := root(t)
	j := create(t, dir, State{Meta: meta})
	if err := j.Advance(step(5, "a", diff.Entry{}, file("a"))); err != nil {
		t.Fatal(err)
	}
	before := j.State()
	to := before
	to.Position = at(1)
	// What stands where the fresh file is written makes it fail.
	if err := dir.Mkdir(freshName, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := j.Reset(to); err == nil {
		t.Fatal("Reset without being able to write")
	}
	same(t, j.State(), before)
	if err := dir.Remove(freshName); err != nil {
		t.Fatal(err)
	}
	if err := j.Reset(to); err != nil {
		t.Fatal(err)
	}
	same(t, j.State(), to)
	if err := j.Next(step(2, "b", diff.Entry{}, file("b"))); err != nil {
		t.Fatal(err)
	}
	if err := j.Reset(to); !errors.Is(err, ErrPending) {
		t.Errorf("with a next: %v", err)
	}
	if err := j.At(); err != nil {
		t.Fatal(err)
	}
	s, p, err := Read(dir)
	if err != nil || p != nil || s.Position != at(2) {
		t.Errorf("%+v %+v %v", s.Position, p, err)
	}
}

// As an ordinary user: the rename is done when making it durable fails.
func TestReset_thatCannotBeMadeDurable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read every directory")
	}
	path := t.TempDir()
	dir, err := os.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	j := create(t, dir, State{Meta: meta})
	if err := j.Advance(step(5, "a", diff.Entry{}, file("a"))); err != nil {
		t.Fatal(err)
	}
	to := j.State()
	to.Position = at(1)
	if err := os.Chmod(path, 0o300); err != nil {
		t.Fatal(err)
	}
	if err := j.Reset(to); err == nil {
		t.Error("Reset without making it durable")
	}
	if _, err := Open(dir); err == nil {
		t.Error("opened without making durable what was read")
	}
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := j.Advance(step(6, "b", diff.Entry{}, file("b"))); err != nil {
		t.Fatal(err)
	}
	if s, _, err := Read(dir); err != nil || s.Position != at(6) {
		t.Errorf("%+v %v", s.Position, err)
	}
}

func TestNext_costsWhatChanges(t *testing.T) {
	entries := map[string]diff.Entry{}
	for d := range 100 {
		entries[fmt.Sprintf("d%02d", d)] = directory
		for f := range 100 {
			entries[fmt.Sprintf("d%02d/%03d", d, f)] = file("x")
		}
	}
	dir := root(t)
	big := tree(t, entries)
	j := create(t, dir, State{Meta: meta, Position: at(1), Managed: big, All: big})
	before := j.size
	if err := j.Next(step(2, "d50/new", diff.Entry{}, file("y"))); err != nil {
		t.Fatal(err)
	}
	if err := j.At(); err != nil {
		t.Fatal(err)
	}
	if grown := j.size - before; grown > 300 {
		t.Errorf("a change of one path appended %d bytes", grown)
	}
	s, _, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	same(t, s, j.State())
}

func contents(t testing.TB, dir *os.Root) []byte {
	t.Helper()
	b, err := dir.ReadFile(fileName)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, dir *os.Root, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir.Name(), fileName), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkNextAt(b *testing.B) {
	entries := map[string]diff.Entry{}
	for d := range 1000 {
		entries[fmt.Sprintf("d%03d", d)] = directory
		for f := range 99 {
			entries[fmt.Sprintf("d%03d/%02d", d, f)] = file("x")
		}
	}
	dir := root(b)
	big := tree(b, entries)
	j := create(b, dir, State{Meta: meta, Position: at(1), Managed: big, All: big})
	b.ReportAllocs()
	for g := uint64(2); b.Loop(); g++ {
		p := step(g, "d500/50", file("x"), file(fmt.Sprint(g)))
		if err := j.Next(p); err != nil {
			b.Fatal(err)
		}
		if err := j.At(); err != nil {
			b.Fatal(err)
		}
	}
}
