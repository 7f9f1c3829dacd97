package diff

import (
	"errors"
	"testing"
)

func TestEntryCheck(t *testing.T) {
	hash := Sum([]byte("x"))
	tests := []struct {
		name  string
		entry Entry
		valid bool
	}{
		{"a file", Entry{Kind: File, Mode: 0o644, Size: 1, Hash: hash}, true},
		{"an empty file with every bit", Entry{Kind: File, Mode: ModeBits, Hash: Sum(nil)}, true},
		{"a directory", Entry{Kind: Directory, Mode: 0o1777}, true},
		{"a symlink", Entry{Kind: Symlink, Size: MaxPath, Hash: hash}, true},

		{"nothing", Entry{}, false},
		{"an unknown kind", Entry{Kind: 4}, false},
		{"a mode with a file type in it", Entry{Kind: File, Mode: 0o100644}, false},
		{"a negative size", Entry{Kind: File, Size: -1}, false},
		{"a directory with a size", Entry{Kind: Directory, Size: 1}, false},
		{"a directory with a hash", Entry{Kind: Directory, Hash: hash}, false},
		{"a symlink with a mode", Entry{Kind: Symlink, Mode: 0o777, Size: 1, Hash: hash}, false},
		{"an empty symlink", Entry{Kind: Symlink, Hash: hash}, false},
		{"a symlink that is too long", Entry{Kind: Symlink, Size: MaxPath + 1, Hash: hash}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.entry.Check()
			if tt.valid && err != nil {
				t.Error(err)
			}
			if !tt.valid && !errors.Is(err, ErrEntry) {
				t.Errorf("got %v, want ErrEntry", err)
			}
		})
	}
}

func TestParseTenantID(t *testing.T) {
	id := TenantID{1, 2, 0xfe}
	if got, err := ParseTenantID(id.String()); err != nil || got != id {
		t.Errorf("%v is read back as %v: %v", id, got, err)
	}
	for _, s := range []string{"", "0102", id.String() + "00", "x" + id.String()[1:]} {
		if _, err := ParseTenantID(s); err == nil {
			t.Errorf("%q is read as a tenant id", s)
		}
	}
}
