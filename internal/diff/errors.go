package diff

import "errors"

// Errors of malformed input. They are wrapped with the path and the cause.
var (
	// ErrPath is returned for a path that no tree may hold.
	ErrPath = errors.New("invalid path")
	// ErrEntry is returned for an entry that no tree may hold.
	ErrEntry = errors.New("invalid entry")
	// ErrMismatch is returned when changes do not fit the tree that they are
	// applied to.
	ErrMismatch = errors.New("change does not fit the tree")
)
