package main

// One up or down at a time for each cluster, and one build for each checkout.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lock takes the lock of a file that it makes, waiting for whoever has it. The kernel releases it when this program dies.
// release removes the file while the lock is still held, so that nothing is left.
func lock(ctx context.Context, path, what string, say *Progress) (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	said := false
	var f *os.File
	err = poll(ctx, 200*time.Millisecond, func() (bool, string, error) {
		// Not to be inherited by what is started: it would hold the lock for as long as it runs.
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return false, "", err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && sameFile(f, path) {
			return true, "", nil
		}
		f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return false, "", fmt.Errorf("%s: %w", path, err)
		}
		if !said {
			say.Step("waiting for another %s", what)
			said = true
		}
		return false, "another " + what, nil
	})
	if err != nil {
		return nil, err
	}
	return func() {
		_ = os.Remove(path) // a file that stays is used again by the next
		f.Close()
	}, nil
}

// sameFile tells whether path still is the open file: whoever held the lock before may have removed it.
func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}
