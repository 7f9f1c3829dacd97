//go:build !lean

package publisher_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/publisher"
)

// text returns lines that do not compress much.
func text(size int, seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 2))
	var s strings.Builder
	for s.Len() < size {
		fmt.Fprintf(&s, "upstream_%d = %016x # %d\n", r.IntN(1000), r.Uint64(), r.IntN(100))
	}
	return s.String()[:size]
}

// sent returns how the newest record has the content at a path.
func (p *place) sent(path string) codec.Content {
	p.Helper()
	view, err := p.store.View(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	r, _, err := p.store.Record(p.Context(), view, view.Head.Position.Generation)
	if err != nil {
		p.Fatal(err)
	}
	for _, c := range r.List.Changes {
		if c.Path == path {
			return c.Content
		}
	}
	p.Fatalf("the record has no %s", path)
	return codec.Content{}
}

// edit pushes another content of one file, and checks what etcd has then.
func (p *place) edit(path, content string, wantPatch bool) codec.Content {
	p.Helper()
	p.write(path, content)
	p.mustPush()
	if _, files := p.head(); files[path] != content {
		p.Fatalf("etcd has another %s", path)
	}
	c := p.sent(path)
	if (c.Patch != nil) != wantPatch {
		p.Fatalf("sent as %+v, want a patch: %v", c, wantPatch)
	}
	return c
}

// basesOf returns the directory of bases.
func (p *place) basesOf() string {
	p.Helper()
	found, err := filepath.Glob(filepath.Join(p.options.StateDir, "sources", "*"))
	if err != nil || len(found) != 1 {
		p.Fatalf("%v %v", found, err)
	}
	return filepath.Join(found[0], "bases")
}

func TestEditsTravelAsPatches(t *testing.T) {
	p := newPlace(t)
	small, large := text(3000, 1), text(200<<10, 2)
	p.write("small", small)
	p.write("large", large)
	p.mustPush()
	if _, err := os.Lstat(p.basesOf()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the first push kept bases: %v", err)
	}
	// What was never edited is had from etcd only if it is worth it.
	p.edit("small", small+"1\n", false)
	p.edit("large", large+"1\n", true)
	if c := p.edit("small", small+"2\n", true); len(c.Patch.Frame) > 100 {
		t.Errorf("a patch of %d bytes", len(c.Patch.Frame))
	}
	p.edit("large", large+"2\n", true)
	kept, err := os.ReadDir(p.basesOf())
	if err != nil || len(kept) != 2 {
		t.Errorf("%d bases are kept, want those of both files: %v", len(kept), err)
	}
	t.Run("but not where all is new", func(t *testing.T) { p.edit("small", strings.ToUpper(text(3000, 3)), false) })
	t.Run("nor to a symlink", func(t *testing.T) {
		p.remove("small")
		if err := os.Symlink(strings.Repeat("to/", 100), filepath.Join(p.options.Dir, "small")); err != nil {
			t.Fatal(err)
		}
		p.mustPush()
		if c := p.sent("small"); c.Patch != nil {
			t.Errorf("sent as %+v", c)
		}
	})
	t.Run("nor at a founding", func(t *testing.T) {
		o := p.options
		view, err := p.store.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.write("large", large+"3\n")
		if _, err := p.push(o, publisher.PushOptions{Found: &view.Head.Position}); err != nil {
			t.Fatal(err)
		}
		if c := p.sent("large"); c.Patch != nil {
			t.Errorf("sent as %+v", c)
		}
	})
}

func TestManyPatchesTravelInPacks(t *testing.T) {
	const files = 600
	p := newPlace(t)
	edit := func(round int) {
		for i := range files {
			p.write(fmt.Sprintf("f%03d", i), fmt.Sprintf("%s\n%s\nround = %d\n", text(2000, uint64(i)), text(60, uint64(files*round+i)), round))
		}
		p.mustPush()
	}
	for round := range 3 {
		edit(round)
	}
	c := p.sent("f007")
	if c.Patch == nil || len(c.Packs) != 1 || c.Patch.Frame != nil {
		t.Fatalf("sent as %+v", c)
	}
	if _, got := p.head(); len(got) != files || !strings.HasSuffix(got["f399"], "round = 2\n") {
		t.Fatal("etcd has something else")
	}
}

func TestCopiesThatAreEditedAlikeShareAPatch(t *testing.T) {
	p := newPlace(t)
	content := text(3000, 1)
	for round := range 3 {
		p.write("a", content+fmt.Sprint(round))
		p.write("b", content+fmt.Sprint(round))
		p.mustPush()
	}
	if a, b := p.sent("a"), p.sent("b"); a.Patch == nil || b.Patch == nil || a.Patch.Base != b.Patch.Base {
		t.Errorf("sent as %+v and %+v", a, b)
	}
	p.head()
}

func TestBasesThatCannotBeUsed(t *testing.T) {
	each := func(t *testing.T, dir string, do func(name string) error) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) == 0 {
			t.Fatalf("%d bases: %v", len(entries), err)
		}
		for _, e := range entries {
			if err := do(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, spoil := range map[string]func(*testing.T, string){
		"removed": func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		},
		"replaced by a file": func(t *testing.T, dir string) {
			if err := errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		},
		"led elsewhere": func(t *testing.T, dir string) {
			if err := errors.Join(os.RemoveAll(dir), os.Symlink("/etc", dir)); err != nil {
				t.Fatal(err)
			}
		},
		"poisoned": func(t *testing.T, dir string) {
			each(t, dir, func(name string) error { return os.WriteFile(name, []byte("poison"), 0o600) })
		},
		"emptied": func(t *testing.T, dir string) {
			each(t, dir, func(name string) error { return os.Truncate(name, 0) })
		},
		"replaced by FIFOs": func(t *testing.T, dir string) {
			each(t, dir, func(name string) error { return errors.Join(os.Remove(name), unix.Mkfifo(name, 0o600)) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			small, large := text(3000, 1), text(200<<10, 2)
			for _, line := range []string{"", "1\n", "2\n"} {
				p.write("large", large+line)
				p.write("small", small+line)
				p.mustPush()
			}
			spoil(t, p.basesOf())
			p.edit("small", small+"3\n", false)
			p.edit("large", large+"3\n", true) // from etcd
			p.edit("large", large+"4\n", true)
		})
	}
}

// The daemon reads bases from etcd commit after commit where it cannot keep them.
func TestDaemonSendsPatchesWithoutKeepingBases(t *testing.T) {
	p := newPlace(t)
	large := text(200<<10, 1)
	p.write("large", large)
	p.mustPush()
	if err := os.WriteFile(p.basesOf(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.run(p.options)
	for i := range 5 {
		content := fmt.Sprintf("%s%d\n", large, i)
		p.write("large", content)
		p.await(map[string]string{"large": content})
		if c := p.sent("large"); c.Patch == nil {
			t.Errorf("edit %d was sent whole", i)
		}
	}
}

func TestDaemonKeepsBases(t *testing.T) {
	p := newPlace(t)
	content := text(3000, 1)
	p.write("a", content)
	p.run(p.options)
	p.await(map[string]string{"a": content})
	patches := 0
	for i := range 5 {
		content := fmt.Sprintf("%s%d\n", content, i)
		p.write("a", content)
		p.await(map[string]string{"a": content})
		if p.sent("a").Patch != nil {
			patches++
		}
		// The bases are kept after the commit has become visible.
		deadline := time.Now().Add(time.Minute)
		for {
			if _, err := os.Lstat(filepath.Join(p.basesOf(), diff.Sum([]byte(content)).String())); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("nothing is kept")
			}
			time.Sleep(time.Millisecond)
		}
	}
	if patches != 4 {
		t.Errorf("%d of 5 edits were patches, want all but the first", patches)
	}
}
