package scan

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

func TestUnlisted(t *testing.T) {
	committed := diff.NewDir([]diff.Child{{Name: "a"}, {Name: "b"}, {Name: "gone"}})
	tests := []struct {
		name   string
		listed []string
		want   []string
	}{
		{"all that exist are listed", []string{"a", "b"}, nil},
		{"new ones are listed too", []string{"0", "a", "ab", "b", "z"}, nil},
		{"the listing missed the first", []string{"b"}, []string{"a"}},
		{"the listing missed the last", []string{"a"}, []string{"b"}},
		{"the listing missed all", nil, []string{"a", "b"}},
		{"one is listed in another case, as another file", []string{"a", "z", "B"}, []string{"b"}},
		{"one is listed in another case, as the same file", []string{"A", "b"}, nil},
	}
	d := t.TempDir()
	for _, name := range []string{"a", "b", "B"} {
		if err := os.WriteFile(filepath.Join(d, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// A hard link looks as the other spelling does where case is ignored.
	if err := os.Link(filepath.Join(d, "a"), filepath.Join(d, "A")); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(d, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer shut(fd)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			slices.Sort(tt.listed)
			if got := unlisted(here{fd: fd, committed: committed}, tt.listed); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
