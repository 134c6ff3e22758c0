package rpc

// The one table of errors to codes. The codes are those of the CSI specification, "Error Scheme" and the
// tables of the single calls; the sidecars of Kubernetes retry, give up or keep a volume by them.

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/volume"
)

// table is searched from the top: an error with two causes, such as a precondition found by a refusal, gets the code
// of the one that says more about what to do.
var table = []struct {
	err  error
	code codes.Code
}{
	{volume.ErrInvalid, codes.InvalidArgument},
	// "Volume does not exist", and the same of a snapshot or path.
	{volume.ErrNotFound, codes.NotFound},
	{volume.ErrExists, codes.AlreadyExists},
	{volume.ErrPending, codes.Aborted},
	// "Invalid starting_token" is Aborted: the caller begins the listing again.
	{volume.ErrToken, codes.Aborted},
	{volume.ErrPrecondition, codes.FailedPrecondition},
	{volume.ErrOutOfRange, codes.OutOfRange},
	{volume.ErrExhausted, codes.ResourceExhausted},
	// Of an RPC that the volume's tier lacks ("Call not implemented ... MUST NOT retry"). A field or capability that
	// isn't supported is ErrInvalid instead, as the specification asks.
	{volume.ErrUnsupported, codes.Unimplemented},
	// The specification's "Permission denied": the identity is known and may not do it. Unauthenticated would
	// tell the caller that other secrets help, which we can't know.
	{volume.ErrDenied, codes.PermissionDenied},
	{volume.ErrUnavailable, codes.Unavailable},
	{volume.ErrDeadline, codes.DeadlineExceeded},
	// Ceph didn't answer a command in the time that it was given, which is less than the call's: the cluster is what is
	// missing, not the caller's patience. Both codes mean to the sidecars that the operation may still take effect.
	{ceph.ErrHung, codes.Unavailable},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{context.Canceled, codes.Canceled},
}

// toStatus gives the error its code. An error without a row is Internal: a defect of ours, or of a backend that
// didn't classify what it got. A gRPC status anywhere in the chain keeps its code and details.
// The message is the text of the whole chain.
func toStatus(err error) *status.Status {
	if err == nil {
		return nil
	}
	var s interface {
		error
		GRPCStatus() *status.Status
	}
	if errors.As(err, &s) && s.GRPCStatus().Code() != codes.OK {
		// The text of a wrapped status begins with "rpc error: code = ..."; the caller sees the code already.
		p := s.GRPCStatus().Proto()
		p.Message = strings.Replace(err.Error(), s.Error(), p.GetMessage(), 1)
		return status.FromProto(p)
	}
	for _, row := range table {
		if errors.Is(err, row.err) {
			return status.New(row.code, undouble(err.Error(), row.err.Error()))
		}
	}
	return status.New(codes.Internal, err.Error())
}

// undouble makes "invalid request: invalid request: ..." say it once: two layers may both have found that.
func undouble(text, sentinel string) string {
	twice := sentinel + ": " + sentinel
	for strings.Contains(text, twice) {
		text = strings.ReplaceAll(text, twice, sentinel)
	}
	return text
}
