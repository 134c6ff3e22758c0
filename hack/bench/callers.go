package main

// Callers that work at once, and the clock.

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// sample is one block of operations: how long each took, and all of them with so many callers.
type sample struct {
	each []time.Duration
	took time.Duration
}

// together does operations 0 to count-1 with callers at once and measures them. The first error ends it.
func together(ctx context.Context, callers, count int, operation func(ctx context.Context, i int) error) (sample, error) {
	s := sample{each: make([]time.Duration, count)}
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
				s.each[i] = time.Since(began)
			}
			return ctx.Err()
		})
	}
	err := group.Wait()
	s.took = time.Since(start)
	return s, err
}
