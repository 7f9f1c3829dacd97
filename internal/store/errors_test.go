package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestClassify(t *testing.T) {
	code := func(c codes.Code) error { return status.Error(c, "x") }
	tests := []struct {
		name        string
		err         error
		read, write error
	}{
		{"a deadline of ours", context.DeadlineExceeded, ErrUnreachable, ErrAmbiguous},
		{"a context that ended", context.Canceled, ErrUnreachable, ErrAmbiguous},
		{"an error of another make", errors.New("x"), ErrUnreachable, ErrAmbiguous},

		{"code Canceled", code(codes.Canceled), ErrUnreachable, ErrAmbiguous},
		{"code Unknown", code(codes.Unknown), ErrUnreachable, ErrAmbiguous},
		{"code InvalidArgument", code(codes.InvalidArgument), ErrRefused, ErrRefused},
		{"code DeadlineExceeded", code(codes.DeadlineExceeded), ErrUnreachable, ErrAmbiguous},
		{"code NotFound", code(codes.NotFound), ErrUnreachable, ErrAmbiguous},
		{"code AlreadyExists", code(codes.AlreadyExists), ErrUnreachable, ErrAmbiguous},
		{"code PermissionDenied", code(codes.PermissionDenied), ErrRefused, ErrRefused},
		{"code ResourceExhausted", code(codes.ResourceExhausted), ErrRefused, ErrRefused},
		{"code FailedPrecondition", code(codes.FailedPrecondition), ErrRefused, ErrRefused},
		{"code Aborted", code(codes.Aborted), ErrUnreachable, ErrAmbiguous},
		{"code OutOfRange", code(codes.OutOfRange), ErrUnreachable, ErrAmbiguous},
		{"code Unimplemented", code(codes.Unimplemented), ErrRefused, ErrRefused},
		{"code Internal", code(codes.Internal), ErrUnreachable, ErrAmbiguous},
		{"code Unavailable", code(codes.Unavailable), ErrUnreachable, ErrAmbiguous},
		{"code DataLoss", code(codes.DataLoss), ErrUnreachable, ErrAmbiguous},
		{"code Unauthenticated", code(codes.Unauthenticated), ErrRefused, ErrRefused},

		{"too many requests", rpctypes.ErrTooManyRequests, ErrNotApplied, ErrNotApplied},
		{"no space", rpctypes.ErrNoSpace, ErrRefused, ErrAmbiguous},
		{"request too large", rpctypes.ErrRequestTooLarge, ErrRefused, ErrRefused},
		{"too many operations", rpctypes.ErrTooManyOps, ErrRefused, ErrRefused},
		{"compacted", rpctypes.ErrCompacted, ErrGone, ErrGone},
		{"a revision of the future", rpctypes.ErrFutureRev, ErrGone, ErrGone},
		{"permission denied", rpctypes.ErrPermissionDenied, ErrRefused, ErrRefused},
		{"wrong password", rpctypes.ErrAuthFailed, ErrRefused, ErrRefused},
		{"no user", rpctypes.ErrUserEmpty, ErrRefused, ErrRefused},
		{"a token that expired", rpctypes.ErrInvalidAuthToken, ErrNotApplied, ErrNotApplied},
		{"a token older than the users", rpctypes.ErrAuthOldRevision, ErrNotApplied, ErrNotApplied},
		{"no leader", rpctypes.ErrNoLeader, ErrUnreachable, ErrAmbiguous},
		{"another leader", rpctypes.ErrLeaderChanged, ErrUnreachable, ErrAmbiguous},
		{"stopped", rpctypes.ErrStopped, ErrUnreachable, ErrAmbiguous},
		{"timed out", rpctypes.ErrTimeout, ErrUnreachable, ErrAmbiguous},
		{"timed out for a lost leader", rpctypes.ErrTimeoutDueToLeaderFail, ErrUnreachable, ErrAmbiguous},
		{"unhealthy", rpctypes.ErrUnhealthy, ErrUnreachable, ErrAmbiguous},
		{"corrupt", rpctypes.ErrCorrupt, ErrUnreachable, ErrAmbiguous},
		{"an error that is wrapped", fmt.Errorf("txn: %w", rpctypes.ErrTooManyRequests), ErrNotApplied, ErrNotApplied},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, call := range []struct {
				write bool
				want  error
			}{{false, tt.read}, {true, tt.write}} {
				err := classify("op", call.write, tt.err)
				if !errors.Is(err, tt.err) {
					t.Errorf("%v has lost its cause", err)
				}
				for _, class := range []error{ErrUnreachable, ErrAmbiguous, ErrNotApplied, ErrRefused, ErrGone} {
					if errors.Is(err, class) != errors.Is(call.want, class) {
						t.Errorf("write %v: got %v, want %v", call.write, err, call.want)
					}
				}
				again := !errors.Is(call.want, ErrRefused) && !errors.Is(call.want, ErrGone)
				if Temporary(err) != again {
					t.Errorf("Temporary(%v) = %v", err, !again)
				}
			}
		})
	}
}
