package store

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What became of a call. Every error of a call to etcd wraps one of these.
var (
	// ErrUnreachable: no answer came. Nothing was asked that could have changed
	// anything; trying again is right.
	ErrUnreachable = errors.New("etcd cannot be reached")
	// ErrAmbiguous: a write was sent and may or may not have been applied.
	ErrAmbiguous = errors.New("outcome of the write is unknown")
	// ErrNotApplied: etcd did not do it this time; trying again is right.
	ErrNotApplied = errors.New("etcd did not take the request")
	// ErrRefused: etcd refuses, and will refuse again until an operator acts.
	ErrRefused = errors.New("etcd refuses")
	// ErrLostRace: the head is no longer what the commit was made for.
	ErrLostRace = errors.New("another commit came first")
	// ErrNotLeader: the seat of the leader that the commit was made for is gone. It was
	// not applied, and never will be.
	ErrNotLeader = errors.New("no longer the leader")
	// ErrRegistration: the tenant's registration is no longer the one that the write was
	// made for. It was not applied, and never will be.
	ErrRegistration = errors.New("the tenant was deleted, or its registration was changed")
)

// What was found in etcd.
var (
	// ErrNoHead: nothing was ever committed, or all is gone.
	ErrNoHead = errors.New("no commit in etcd")
	// ErrForeignTenant: the head belongs to another tenant of the same name.
	ErrForeignTenant = errors.New("another tenant id")
	// ErrRewound: the history in etcd no longer holds the position that one is at,
	// and no founding explains it.
	ErrRewound = errors.New("the history in etcd was rewound")
	// ErrGone: what the head needs is not there, or no longer at the head's
	// revision. Read the head anew; if it is still the same, it is damage.
	ErrGone = errors.New("missing from etcd")
	// ErrDamaged: what lies in etcd contradicts itself.
	ErrDamaged = errors.New("damaged in etcd")
)

// errNoSpace is what becomes of a write once it is known that it was not applied for
// lack of space.
var errNoSpace = fmt.Errorf("%w: it is out of space: compact and defragment it, then disarm its alarm: %w", ErrRefused, rpctypes.ErrNoSpace)

// classify wraps err with what became of the call. A write may have been applied
// although an error came: clientv3 sends a Txn again when a proxy answers Canceled
// or DeadlineExceeded, and Unavailable, Internal, Unknown and NoSpace may come
// after the Txn went through.
func classify(op string, write bool, err error) error {
	return fmt.Errorf("%s: %w: %w", op, classOf(write, err), err)
}

func classOf(write bool, err error) error {
	unsure := ErrUnreachable
	if write {
		unsure = ErrAmbiguous
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return unsure
	}
	var known rpctypes.EtcdError
	code := codes.Unknown
	if errors.As(err, &known) {
		code = known.Code()
	} else if s, ok := status.FromError(err); ok {
		code = s.Code()
	}
	switch {
	case errors.Is(err, rpctypes.ErrTooManyRequests):
		return ErrNotApplied
	case errors.Is(err, rpctypes.ErrCompacted), errors.Is(err, rpctypes.ErrFutureRev):
		return ErrGone // a revision of the future is one of an etcd that was replaced
	case errors.Is(err, rpctypes.ErrInvalidAuthToken), errors.Is(err, rpctypes.ErrAuthOldRevision):
		return ErrNotApplied // the client gets itself another token
	}
	switch code {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.FailedPrecondition, codes.Unimplemented:
		return ErrRefused
	case codes.ResourceExhausted:
		// NoSpace, or a request over the limit.
		if write && errors.Is(err, rpctypes.ErrNoSpace) {
			return ErrAmbiguous
		}
		return ErrRefused
	}
	return unsure
}

// Temporary reports whether trying again later, without anybody doing anything
// about it, may help.
func Temporary(err error) bool {
	return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrAmbiguous) || errors.Is(err, ErrNotApplied)
}
