package publisher

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrRefused is returned when something waits for an operator: a guard, or paths
	// that cannot be published.
	ErrRefused = errors.New("refused")
	// ErrConflict is returned when another publisher's commit is at the head.
	ErrConflict = errors.New("conflict")
	// ErrRunning is returned when another process publishes the same directory to
	// the same tenant with the same state_dir.
	ErrRunning = errors.New("another publisher of this directory is running")
)

// refusal is an error of a kind that says what it waits for, and what to do about it.
type refusal struct {
	kind   error
	what   string
	remedy string
}

func (r *refusal) Error() string { return r.what + "; " + r.remedy }

func (r *refusal) Unwrap() error { return r.kind }

func refuse(remedy, format string, args ...any) error {
	return &refusal{kind: ErrRefused, what: fmt.Sprintf(format, args...), remedy: remedy}
}

func conflict(remedy, format string, args ...any) error {
	return &refusal{kind: ErrConflict, what: fmt.Sprintf(format, args...), remedy: remedy}
}

// some joins the first of many words.
func some(words []string) string {
	const most = 10
	if len(words) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
	}
	return strings.Join(words, ", ")
}
