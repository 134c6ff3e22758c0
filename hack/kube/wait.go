package main

// Waiting for things to become true.

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// poll calls check until it reports true or an error, or ctx ends; the error then says what was waited for.
func poll(ctx context.Context, every time.Duration, check func() (done bool, waiting string, err error)) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		done, waiting, err := check()
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", waiting, context.Cause(ctx))
		case <-t.C:
		}
	}
}

func lastLines(b []byte, n int) string {
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}
