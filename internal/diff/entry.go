package diff

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Kind tells what an entry is. The zero Kind means that there is nothing.
type Kind uint8

// The kinds of entries. Their numbers are part of the tree digest and of the wire
// format.
const (
	None      Kind = 0
	File      Kind = 1
	Directory Kind = 2
	Symlink   Kind = 3
)

// String returns the kind's name as messages use it.
func (k Kind) String() string {
	switch k {
	case None:
		return "nothing"
	case File:
		return "file"
	case Directory:
		return "directory"
	case Symlink:
		return "symlink"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Hash is a SHA-256 sum.
type Hash [sha256.Size]byte

// Sum returns the SHA-256 of content.
func Sum(content []byte) Hash { return sha256.Sum256(content) }

// String returns the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsZero reports whether h is unset.
func (h Hash) IsZero() bool { return h == Hash{} }

// ModeBits are the bits of a mode that an entry carries, as in chmod(2).
const ModeBits = 0o7777

// Entry is what a tree knows of one path. Entries are comparable with ==. Who owns
// a file is the business of the host that it is written on, and no part of it.
type Entry struct {
	Kind Kind
	// Mode holds the permission bits, setuid, setgid and sticky as in chmod(2).
	// It is 0 for symlinks, whose mode Linux ignores.
	Mode uint32
	// Size is the length of the content in bytes: of a file, or of a symlink's
	// target text. It is 0 for directories.
	Size int64
	// Hash is the SHA-256 of the content. It is zero for directories.
	Hash Hash
}

// HasContent reports whether the entry's content must be had to write it: for
// files and symlinks.
func (e Entry) HasContent() bool { return e.Kind == File || e.Kind == Symlink }

// SameContent reports whether e and o are of one kind and hold the same bytes,
// whatever their modes.
func (e Entry) SameContent(o Entry) bool {
	return e.Kind == o.Kind && e.Size == o.Size && e.Hash == o.Hash
}

// Check returns an error that wraps ErrEntry unless e is well formed.
func (e Entry) Check() error {
	switch {
	case e.Kind != File && e.Kind != Directory && e.Kind != Symlink:
		return fmt.Errorf("%w: unknown %v", ErrEntry, e.Kind)
	case e.Mode&^ModeBits != 0:
		return fmt.Errorf("%w: mode %#o has bits beyond %#o", ErrEntry, e.Mode, ModeBits)
	case e.Size < 0:
		return fmt.Errorf("%w: negative size", ErrEntry)
	case e.Kind == Directory && (e.Size != 0 || !e.Hash.IsZero()):
		return fmt.Errorf("%w: a directory with content", ErrEntry)
	case e.Kind == Symlink && (e.Mode != 0 || e.Size == 0 || e.Size > MaxPath):
		return fmt.Errorf("%w: a symlink with mode %#o and a target of %d bytes", ErrEntry, e.Mode, e.Size)
	}
	return nil
}

// Change is what happens to one path between two trees. Old is what was there and
// New what comes; the zero Entry stands for nothing.
type Change struct {
	Path     string
	Old, New Entry
}

// Created reports whether the path is new.
func (c Change) Created() bool { return c.Old.Kind == None }

// Deleted reports whether the path goes away.
func (c Change) Deleted() bool { return c.New.Kind == None }
