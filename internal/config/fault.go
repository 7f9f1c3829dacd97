package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	Line    int    // in the file, from 1; 0 if unknown or not from a file
	Key     string // full name such as "source[0].settle"; may be empty
	Problem string
	Remedy  string // what to write instead
}

// String returns "line 12: source[0].settle: problem; remedy", without the
// parts that are unknown.
func (f Fault) String() string {
	var b strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", f.Line)
	}
	if f.Key != "" {
		b.WriteString(f.Key + ": ")
	}
	b.WriteString(f.Problem)
	if f.Remedy != "" {
		b.WriteString("; " + f.Remedy)
	}
	return b.String()
}

// Error is String.
func (f Fault) Error() string { return f.String() }

// Faults is everything that is wrong with a configuration, sorted by line.
type Faults []Fault

// Error lists all faults, one a line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

func (fs Faults) sorted() Faults {
	slices.SortStableFunc(fs, func(a, b Fault) int { return cmp.Compare(a.Line, b.Line) })
	return fs
}

// fault makes a Fault that its caller completes with key and line.
func fault(remedy, format string, args ...any) error {
	return Fault{Problem: fmt.Sprintf(format, args...), Remedy: remedy}
}

// asFault returns the fault that a rule or a parser of this package answered with.
func asFault(err error) Fault {
	var f Fault
	if errors.As(err, &f) {
		return f
	}
	return Fault{Problem: err.Error(), Remedy: "correct the value"}
}

// faultAt completes the fault err with its key and line.
func faultAt(key string, line int, err error) Fault {
	f := asFault(err)
	f.Key, f.Line = key, line
	return f
}

// faultsOf returns err as the only fault of a key, and nil if err is nil.
func faultsOf(key string, err error) Faults {
	if err == nil {
		return nil
	}
	return Faults{faultAt(key, 0, err)}
}
