package mountpoint

// This file takes mounts away: all of them at a path, checked afterwards, never
// waiting for ever, and never deleting anything but an empty directory or file.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrBusy means that a process or another mount still uses the mount.
	ErrBusy = errors.New("mount is in use")
	// ErrStillMounted means that something is mounted at the path where nothing may be.
	ErrStillMounted = errors.New("still mounted")
	// ErrUnmountHung means that umount did not return before the context ended,
	// most likely because it is writing back to a backend that does not answer.
	ErrUnmountHung = errors.New("unmount does not return")
	// ErrNotEmpty means that a directory or file to be covered or removed has something in it.
	ErrNotEmpty = errors.New("not empty")
)

// deadProbe bounds the question whether a busy mount is dead: a dead one answers at once.
const deadProbe = 5 * time.Second

// Unmounter takes mounts away, one umount per path at a time. Make one per process.
type Unmounter struct {
	prober *Prober

	mu      sync.Mutex
	flights map[string]*unmountFlight
}

type unmountFlight struct {
	done chan struct{}
	err  error
}

// NewUnmounter returns an Unmounter that asks p which busy mounts are dead.
func NewUnmounter(p *Prober) *Unmounter {
	return &Unmounter{prober: p, flights: make(map[string]*unmountFlight)}
}

// Unmount removes every mount stacked at exactly path and checks in the mount
// table that none is left; nothing mounted is success. A mount in use is an
// error that wraps ErrBusy and names what is mounted below it, unless its client
// is dead: then it is detached lazily, for nobody can do anything with it.
// Unmount returns by the end of ctx; a umount that hangs goes on, and the next
// call for the path waits for it and not for a second one.
func (u *Unmounter) Unmount(ctx context.Context, path string) error {
	return u.UnmountWhile(ctx, path, func(context.Context) error { return nil })
}

// UnmountWhile is Unmount of a path where somebody else's mount may be: mayGo is asked before each of the mounts at path, top
// first, and its error ends the work and is returned.
func (u *Unmounter) UnmountWhile(ctx context.Context, path string, mayGo func(context.Context) error) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("unmount %q: %w", path, ErrInvalidPath)
	}
	path = filepath.Clean(path)
	if err := u.finish(ctx, path); err != nil {
		return err
	}
	for {
		m, ok, err := Find(path)
		if err != nil || !ok {
			return err
		}
		if err := mayGo(ctx); err != nil {
			return err
		}
		if err := u.remove(ctx, *m); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
		after, ok, err := Find(path)
		if err != nil {
			return err
		}
		if ok && after.ID == m.ID {
			return fmt.Errorf("unmount %s: %w although umount reported success (%s on %s)",
				path, ErrStillMounted, m.FSType, m.Source)
		}
	}
}

// remove takes away the topmost mount of a path, or finds that it is no mountpoint any more.
func (u *Unmounter) remove(ctx context.Context, m Mount) error {
	gone := func(err error) bool { return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) }
	err := u.umount(ctx, m.Path, unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, ErrUnmountHung) && !gone(err) {
		err = u.detachDead(ctx, m, err)
	}
	if gone(err) {
		return nil // The mount table has the last word.
	}
	return err
}

// finish waits for an umount of an earlier call: the path may be out of the
// mount table while the kernel still writes the file system's data back.
func (u *Unmounter) finish(ctx context.Context, path string) error {
	u.mu.Lock()
	f := u.flights[path]
	u.mu.Unlock()
	if f == nil {
		return nil
	}
	select {
	case <-f.done:
		return nil // Its error was for the caller before; the state now decides.
	case <-ctx.Done():
		return fmt.Errorf("unmount %s: %w: an earlier one still runs", path, ErrUnmountHung)
	}
}

func (u *Unmounter) umount(ctx context.Context, path string, flags int) error {
	u.mu.Lock()
	f, ok := u.flights[path]
	if !ok {
		f = &unmountFlight{done: make(chan struct{})}
		u.flights[path] = f
		go func() {
			f.err = os.NewSyscallError("umount2", unix.Unmount(path, flags))
			u.mu.Lock()
			delete(u.flights, path)
			u.mu.Unlock()
			close(f.done)
		}()
	}
	u.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ErrUnmountHung
	}
}

// detachDead is called when a plain umount of m failed with cause.
func (u *Unmounter) detachDead(ctx context.Context, m Mount, cause error) error {
	probeCtx, cancel := context.WithTimeout(ctx, deadProbe)
	defer cancel()
	err := u.prober.Answers(probeCtx, m.Path)
	switch {
	case Dead(err):
		return u.umount(ctx, m.Path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	case errors.Is(cause, unix.EBUSY) && errors.Is(err, ErrProbeHung):
		return fmt.Errorf("%w, and %w: it may yet come back, so it was left as it is", ErrBusy, ErrProbeHung)
	case errors.Is(cause, unix.EBUSY):
		return busy(m)
	}
	return cause
}

func busy(m Mount) error {
	hint := fmt.Sprintf("a process has a file or its working directory there; find it with: fuser -vm %s", m.Path)
	if t, err := Read(); err == nil {
		if below := t.Below(m.Path).Paths(); len(below) > 0 {
			hint = "unmount first what is mounted below it: " + strings.Join(below, ", ")
		}
	}
	return fmt.Errorf("%w: %s", ErrBusy, hint)
}

// RemoveMountpoint removes the directory that a mount had covered. It refuses while
// anything is mounted there (ErrStillMounted) and when the directory is not
// empty (ErrNotEmpty): what is in it then is somebody's data that never reached
// the volume. A directory that does not exist is success.
func RemoveMountpoint(path string) error {
	m, ok, err := Find(path)
	if err != nil {
		return err
	}
	if ok {
		return fmt.Errorf("remove mountpoint %s: %w (%s from %s)", path, ErrStillMounted, m.FSType, m.Source)
	}
	switch err := unix.Rmdir(path); {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("remove mountpoint %s: %w: look at its files and move them away", path, ErrNotEmpty)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("remove mountpoint %s: %w", path, ErrNotDirectory)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("remove mountpoint %s: %w", path, ErrStillMounted)
	default:
		return fmt.Errorf("remove mountpoint: %w", &os.PathError{Op: "rmdir", Path: path, Err: err})
	}
}
