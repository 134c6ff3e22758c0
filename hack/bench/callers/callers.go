// Package callers has operations done by several callers at once, and the clock.
package callers

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Sample is one block of operations: how long each took, and all of them with so many callers.
type Sample struct {
	Each []time.Duration
	Took time.Duration
}

// Together does operations 0 to count-1 with so many callers at once and measures them. The first error ends it.
func Together(ctx context.Context, callers, count int, operation func(ctx context.Context, i int) error) (Sample, error) {
	s := Sample{Each: make([]time.Duration, count)}
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for range min(callers, count) {
		group.Go(func() error {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= count {
					return nil
				}
				began := time.Now()
				if err := operation(ctx, i); err != nil {
					return err
				}
				s.Each[i] = time.Since(began)
			}
			return ctx.Err()
		})
	}
	err := group.Wait()
	s.Took = time.Since(start)
	return s, err
}
