package client

// Whether a mount answers, in bounded time: every question to a mount may wait for ever, and can't be taken back.

import (
	"context"
	"fmt"

	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
)

// alive asks the mount at path. mountpoint.Dead tells whether an error means that it is gone for good.
func (s *Stager) alive(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	return mounterror.Wrap(s.Prober.Answers(ctx, path))
}

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
