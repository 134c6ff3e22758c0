package main

// Waiting for things to become true, and doing several things at a time.

import (
	"context"
	"fmt"
	"os"
	"sync"
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

type task func(context.Context) error

// parallel runs tasks, at most n at a time, and returns the first error; the others are then cancelled and waited for.
func parallel(ctx context.Context, n int, tasks ...task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, n)
	)
	for _, t := range tasks {
		wg.Go(func() {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-ctx.Done():
				return
			}
			if err := t(ctx); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// watching runs a task while the daemons run. When one of them dies the task is cancelled, and the error
// shows the end of the daemon's output: there is no sense in waiting for a dead daemon.
func watching(ctx context.Context, l Layout, ds []Daemon, t task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	var (
		wg   sync.WaitGroup
		dead error
	)
	wg.Go(func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if dead = died(l, ds); dead != nil {
				cancel(dead)
				return
			}
		}
	})
	err := t(ctx)
	close(done)
	wg.Wait()
	if err != nil && dead != nil {
		return dead
	}
	return err
}

// died returns an error for a daemon that should run and doesn't.
func died(l Layout, ds []Daemon) error {
	running, err := runningDaemons(l)
	if err != nil {
		return err
	}
	for _, d := range ds {
		if _, ok := running[d]; !ok {
			out, err := os.ReadFile(l.Output(d))
			if err != nil {
				return err
			}
			return fmt.Errorf("%s has exited; the end of %s:\n%s", d, l.Output(d), lastLines(out, 10))
		}
	}
	return nil
}
