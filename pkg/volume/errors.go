package volume

import "errors"

// Sentinel errors of every backend. Backends wrap them with %w and say what was wrong,
// what is allowed and what to do; pkg/rpc turns each into one gRPC code.
var (
	// ErrInvalid: the request itself is wrong and never works as it stands.
	ErrInvalid = errors.New("invalid request")
	// ErrNotFound: the volume or snapshot doesn't exist.
	ErrNotFound = errors.New("not found")
	// ErrExists: the name is taken by something incompatible with the request.
	ErrExists = errors.New("already exists and differs")
	// ErrPending: an operation on the same object is running; the same request, later, gets its result.
	ErrPending = errors.New("operation pending")
	// ErrPrecondition: the backend must be changed by its operator before the request can work.
	ErrPrecondition = errors.New("precondition failed")
	// ErrOutOfRange: the size asked for can't be had (shrinking, limit below required).
	ErrOutOfRange = errors.New("out of range")
	// ErrExhausted: no space or no quota is left.
	ErrExhausted = errors.New("resource exhausted")
	// ErrUnavailable: the backend doesn't answer now; a retry may work.
	ErrUnavailable = errors.New("backend unavailable")
	// ErrDeadline: the backend did not answer before the deadline of the call.
	ErrDeadline = errors.New("deadline exceeded")
	// ErrUnsupported: the tier has no such operation.
	ErrUnsupported = errors.New("not supported")
	// ErrToken: a paging token is not one this driver gave out, or its listing is gone.
	ErrToken = errors.New("invalid paging token")
	// ErrDenied: the backend refuses the credential.
	ErrDenied = errors.New("permission denied by the backend")
)
