package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/store"
	"github.com/confsyncd/confsyncd/internal/tenant"
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

// Unwrap returns the cause.
func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// configError is a configuration with faults.
type configError struct{ error }

// Unwrap returns the cause.
func (e configError) Unwrap() error { return e.error }

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
	case errors.Is(err, publisher.ErrRefused), errors.Is(err, agent.ErrRefused), errors.Is(err, install.ErrLocked),
		errors.Is(err, errDiffers), errors.Is(err, errUnsaid):
		return exitRefused
	case errors.Is(err, publisher.ErrConflict), errors.Is(err, store.ErrLostRace), errors.Is(err, tenant.ErrExists):
		return exitConflict
	case errors.Is(err, errEtcdAway):
		return exitEtcd
	}
	return exitError
}

// firstError returns the first of the errors; those of closing come last and matter
// only if nothing else went wrong.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// about says which tenant and directory an error is about: a configuration may have
// many.
func about(command, tenant, dir string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s, tenant %s, %s: %w", command, tenant, printable(dir), err)
}

// each does something with all of a list, although it fails with some. It stops where
// the others would fare no better.
func each[T any](list []T, do func(T) error) error {
	var errs []error
	for _, x := range list {
		err := do(x)
		errs = append(errs, err)
		if errors.Is(err, errEtcdAway) || errors.Is(err, context.Canceled) {
			break
		}
	}
	return errors.Join(errs...)
}
