package main

// One start or stop at a time for each cluster.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockCluster takes the cluster's lock, waiting for another start or stop to end. The kernel releases it when this
// program dies. release removes the file while the lock is still held, so that nothing is left beside the directory.
func lockCluster(ctx context.Context, l Layout, say *Progress) (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(l.lock()), 0o755); err != nil {
		return nil, err
	}
	said := false
	var f *os.File
	err = poll(ctx, 200*time.Millisecond, func() (bool, string, error) {
		f, err = os.OpenFile(l.lock(), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return false, "", err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && sameFile(f, l.lock()) {
			return true, "", nil
		}
		f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return false, "", fmt.Errorf("%s: %w", l.lock(), err)
		}
		if !said {
			say.Step("waiting for another start or stop of %s", l.Dir)
			said = true
		}
		return false, "another start or stop of " + l.Dir, nil
	})
	if err != nil {
		return nil, err
	}
	return func() {
		_ = os.Remove(l.lock()) // a file that stays is used again by the next
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
