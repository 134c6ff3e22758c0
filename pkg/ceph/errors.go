package ceph

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// ErrHung says that the cluster has not answered before the call's deadline. The command may still take effect.
var ErrHung = errors.New("no answer from Ceph before the deadline")

// ErrClosed says that the connection was closed before or during the call, which may still take effect.
var ErrClosed = errors.New("the connection to Ceph is closed")

// HungError is an ErrHung of a call that was sent and is still under way.
type HungError struct {
	Op    string
	After time.Duration
	Cause error           // why the caller left
	Done  <-chan struct{} // closed when the call has ended after all
}

func (e *HungError) Error() string {
	return fmt.Sprintf("%s: sent %s ago: %v (%v)", e.Op, e.After.Round(time.Millisecond), ErrHung, e.Cause)
}

func (e *HungError) Unwrap() []error { return []error{ErrHung, e.Cause} }

// InFlight is closed when the call has ended: until then what it was sent for must not be begun anew.
func (e *HungError) InFlight() <-chan struct{} { return e.Done }

// Error is a cluster's refusal: the errno it answered with and its own words. It unwraps to the errno, so that
// errors.Is(err, syscall.ENOENT) decides; the words are for people and are never parsed.
type Error struct {
	Op    string        // what was asked, without any secret
	Errno syscall.Errno // positive
	Text  string        // the cluster's status text, may be empty
}

func (e *Error) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("%s: %s", e.Op, e.Errno.Error())
	}
	return fmt.Sprintf("%s: %s (%s)", e.Op, e.Text, e.Errno.Error())
}

func (e *Error) Unwrap() error { return e.Errno }
