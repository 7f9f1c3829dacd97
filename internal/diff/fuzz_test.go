package diff

import (
	"errors"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// A path that is accepted may be joined to any directory, and leads to nothing of ours.
func FuzzCheckPath(f *testing.F) {
	f.Fuzz(func(t *testing.T, p string) {
		err := CheckPath(p)
		if err != nil {
			if !errors.Is(err, ErrPath) {
				t.Fatalf("callers do not know the error %v", err)
			}
			return
		}
		if !filepath.IsLocal(p) || path.Clean(p) != p || strings.HasSuffix(p, "/") || strings.ContainsRune(p, 0) || len(p) > 4095 {
			t.Errorf("%q is accepted", p)
		}
		// "..confsyncd" is nobody's sibling: no target has an empty name.
		for name := range strings.SplitSeq(p, "/") {
			if CheckName(name) != nil || len(name) > 255 || name == ".confsyncd" || len(name) > len("..confsyncd") && name[0] == '.' && strings.HasSuffix(name, ".confsyncd") {
				t.Errorf("%q is accepted for its component %q", p, name)
			}
		}
		if Join(Parent(p), Base(p)) != p || CheckName(Base(p)) != nil || Parent(p) != "" && !Below(p, Parent(p)) {
			t.Errorf("%q lies in %q as %q", p, Parent(p), Base(p))
		}
	})
}

func FuzzParseTenantID(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseTenantID(s)
		if err == nil && !strings.EqualFold(id.String(), s) {
			t.Errorf("%q is read as %v", s, id)
		}
		if again, err := ParseTenantID(id.String()); err != nil || again != id {
			t.Errorf("%v is read as %v: %v", id, again, err)
		}
	})
}

// changesOf reads changes from lines: a sign for the kind, then the path.
func changesOf(lines string) []Change {
	var changes []Change
	for line := range strings.SplitSeq(lines, "\n") {
		if line == "" || len(changes) == 50 {
			continue
		}
		c := Change{Path: line[1:]}
		switch line[0] {
		case '+':
			c.New = Entry{Kind: File, Mode: 0o644, Size: int64(len(line)), Hash: Sum([]byte(line))}
		case '/':
			c.New = Entry{Kind: Directory, Mode: 0o755}
		case '>':
			c.New = Entry{Kind: Symlink, Size: 1, Hash: Sum([]byte(line))}
		case '-':
		default:
			c.New = Entry{Kind: Kind(line[0]), Mode: uint32(line[0]) << 8}
		}
		changes = append(changes, c)
	}
	return changes
}

// Whatever changes are taken, the tree has valid paths and nothing below a file; and
// what Compare says leads from one tree to the other and back.
func FuzzTreeWith(f *testing.F) {
	f.Fuzz(func(t *testing.T, first, second string) {
		a, err := Tree{}.With(changesOf(first))
		if err != nil {
			wantKnown(t, err)
			return
		}
		b, err := a.With(changesOf(second))
		if err != nil {
			wantKnown(t, err)
			return
		}
		n, before := 0, ""
		for p, e := range b.All() {
			if CheckPath(p) != nil || e.Check() != nil || n > 0 && ComparePaths(before, p) >= 0 {
				t.Errorf("%q after %q is %+v", p, before, e)
			}
			if parent := Parent(p); parent != "" {
				if in, ok := b.Get(parent); !ok || in.Kind != Directory {
					t.Errorf("%q lies below %+v", p, in)
				}
			}
			n, before = n+1, p
		}
		if n != b.Len() {
			t.Errorf("%d entries, and %d are counted", n, b.Len())
		}
		for _, way := range [][2]Tree{{a, b}, {b, a}} {
			changes := Compare(way[0], way[1])
			for _, c := range changes {
				if was, _ := way[0].Get(c.Path); was != c.Old {
					t.Errorf("%q was %+v, not %+v", c.Path, was, c.Old)
				}
			}
			led, err := way[0].With(changes)
			if err != nil || led.Digest() != way[1].Digest() || led.Len() != way[1].Len() {
				t.Errorf("the changes lead elsewhere: %v", err)
			}
		}
	})
}

func wantKnown(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrPath) && !errors.Is(err, ErrEntry) && !errors.Is(err, ErrMismatch) {
		t.Fatalf("callers do not know the error %v", err)
	}
}
