package agent

import (
	"time"

	"github.com/strata-csi/strata/pkg/cephkernel"
)

// MountRequest is what "guest mount" reads from its standard input.
type MountRequest struct {
	Mount  cephkernel.Mount
	Key    string
	Target string
	// Timeout bounds the call; no bound when zero.
	Timeout time.Duration
	// Again makes a second call at once, in the same process.
	Again bool
	// Settle repeats the call until an abandoned attempt is out of the way.
	Settle bool
}

// MountReply is what it answers.
type MountReply struct {
	Kind  Kind
	Error string
	Took  time.Duration
	// Second is the answer to the second call.
	Second *MountReply
	// Settled is the first answer after the abandoned attempt ended.
	Settled *MountReply
}

// Kind is which of cephkernel's sentinel errors an error is.
type Kind string

// The kinds; KindNone is success.
const (
	KindNone        Kind = ""
	KindUnavailable Kind = "unavailable"
	KindInvalid     Kind = "invalid"
	KindDenied      Kind = "denied"
	KindNotFound    Kind = "not found"
	KindUnreachable Kind = "unreachable"
	KindNotServed   Kind = "not served"
	KindInFlight    Kind = "in flight"
	KindDeadline    Kind = "deadline exceeded"
	KindOther       Kind = "other"
)
