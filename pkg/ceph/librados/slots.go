package librados

// A call into C can't be cancelled, only abandoned. Slots bound how many calls, abandoned ones included, are under way at once, so
// that a cluster that doesn't answer can't eat threads and memory without limit.

import (
	"context"
	"fmt"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
)

// slots are the places for calls of one kind. Kinds have places of their own: a manager that hangs must not stop
// calls to the monitors.
type slots struct {
	places chan struct{}
	closed chan struct{} // closed when the connection is
	limit  time.Duration // for a call without a deadline
}

func newSlots(n int, limit time.Duration, closed chan struct{}) *slots {
	return &slots{places: make(chan struct{}, n), closed: closed, limit: limit}
}

// run calls f in a place of s and returns what it returned, or at the deadline of ctx an error that wraps
// ceph.ErrHung. op says in the error what was asked.
func run[T any](ctx context.Context, s *slots, op string, f func() (T, error)) (T, error) {
	var none T
	start := time.Now()
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.limit)
		defer cancel()
	}
	select {
	case <-s.closed:
		return none, fmt.Errorf("%s: %w", op, ErrClosed)
	default:
	}
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("%s: not sent: %w", op, hung(err))
	}
	select {
	case s.places <- struct{}{}:
	case <-s.closed:
		return none, fmt.Errorf("%s: %w", op, ErrClosed)
	case <-ctx.Done():
		return none, fmt.Errorf("%s: not sent within %s, as %d earlier calls are unanswered: %w",
			op, since(start), cap(s.places), hung(ctx.Err()))
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	ended := make(chan struct{})
	go func() {
		defer func() { <-s.places }()
		defer close(ended)
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-s.closed:
		return none, fmt.Errorf("%s: %w", op, ErrClosed)
	case <-ctx.Done():
		return none, &ceph.HungError{Op: op, After: time.Since(start), Cause: ctx.Err(), Done: ended}
	}
}

// hung joins ceph.ErrHung with the reason the caller left.
func hung(cause error) error {
	return fmt.Errorf("%w (%w)", ceph.ErrHung, cause)
}

func since(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }
