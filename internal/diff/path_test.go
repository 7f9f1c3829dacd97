package diff

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// byComponent is what ComparePaths promises, written the slow way.
func byComponent(a, b string) int {
	return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
}

func sign(n int) int { return min(max(n, -1), 1) }

func TestComparePaths(t *testing.T) {
	tests := []struct {
		name string
		a, b string
		want int
	}{
		{"equal paths", "a/b", "a/b", 0},
		{"a directory comes before what it holds", "a", "a/b", -1},
		{"what a directory holds comes before a longer name", "a/b", "a-b", -1},
		{"a slash is below a space", "a/z", "a b", -1},
		{"a slash is below every control character", "a/z", "a\x01", -1},
		{"names are compared as bytes", "B", "a", -1},
		{"a byte over 127 comes after ASCII", "z", "\xff", -1},
		{"the first component that differs decides", "a/z/z", "b/a", -1},
		{"a shorter name comes first", "ab", "abc", -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := sign(ComparePaths(tt.a, tt.b)); got != tt.want {
				t.Errorf("ComparePaths(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
			}
			if got := sign(ComparePaths(tt.b, tt.a)); got != -tt.want {
				t.Errorf("ComparePaths(%q, %q) = %d, want %d", tt.b, tt.a, got, -tt.want)
			}
		})
	}
}

func TestComparePathsAgreesWithComparingComponents(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	random := func() string {
		b := make([]byte, r.IntN(6))
		for i := range b {
			b[i] = "ab/\x00-\xff"[r.IntN(6)]
		}
		return string(b)
	}
	for range 100_000 {
		a, b := random(), random()
		if got, want := sign(ComparePaths(a, b)), byComponent(a, b); got != want {
			t.Fatalf("ComparePaths(%q, %q) = %d, want %d", a, b, got, want)
		}
	}
}

func FuzzComparePaths(f *testing.F) {
	f.Add("a", "a/b", "a-b")
	f.Add("", "/", "//")
	f.Add("\xff", "a\x00/b", "a/\x00b")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if got, want := sign(ComparePaths(a, b)), byComponent(a, b); got != want {
			t.Errorf("ComparePaths(%q, %q) = %d, want %d", a, b, got, want)
		}
		if ComparePaths(a, b) != 0 != (a != b) {
			t.Errorf("%q and %q are equal but not the same", a, b)
		}
		if sign(ComparePaths(a, b)) != -sign(ComparePaths(b, a)) {
			t.Errorf("%q and %q are ordered differently the other way round", a, b)
		}
		if ComparePaths(a, b) < 0 && ComparePaths(b, c) < 0 && ComparePaths(a, c) >= 0 {
			t.Errorf("%q < %q < %q, but not the first below the last", a, b, c)
		}
	})
}

func TestCheckPath(t *testing.T) {
	name := strings.Repeat("n", MaxName)
	long := strings.Repeat(name+"/", 16) // 4096 bytes
	tests := []struct {
		name  string
		path  string
		valid bool
	}{
		{"a name", "a", true},
		{"a deep path", "a/b/c", true},
		{"bytes that are not UTF-8", "\xff\xfe/\x01", true},
		{"blanks, newlines and backslashes", " /\n/\\", true},
		{"names that begin with dots", "..a/.b/...", true},
		{"a name that begins with our own", ".confsyncd-hold", true},
		{"the longest name", name, true},
		{"the longest path", long[:MaxPath], true},

		{"an empty path", "", false},
		{"an absolute path", "/a", false},
		{"a trailing slash", "a/", false},
		{"a double slash", "a//b", false},
		{"a dot", "a/./b", false},
		{"two dots", "a/../b", false},
		{"two dots alone", "..", false},
		{"a NUL", "a/b\x00", false},
		{"a name of 256 bytes", name + "n", false},
		{"a path of 4096 bytes", "a/" + long[:MaxPath-1], false},
		{"our own name", ".confsyncd", false},
		{"our own name below another", "a/.confsyncd/b", false},
		{"the sibling of a target", "a/.app.confsyncd", false},
		{"something in a sibling", ".app.confsyncd/old/b", false},
		{"a name that only ends like ours", "app.confsyncd", true},
		{"a name that only begins like ours", ".confsyncd-hold", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckPath(tt.path)
			if tt.valid && err != nil {
				t.Error(err)
			}
			if !tt.valid && !errors.Is(err, ErrPath) {
				t.Errorf("got %v, want ErrPath", err)
			}
		})
	}
}

func TestCheckName(t *testing.T) {
	if err := CheckName("a/b"); !errors.Is(err, ErrPath) {
		t.Errorf("a name with a slash: %v", err)
	}
	if err := CheckName("a"); err != nil {
		t.Error(err)
	}
}

func TestPathParts(t *testing.T) {
	for _, tt := range []struct{ path, parent, base string }{
		{"a", "", "a"}, {"a/b", "a", "b"}, {"a/b/c", "a/b", "c"},
	} {
		if p, b := Parent(tt.path), Base(tt.path); p != tt.parent || b != tt.base {
			t.Errorf("%q is split into %q and %q", tt.path, p, b)
		}
		if p := Join(tt.parent, tt.base); p != tt.path {
			t.Errorf("%q and %q are joined to %q", tt.parent, tt.base, p)
		}
	}
	for _, tt := range []struct {
		path, dir string
		below     bool
	}{
		{"a", "", true},
		{"a/b", "a", true},
		{"a/b/c", "a", true},
		{"a", "a", false},
		{"ab", "a", false},
		{"ab/c", "a", false},
		{"a", "a/b", false},
	} {
		if got := Below(tt.path, tt.dir); got != tt.below {
			t.Errorf("Below(%q, %q) = %v", tt.path, tt.dir, got)
		}
	}
}
