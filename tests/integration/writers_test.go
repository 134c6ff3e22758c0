package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// A writer appends records to a file of its own. A record names its writer and place and carries the checksum of its data, so that
// any reader, on any node, can tell that what it sees is a whole beginning of what was written.
const recordSize = 8 << 10

func record(writer, number int) []byte {
	b := make([]byte, recordSize)
	binary.BigEndian.PutUint64(b, uint64(writer))
	binary.BigEndian.PutUint64(b[8:], uint64(number))
	r := rand.New(rand.NewPCG(uint64(writer), uint64(number)))
	for i := 16; i < recordSize-sha256.Size; i += 8 {
		binary.BigEndian.PutUint64(b[i:], r.Uint64())
	}
	sum := sha256.Sum256(b[:recordSize-sha256.Size])
	copy(b[recordSize-sha256.Size:], sum[:])
	return b
}

// checkRecords reads a writer's file and returns how many records it holds. Unless all is set, the last may be one that is
// being written.
func checkRecords(path string, writer int, all bool) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b := make([]byte, recordSize)
	for n := 0; ; n++ {
		got, err := io.ReadFull(f, b)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && !all:
			return n, nil
		case err != nil:
			return n, fmt.Errorf("%s: record %d (%d bytes): %w", path, n, got, err)
		case !bytes.Equal(b, record(writer, n)):
			return n, fmt.Errorf("DATA MISMATCH: %s: record %d isn't what was written", path, n)
		}
	}
}

// writers append on several mounts of one volume until they are stopped.
type writers struct {
	t      testing.TB
	dirs   []string // one for each writer
	counts []atomic.Int64
	cancel context.CancelFunc
	done   sync.WaitGroup
	failed chan error
}

func writerPath(dir string, writer int) string {
	return filepath.Join(dir, fmt.Sprintf("writer-%d", writer))
}

// startWriters starts a writer for each of dirs, which also reads what the next one writes, through its own mount.
func startWriters(t testing.TB, dirs ...string) *writers {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &writers{t: t, dirs: dirs, counts: make([]atomic.Int64, len(dirs)), cancel: cancel, failed: make(chan error, len(dirs))}
	for i := range dirs {
		w.done.Go(func() {
			if err := w.run(ctx, i); err != nil {
				w.failed <- fmt.Errorf("writer %d: %w", i, err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		w.done.Wait()
	})
	return w
}

func (w *writers) run(ctx context.Context, i int) error {
	f, err := os.OpenFile(writerPath(w.dirs[i], i), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	next := (i + 1) % len(w.dirs)
	for n := 0; ctx.Err() == nil; n++ {
		if _, err := f.Write(record(i, n)); err != nil {
			return err
		}
		if n%4 == 3 {
			if err := f.Sync(); err != nil {
				return err
			}
			w.counts[i].Store(int64(n) + 1)
		}
		if n%16 == 15 {
			durable := w.counts[next].Load()
			seen, err := checkRecords(writerPath(w.dirs[i], next), next, false)
			if err != nil && !(errors.Is(err, os.ErrNotExist) && durable == 0) {
				return fmt.Errorf("reads the next: %w", err)
			}
			if int64(seen) < durable {
				return fmt.Errorf("DATA MISMATCH: sees %d records of the next, which had synced %d", seen, durable)
			}
		}
	}
	return f.Sync()
}

// total is how many records are durable.
func (w *writers) total() int64 {
	var sum int64
	for i := range w.counts {
		sum += w.counts[i].Load()
	}
	return sum
}

// err is what the first writer failed with, so far.
func (w *writers) err() error {
	select {
	case err := <-w.failed:
		w.failed <- err
		return err
	default:
		return nil
	}
}

// stop ends the writers and checks every byte through the mount at dir, or each through its own when dir is "".
func (w *writers) stop(dir string) {
	w.t.Helper()
	w.cancel()
	w.done.Wait()
	if err := w.err(); err != nil {
		w.t.Error(err)
	}
	if dir != "" {
		w.check(dir)
	}
}

func (w *writers) check(dir string) {
	w.t.Helper()
	for i := range w.dirs {
		n, err := checkRecords(writerPath(dir, i), i, true)
		if err != nil {
			w.t.Error(err)
		}
		if int64(n) < w.counts[i].Load() || n == 0 {
			w.t.Errorf("DATA MISMATCH: writer %d: %d records are there, %d were synced", i, n, w.counts[i].Load())
		}
	}
}
