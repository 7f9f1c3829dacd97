package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
)

func FuzzDecodeFile(f *testing.F) {
	s := State{Meta: meta, Position: at(3), Left: []string{"l"}, Suspect: []string{"d/f"}}
	s.Managed = tree(f, map[string]diff.Entry{"d": directory, "d/f": file("x")})
	s.All = tree(f, map[string]diff.Entry{"d": directory, "d/f": file("x"), "o": file("o")})
	p := Pending{
		Meta: meta, Position: at(4), Leave: []string{"d", "d/f"},
		Changes: []diff.Change{{Path: "o", New: file("o")}}, AllChanges: []diff.Change{{Path: "o", Old: file("o"), New: file("p")}},
	}
	f.Add(encodeFile(s, &p))
	f.Add(append(encodeFile(s, &p), frame(kindAt, appendPaths(nil, []string{"o"}))...))
	p.whole = true
	s.All = s.Managed
	f.Add(append(encodeFile(s, nil), frame(kindAdvance, encodePending(&p))...))
	f.Add(append(encodeFile(s, nil), frame(kindNext, encodePending(&Pending{Meta: meta, Position: at(2), Back: true, Prune: []string{"l"}, whole: true}))...))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, resum(b)} {
			var c content
			var err error
			// An entry of 3 bytes is a change, a child of a tree, and for the while one more.
			if n, most := allocated(func() { c, err = decodeFile(b) }), uint64(64<<10+500*len(b)); n > most {
				t.Errorf("%d bytes allocated for a file of %d, want at most %d", n, len(b), most)
			}
			if err != nil {
				if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
					t.Fatalf("an error of no known kind: %v", err)
				}
				continue
			}
			for _, tree := range []diff.Tree{c.state.Managed, c.state.All} {
				for p := range tree.All() {
					if !filepath.IsLocal(p) || diff.CheckPath(p) != nil {
						t.Errorf("%q is taken for a path", p)
					}
				}
			}
			lists := [][]string{c.state.Left, c.state.Suspect}
			if c.pending != nil {
				lists = append(lists, c.pending.Leave, c.pending.Prune)
			}
			for _, p := range slices.Concat(lists...) {
				if !filepath.IsLocal(p) || diff.CheckPath(p) != nil {
					t.Errorf("%q is taken for a path", p)
				}
			}
			again, err := decodeFile(encodeFile(c.state, c.pending))
			if err != nil {
				t.Fatal(err)
			}
			same(t, again.state, c.state)
			if !reflect.DeepEqual(again.pending, c.pending) {
				t.Fatalf("%+v\n%+v", again.pending, c.pending)
			}
		}
	})
}

// allocated returns how many bytes fn allocates.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// resum returns b with right checksums, so that fuzzing gets past them.
func resum(b []byte) []byte {
	b = bytes.Clone(b)
	for i := headerSize; i+frameHeader <= len(b); {
		n := uint64(binary.BigEndian.Uint32(b[i+4:]))
		if n > uint64(len(b)-i-frameHeader) {
			break
		}
		end := i + frameHeader + int(n)
		binary.BigEndian.PutUint32(b[i:], checksum(b[i+4:end]))
		i = end
	}
	return b
}
