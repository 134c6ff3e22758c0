package localfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/strata-csi/strata/pkg/mkfs"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// Watch looks at mounted file systems, in bounded time even when one hangs. Its methods may be called from several goroutines.
type Watch struct {
	prober *mountpoint.Prober

	mu      sync.Mutex
	reading map[int]*reading // by mount: a file system that hangs costs one goroutine, however often it is looked at
}

type reading struct {
	done chan struct{}
	err  error
}

// NewWatch returns a Watch.
func NewWatch() *Watch {
	return &Watch{prober: mountpoint.NewProber(0), reading: map[int]*reading{}}
}

// Usage is what the file system at path says. The error wraps volume.ErrUnavailable.
func (w *Watch) Usage(ctx context.Context, path string) (volume.Usage, error) {
	s, err := w.prober.Probe(ctx, path)
	if err != nil {
		return volume.Usage{}, fmt.Errorf("%w: %w", volume.ErrUnavailable, err)
	}
	return volume.Usage{
		TotalBytes: int64(s.TotalBytes), UsedBytes: int64(s.UsedBytes()), AvailableBytes: int64(s.AvailableBytes),
		TotalInodes: int64(s.TotalInodes), UsedInodes: int64(s.UsedInodes()), AvailableInodes: int64(s.FreeInodes),
	}, nil
}

// Health is what is wrong with the file system of the volume of that name.
func (w *Watch) Health(ctx context.Context, name string, m *mountpoint.Mount) (found []volume.Condition) {
	say := func(s volume.Severity, reason, format string, a ...any) {
		found = append(found, volume.Condition{Severity: s, Reason: reason, Message: fmt.Sprintf(format, a...)})
	}
	if _, err := w.prober.Probe(ctx, m.Path); err != nil {
		say(volume.Inaccessible, "NotAnswering", "scratch volume %s: %v: delete the pod", name, err)
		return found
	}
	if err := w.readable(ctx, m); err != nil {
		say(volume.Inaccessible, "NotAnswering", "scratch volume %s can't be read: %v: see the kernel's log, and delete the pod", name, err)
	}
	if stopped(m) {
		say(volume.Inaccessible, "ReadOnly", "the file system of scratch volume %s stopped writing after an error: see the kernel's log, and delete the pod", name)
	}
	if m.FSType == mkfs.Ext4 {
		if n := ErrorCount(m.Major, m.Minor); n > 0 {
			say(volume.Degraded, "FileSystemErrors", "the file system of scratch volume %s has found %d errors in itself: some data may be wrong; delete the pod", name, n)
		}
	}
	return found
}

// CheckWriting refuses a file system that stopped writing. The error wraps volume.ErrUnavailable.
func CheckWriting(name string, m *mountpoint.Mount) error {
	if stopped(m) {
		return fmt.Errorf("%w: the file system of scratch volume %s at %s stopped writing after an error", volume.ErrUnavailable, name, m.Path)
	}
	return nil
}

// stopped: the file system itself stopped writing, not only this mount of it. Kernels say so in different ways: by ro, by a word of their own
// (from 6.14 on), or, with "ext4: don't set SB_RDONLY after filesystem errors" of 6.12 and its stable releases, only by a count of errors.
func stopped(m *mountpoint.Mount) bool {
	return !slices.Contains(m.Options, "ro") && slices.Contains(m.SuperOptions, "ro") ||
		slices.ContainsFunc(m.SuperOptions, func(o string) bool { return o == "emergency_ro" || o == "shutdown" }) ||
		m.FSType == mkfs.Ext4 && slices.Contains(m.SuperOptions, "errors=remount-ro") && ErrorCount(m.Major, m.Minor) > 0
}

// ErrorCount is what the ext4 on a block device has counted (Documentation/ABI/testing/sysfs-fs-ext4, errors_count); 0 for anything else.
func ErrorCount(major, minor int) int {
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", major, minor))
	if err != nil {
		return 0
	}
	b, err := os.ReadFile(filepath.Join("/sys/fs/ext4", filepath.Base(link), "errors_count"))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return n
}

// readable reads the directory, which a file system that has been shut down refuses although it still answers statfs.
func (w *Watch) readable(ctx context.Context, m *mountpoint.Mount) error {
	w.mu.Lock()
	r, ok := w.reading[m.ID]
	if !ok {
		r = &reading{done: make(chan struct{})}
		w.reading[m.ID] = r
		go func() {
			r.err = readDir(m.Path)
			w.mu.Lock()
			delete(w.reading, m.ID)
			w.mu.Unlock()
			close(r.done)
		}()
	}
	w.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", mountpoint.ErrProbeHung, ctx.Err())
	}
}

func readDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	if _, err = dir.Readdirnames(1); errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, dir.Close())
}
