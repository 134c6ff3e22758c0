package client

// Questions to a mount that may wait for ever, and can't be taken back.

import (
	"context"
	"fmt"

	"github.com/strata-csi/strata/pkg/mountpoint"
)

// ask runs question, once at a time for each name, and returns its answer or, at the end of ctx, mountpoint.ErrProbeHung.
func ask[T any](ctx context.Context, s *Stager, name, path string, question func() (T, error)) (T, error) {
	result := s.asking.DoChan(name, func() (any, error) { return question() })
	select {
	case r := <-result:
		answer, _ := r.Val.(T)
		return answer, r.Err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("%s: %w", path, mountpoint.ErrProbeHung)
	}
}
