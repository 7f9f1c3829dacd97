package recall

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// forest returns a tree in which directories lie between files, and the stamps of its files:
// all but those whose names begin with "un".
func forest(t testing.TB) (diff.Tree, map[string]Stamp) {
	t.Helper()
	var changes []diff.Change
	stamps := map[string]Stamp{}
	for i, path := range []string{"a", "b/", "b/c", "b/d/", "b/d/e", "b/unknown", "b/z", "c", "d/", "e", "unknown", "z"} {
		e := diff.Entry{Kind: diff.File, Mode: 0o644, Size: int64(i), Hash: diff.Sum([]byte(path))}
		name, dir := bytes.CutSuffix([]byte(path), []byte("/"))
		if dir {
			e = diff.Entry{Kind: diff.Directory, Mode: 0o755}
		} else if base := diff.Base(path); base != "unknown" {
			n := int64(i)
			stamps[path] = Stamp{Ino: uint64(i) + 1, Mtime: -n, Ctime: time.Hour.Nanoseconds() + n, Mode: 0o100644}
		}
		changes = append(changes, diff.Change{Path: string(name), New: e})
	}
	tree, err := diff.Tree{}.With(changes)
	if err != nil {
		t.Fatal(err)
	}
	return tree, stamps
}

func encoded(t testing.TB) (diff.Tree, map[string]Stamp, []byte) {
	t.Helper()
	tree, stamps := forest(t)
	b := Encode(Root{7, 8}, time.Unix(9, 10), tree, func(path string) func(diff.Child) Stamp {
		return func(c diff.Child) Stamp { return stamps[diff.Join(path, c.Name)] }
	})
	if b == nil {
		t.Skip("this boot has no name: " + bootFile)
	}
	return tree, stamps, b
}

func TestDecode_returnsWhatWasEncoded(t *testing.T) {
	tree, stamps, b := encoded(t)
	k, ok := Decode(b, tree, time.Unix(9, 10))
	if !ok || k.Root != (Root{7, 8}) || !k.Complete.Equal(time.Unix(9, 10)) {
		t.Fatalf("decoded %+v, %v", k, ok)
	}
	got := map[string]Stamp{}
	for _, path := range []string{"", "b", "b/d", "d", "no such"} {
		for c, s := range k.In(path) {
			got[diff.Join(path, c.Name)] = s
		}
	}
	if !maps.Equal(got, stamps) {
		t.Errorf("decoded %v, want %v", got, stamps)
	}
	if k.Len("b") != 3 || k.Len("d") != 0 || k.Len("no such") != 0 {
		t.Errorf("%d, %d and %d files", k.Len("b"), k.Len("d"), k.Len("no such"))
	}
}

func TestKnown_Get(t *testing.T) {
	tree, stamps, b := encoded(t)
	var paths []string
	for path := range tree.All() {
		paths = append(paths, path, path+"/no such", path+"0")
	}
	backward := slices.Clone(paths)
	slices.Reverse(backward)
	for name, order := range map[string][]string{"in order": paths, "backward": backward, "twice": slices.Concat(paths, paths)} {
		t.Run(name, func(t *testing.T) {
			k, ok := Decode(b, tree, time.Now())
			if !ok {
				t.Fatal("not decoded")
			}
			for _, path := range order {
				e, s, ok := k.Get(path)
				want, known := stamps[path]
				if entry, _ := tree.Get(path); ok != known || s != want || known && e != entry {
					t.Errorf("%q: %+v, %+v, %v; want %+v", path, e, s, ok, want)
				}
			}
		})
	}
}

func TestDecode_refuses(t *testing.T) {
	tree, _, b := encoded(t)
	sealed := func(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, sum(b)) }
	flipped := func(at int) []byte {
		c := bytes.Clone(b[:len(b)-trailer])
		c[at] ^= 1
		return sealed(c)
	}
	for name, tt := range map[string]struct {
		b   []byte
		of  diff.Tree
		now time.Time
	}{
		"nothing":                     {of: tree},
		"another version":             {b: flipped(len(magic) - 1), of: tree},
		"another boot":                {b: flipped(len(magic)), of: tree},
		"the digest of another":       {b: flipped(digestAt), of: tree},
		"another tree":                {b: b},
		"what is from a time to come": {b: b, of: tree, now: time.Unix(9, 9)},
		"what rotted":                 {b: append([]byte("X"), b[1:]...), of: tree},
		"one stamp less":              {b: sealed(bytes.Clone(b[:len(b)-trailer-stampLength])), of: tree},
		"one stamp more":              {b: sealed(append(bytes.Clone(b[:len(b)-trailer]), make([]byte, stampLength)...)), of: tree},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.now.IsZero() {
				tt.now = time.Now()
			}
			if _, ok := Decode(tt.b, tt.of, tt.now); ok {
				t.Error("decoded")
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	tree, stamps, b := encoded(f)
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= trailer {
			b = binary.LittleEndian.AppendUint32(b[:len(b)-trailer:len(b)-trailer], sum(b[:len(b)-trailer]))
		}
		k, ok := Decode(b, tree, time.Now())
		if !ok {
			return
		}
		for path := range stamps {
			entry, _ := tree.Get(path)
			if e, s, ok := k.Get(path); ok && (e != entry || s == Stamp{}) {
				t.Error(fmt.Sprintf("%q", path), e, s)
			}
		}
	})
}
