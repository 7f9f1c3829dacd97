package main

import (
	"errors"
	"fmt"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/store"
)

// The exit codes. They are documented in the README and are for good.
const (
	exitDone     = 0
	exitError    = 1
	exitUsage    = 2
	exitConfig   = 3
	exitEtcd     = 4
	exitRefused  = 5
	exitConflict = 6
)

// usageError is wrong use of the command line.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// configError is a configuration with faults.
type configError struct{ error }

// exitCode returns the code that tells a script what became of a command.
func exitCode(err error) int {
	var wrongUse usageError
	var wrongConfig configError
	var faults config.Faults
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &wrongUse):
		return exitUsage
	case errors.As(err, &wrongConfig), errors.As(err, &faults):
		return exitConfig
	case errors.Is(err, publisher.ErrRefused), errors.Is(err, agent.ErrRefused):
		return exitRefused
	case errors.Is(err, publisher.ErrConflict), errors.Is(err, store.ErrLostRace):
		return exitConflict
	case errors.Is(err, errEtcdAway):
		return exitEtcd
	}
	return exitError
}
