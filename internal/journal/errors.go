package journal

import "errors"

// Errors that callers branch on. They are wrapped with the cause.
var (
	// ErrNone is returned where there is no journal.
	ErrNone = errors.New("no journal")
	// ErrDamaged is returned for a journal that cannot be trusted. SetAside moves
	// it out of the way.
	ErrDamaged = errors.New("the journal is damaged")
	// ErrNewer is returned for a journal in a format that a newer confsyncd wrote.
	// It must be left alone.
	ErrNewer = errors.New("the journal is in a newer format: it needs a newer confsyncd")
	// ErrGeneration is returned for a next position that is older than the
	// journal's, or another commit of the same generation.
	ErrGeneration = errors.New("the generation would fall")
	// ErrTenant is returned for a next position of another tenant id, under the
	// tenant name and prefix that the journal knows.
	ErrTenant = errors.New("another tenant id")
	// ErrPending is returned by Next and Advance while a next waits for its At, and
	// by At where none does.
	ErrPending = errors.New("next and at do not alternate")
)
