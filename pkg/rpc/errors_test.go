package rpc

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestEveryErrorHasItsCode(t *testing.T) {
	want := map[error]codes.Code{
		volume.ErrInvalid:        codes.InvalidArgument,
		volume.ErrNotFound:       codes.NotFound,
		volume.ErrExists:         codes.AlreadyExists,
		volume.ErrPending:        codes.Aborted,
		volume.ErrToken:          codes.Aborted,
		volume.ErrPrecondition:   codes.FailedPrecondition,
		volume.ErrOutOfRange:     codes.OutOfRange,
		volume.ErrExhausted:      codes.ResourceExhausted,
		volume.ErrUnsupported:    codes.Unimplemented,
		volume.ErrDenied:         codes.PermissionDenied,
		volume.ErrUnavailable:    codes.Unavailable,
		volume.ErrDeadline:       codes.DeadlineExceeded,
		ceph.ErrHung:             codes.Unavailable,
		context.DeadlineExceeded: codes.DeadlineExceeded,
		context.Canceled:         codes.Canceled,
	}
	for err, code := range want {
		t.Run(err.Error(), func(t *testing.T) {
			wrapped := fmt.Errorf("volume %q: %w: no more words", "v", fmt.Errorf("%w: pool %q", err, "p"))
			s := toStatus(wrapped)
			if s.Code() != code {
				t.Errorf("code %v, want %v", s.Code(), code)
			}
			if s.Message() != wrapped.Error() {
				t.Errorf("message %q, want %q", s.Message(), wrapped)
			}
		})
	}
	for _, row := range table {
		if _, ok := want[row.err]; !ok {
			t.Errorf("no test for the row of %q", row.err)
		}
	}
}

func TestToStatus(t *testing.T) {
	inner := status.Error(codes.NotFound, "no such thing")
	refusal := &ceph.Error{Op: "mgr fs subvolume info", Errno: syscall.EIO, Text: "oops"}
	for _, c := range []struct {
		name    string
		err     error
		code    codes.Code
		message string
	}{
		{"no error", nil, codes.OK, ""},
		{"an error without a row", errors.New("nil map"), codes.Internal, "nil map"},
		{"an errno that nobody classified", refusal, codes.Internal, refusal.Error()},
		{"a status", inner, codes.NotFound, "no such thing"},
		{"a wrapped status", fmt.Errorf("stage v: %w", inner), codes.NotFound, "stage v: no such thing"},
		{"a status beside a sentinel", fmt.Errorf("%w: %w", volume.ErrInvalid, inner), codes.NotFound, "invalid request: no such thing"},
		{"a precondition found by a denial", fmt.Errorf("%w: give the key caps: %w", volume.ErrPrecondition, volume.ErrDenied),
			codes.FailedPrecondition, "precondition failed: give the key caps: permission denied by the backend"},
		{"a backend's word on a deadline", fmt.Errorf("%w: %w", volume.ErrUnavailable, context.DeadlineExceeded),
			codes.Unavailable, "backend unavailable: context deadline exceeded"},
		{"a sentinel twice", fmt.Errorf("%w: %w", volume.ErrInvalid, fmt.Errorf("%w: size 0", volume.ErrInvalid)),
			codes.InvalidArgument, "invalid request: size 0"},
		{"joined errors", errors.Join(errors.New("unmount"), volume.ErrPending), codes.Aborted, "unmount\noperation pending"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := toStatus(c.err)
			if s.Code() != c.code || s.Message() != c.message {
				t.Errorf("got %v %q, want %v %q", s.Code(), s.Message(), c.code, c.message)
			}
		})
	}
}
